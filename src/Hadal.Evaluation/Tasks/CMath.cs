using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// CMath (Wei et al., arXiv 2306.16636; github XiaoMi/cmath): word problems of Chinese primary schools, six grades. Form: DeepSeek-V2 report, Table 18. Of
/// DeepSeek's six published examples (DeepSeek-Math, cot_cmath_6_shot) the last ones are used, among them the report's first. The number after "答案是" counts.
/// </summary>
internal sealed class CMath : EvaluationTask
{
    private static readonly string[] Stops = ["Q:", "\n\n"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "cmath", Title = "CMath", Kind = TaskKind.Generation, Shots = 3, Metric = "EM", Score = "em", Folder = "cmath", Paper = "arXiv 2306.16636",
        Published = "github.com/XiaoMi/cmath: cmath_test.jsonl, cmath_dev.jsonl", Licence = "CC BY 4.0",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var count = Info.ShotsIn(options);
        var examples = count == 0 ? [] : Examples.List(data, "fewshot_cot_6shot.txt", "问题：");
        if (examples.Count < count)
            throw new InvalidDataException($"{data.Shown("fewshot_cot_6shot.txt")}: expected {count} examples, found {examples.Count}");
        var header = string.Concat(examples.TakeLast(count).Select(e => $"Q: {e["问题：".Length..].Replace("\n答案：", "\nA: ", StringComparison.Ordinal)}\n\n"));
        var questions = data.Items(data.Require("cmath_test.jsonl", "cmath_test_*.jsonl", "cmath_dev.jsonl").SelectMany(data.Rows), row =>
        {
            var gold = row.Text("golden");
            return OpenQuestion.Of($"{row.Number}", $"grade {row.Text("grade")}", new GenerationInput($"{header}Q: {row.Text("question", "input")}\nA:", Stops, 512), gold, output => Judge(output, gold));
        });
        return new TaskContent([.. questions]) { ShotSource = "DeepSeek-Math's six examples, the last ones", ShotIds = [.. Enumerable.Range(examples.Count - count + 1, count).Select(i => $"cot/{i}")] };
    }

    /// <summary>Whether the number that an output arrives at is the right one.</summary>
    internal static Verdict Judge(string output, string gold)
    {
        // As DeepSeek-Math's scorer: the last number of the line that states the answer.
        var at = output.IndexOf("答案是", StringComparison.Ordinal);
        var number = NumberAnswer.Last(at < 0 ? output : output[at..].Split('\n')[0]);
        return Verdict.Of(number, NumberAnswer.AreEqual(number, gold));
    }
}
