using System.Text;
using System.Text.RegularExpressions;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// MMLU-Pro (Wang et al., arXiv 2406.01574; github TIGER-AI-Lab/MMLU-Pro): 14 categories, up to ten options. DeepSeek publishes no template for it; the
/// DeepSeek-V3 report evaluates it by perplexity, so MMLU's form is used with up to ten letters. lm-evaluation-harness lets the model reason and parses the letter.
/// </summary>
internal sealed partial class MmluPro : EvaluationTask
{
    private static readonly string[] Stops = ["Question:", "Q:", "</s>"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "mmlu_pro", Title = "MMLU-Pro", Kind = TaskKind.Perplexity, Shots = 5, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.None),
        Folder = "mmlu_pro", Paper = "arXiv 2406.01574", Published = "huggingface.co/datasets/TIGER-Lab/MMLU-Pro: test and validation, Parquet", Licence = "MIT",
        LmEval = "mmlu_pro", LmEvalShots = 5, LmEvalScore = "em", Chance = 11,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var items = data.Items(data.Require("data/test-*.parquet", "test-*.parquet", "test.jsonl", "test_slice.jsonl").SelectMany(data.Rows), Read);
        var poolFiles = data.Find("data/validation-*.parquet", "validation-*.parquet", "validation.jsonl");
        var count = Info.ShotsIn(options);
        var pool = (poolFiles.Count > 0 ? data.Items(poolFiles.SelectMany(data.Rows), Read) : items).GroupBy(i => i.Item.Category)
            .ToDictionary(g => g.Key, g => poolFiles.Count > 0 ? [.. g] : Shots.Ordered(g, i => i.Item.Id));
        var lmEval = options.Style == TaskStyle.LmEval;
        if (lmEval && poolFiles.Count == 0)
            data.Notes.Add("the validation split with its worked answers is not there: the examples are evaluated questions, without the question itself and without reasoning");
        var questions = items.Select(i =>
        {
            var shots = Shots.Without(pool.GetValueOrDefault(i.Item.Category, []), count, s => s.Item.Id, i.Item.Id);
            return lmEval ? Reasoned(shots, i) : (Question)LetteredForm.English.Question(Mmlu.Header(i.Item.Category), shots.Select(s => s.Item), i.Item);
        });
        return new TaskContent([.. questions])
        {
            ShotSource = poolFiles.Count > 0 ? "validation, from the first" : "the evaluated split, without the item itself",
            ShotIds = [.. pool.Values.SelectMany(s => s.Take(count + (poolFiles.Count > 0 ? 0 : 1))).Select(s => s.Item.Id)],
        };
    }

    private static OpenQuestion Reasoned(List<Worked> shots, Worked worked)
    {
        var prompt = new StringBuilder($"The following are multiple choice questions (with answers) about {worked.Item.Category}. Think step by step and then finish your answer with \"the answer is (X)\" where X is the correct letter choice.\n\n");
        foreach (var shot in shots)
            prompt.Append(Ask(shot.Item)).Append(' ').Append(shot.Reasoning ?? $"Let's think step by step. The answer is ({(char)('A' + shot.Item.Gold)}).").Append("\n\n");
        prompt.Append(Ask(worked.Item)).Append(" Let's think step by step.");
        var gold = ((char)('A' + worked.Item.Gold)).ToString();
        return OpenQuestion.Of(worked.Item.Id, worked.Item.Category, new GenerationInput(prompt.ToString(), Stops, 2048), gold, output =>
        {
            var letter = Stated().Match(output) is { Success: true } match ? match.Groups[1].Value : null;
            return Verdict.Of(letter, letter == gold);
        });
    }

    private static string Ask(LetteredItem item) =>
        $"Question:\n{item.Question}\nOptions:\n{string.Concat(item.Options.Select((o, i) => $"{(char)('A' + i)}. {o}\n"))}Answer:";

    private static Worked Read(DataRow row)
    {
        var options = row.Texts("options", 2);
        var reasoning = row.TextOrNull("cot_content") is { Length: > 0 } text ? text.Replace("A: Let's think", "Let's think", StringComparison.Ordinal) : null;
        return new Worked(new LetteredItem(row.Text("question_id"), row.Text("category"), row.Text("question"), options, row.Integer("answer_index", 0, options.Count - 1)), reasoning);
    }

    [GeneratedRegex(@"answer is \(?([A-J])\)?")]
    private static partial Regex Stated();

    private sealed record Worked(LetteredItem Item, string? Reasoning);
}
