using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// GSM8K (Cobbe et al., arXiv 2110.14168; github openai/grade-school-math): word problems of grade schools. Form: DeepSeek-V2 report, Table 24: eight worked
/// examples with "Let's think step by step." The number after "The answer is" counts, else the last one.
/// </summary>
internal sealed class Gsm8k : EvaluationTask
{
    private const string Thinking = "Let's think step by step.";
    private static readonly string[] Stops = ["Q:", "\n\n"];
    private static readonly string[] LmEvalStops = ["Q:", "</s>", "<|im_end|>"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "gsm8k", Title = "GSM8K", Kind = TaskKind.Generation, Shots = 8, Metric = "EM", Score = "em", Folder = "gsm8k", Paper = "arXiv 2110.14168",
        Published = "github.com/openai/grade-school-math: test.jsonl, train.jsonl", Licence = "MIT", LmEval = "gsm8k_cot", LmEvalShots = 8,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var (count, lmEval) = (Info.ShotsIn(options), options.Style == TaskStyle.LmEval);
        var header = count == 0 ? string.Empty : Examples.Text(data, "fewshot_cot_8shot.txt", "Q:", count);
        if (!lmEval)
            header = header.Replace("\nA: ", $"\nA: {Thinking} ", StringComparison.Ordinal);
        var questions = data.Items(data.Require("test.jsonl").SelectMany(data.Rows), row =>
        {
            var answer = row.Text("answer");
            var mark = answer.LastIndexOf("####", StringComparison.Ordinal);
            var gold = mark < 0 ? throw row.Error("'answer': expected '####' before the number, found none") : answer[(mark + 4)..].Trim();
            var prompt = $"{header}Q: {row.Text("question")}\nA:{(lmEval ? string.Empty : $" {Thinking}")}";
            return OpenQuestion.Of($"{row.Number}", "all", new GenerationInput(prompt, lmEval ? LmEvalStops : Stops, 512), gold, output => Judge(output, gold));
        });
        return new TaskContent([.. questions]) { ShotSource = "the eight examples of chain-of-thought prompting (arXiv 2201.11903)", ShotIds = [.. Enumerable.Range(1, count).Select(i => $"cot/{i}")] };
    }

    /// <summary>Whether the number that an output arrives at is the right one.</summary>
    internal static Verdict Judge(string output, string gold)
    {
        var number = NumberAnswer.After(output, "The answer is");
        return Verdict.Of(number, NumberAnswer.AreEqual(number, gold));
    }
}
