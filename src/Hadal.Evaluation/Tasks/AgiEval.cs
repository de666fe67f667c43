using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// AGIEval (Zhong et al., arXiv 2304.06364; github ruixiangcui/AGIEval): admission and qualification exams, 21 sets. Form: the official zero-shot prompts
/// (src/dataset_loader.py), those of the Chinese college entrance exam with the line of DeepSeek-V2 report, Table 12, before them. Scored as src/post_process.py
/// does: the first capital letter, every letter where several options may be right, the mathematical answer otherwise. The mean over sets counts.
/// </summary>
internal sealed class AgiEval : EvaluationTask
{
    private static readonly string[] EnglishSets = ["lsat-ar", "lsat-lr", "lsat-rc", "logiqa-en", "sat-math", "sat-en", "aqua-rat", "sat-en-without-passage", "gaokao-english"];
    private static readonly string[] SeveralRight = ["jec-qa-kd", "jec-qa-ca", "gaokao-physics"];
    private static readonly string[] Stops = ["\n"];

    private static readonly Dictionary<string, string> Subjects = new()
    {
        ["gaokao-chinese"] = "语文", ["gaokao-geography"] = "地理", ["gaokao-history"] = "历史", ["gaokao-biology"] = "生物", ["gaokao-chemistry"] = "化学",
        ["gaokao-physics"] = "物理", ["gaokao-mathqa"] = "数学", ["gaokao-english"] = "英语",
    };

    public override TaskInfo Info { get; } = new()
    {
        Name = "agieval", Title = "AGIEval", Kind = TaskKind.Generation, Shots = 0, Metric = "Acc.", Score = "acc", Macro = true, Folder = "agieval", Paper = "arXiv 2304.06364",
        Published = "github.com/ruixiangcui/AGIEval: data/v1/*.jsonl", Licence = "MIT; some sets their own terms", LmEval = "agieval", Chance = 22,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        if (Info.ShotsIn(options) > 0)
            throw new NotSupportedException("AGIEval has a form without examples only");
        return new TaskContent([.. data.Require("*.jsonl").SelectMany(file =>
        {
            var set = Path.GetFileNameWithoutExtension(file);
            return data.Items(data.Rows(file), row => Read(row, set, options.Style));
        })]);
    }

    /// <summary>The letters of an output that count as its answer.</summary>
    internal static string Letters(string output, bool several) => several
        ? string.Concat(output.Where(c => c is >= 'A' and <= 'F').Distinct().Order())
        : output.FirstOrDefault(c => c is >= 'A' and <= 'F') is var first && first != default ? first.ToString() : string.Empty;

    private static Question Read(DataRow row, string set, TaskStyle style)
    {
        var (id, passage, question) = ($"{set}/{row.Number}", row.TextOrNull("passage") ?? string.Empty, row.Text("question"));
        if (!row.Has("options"))
            return Cloze(row, set, id, passage, question);
        var choices = row.Texts("options");
        var last = (char)('A' + choices.Count - 1);
        var prompt = Array.IndexOf(EnglishSets, set) >= 0
            ? $"{passage}Q: {question} Answer Choices: {string.Join(' ', choices)}\nA: Among A through {last}, the answer is"
            : $"{passage}问题：{question} 选项：{string.Join(' ', choices)}\n答案：从A到{last}, 我们应选择";
        if (style != TaskStyle.LmEval && set.StartsWith("gaokao", StringComparison.Ordinal) && Subjects.TryGetValue(set, out var subject))
            prompt = $"以下是一道中国高考{subject}选择题，请选择正确的答案。\n{prompt}";
        var label = row.Element.GetProperty("label") is { ValueKind: System.Text.Json.JsonValueKind.Array } ? string.Concat(row.Texts("label").Order()) : row.Text("label");
        if (label.Length == 0 || label.Any(c => c < 'A' || c > last))
            throw row.Error($"'label': expected letters from A to {last}, found '{label}'");
        if (style == TaskStyle.LmEval)
            return new ChoiceQuestion(id, set, [.. choices.Select((c, i) => new ChoiceOption(prompt, $" {(char)('A' + i)}", c))], [.. label.Select(c => c - 'A')]);
        var several = Array.IndexOf(SeveralRight, set) >= 0;
        return OpenQuestion.Of(id, set, new GenerationInput(prompt, Stops, 16), label, output =>
        {
            var letters = Letters(output, several);
            return Verdict.Of(letters.Length > 0 ? letters : null, letters == label, "acc");
        });
    }

    private static OpenQuestion Cloze(DataRow row, string set, string id, string passage, string question)
    {
        var prompt = set.StartsWith("gaokao", StringComparison.Ordinal) ? $"{passage}问题：{question}\n答案：" : $"{passage}Q: {question}\nA: The answer is";
        var gold = row.Text("answer");
        return OpenQuestion.Of(id, set, new GenerationInput(prompt, Stops, 64), gold, output =>
        {
            var answer = ClozeAnswer.Of(output);
            return Verdict.Of(answer, answer is not null && MathEquivalence.AreEqual(answer, gold), "acc");
        });
    }
}
