using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// MATH (Hendrycks et al., arXiv 2103.03874; github hendrycks/math): competition problems with worked solutions. Form: DeepSeek-V2 report, Table 27, the four
/// examples of Minerva (arXiv 2206.14858); answers are compared by the official equivalence. lm-evaluation-harness's form is its hendrycks_math.
/// </summary>
internal sealed class Competition : EvaluationTask
{
    private static readonly string[] Stops = ["Problem:"];
    private static readonly string[] LmEvalStops = ["\n"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "math", Title = "MATH", Kind = TaskKind.Generation, Shots = 4, Metric = "EM", Score = "em", Folder = "math", Paper = "arXiv 2103.03874",
        Published = "github.com/hendrycks/math: MATH/test/*/*.json", Licence = "MIT", LmEval = "hendrycks_math",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var lmEval = options.Style == TaskStyle.LmEval;
        var count = Info.ShotsIn(options);
        if (lmEval && count > 0)
            throw new NotSupportedException("hendrycks_math is supported without examples only");
        var header = lmEval || count == 0 ? string.Empty : Examples.Text(data, "fewshot_minerva_4shot.txt", "Problem:", count);
        var questions = data.Items(data.Require("test.jsonl", "test_slice.jsonl").SelectMany(data.Rows), row =>
        {
            var gold = MathEquivalence.LastBoxed(row.Text("solution")) ?? throw row.Error("'solution': expected an answer in \\boxed{}, found none");
            var problem = row.Text("problem");
            var id = row.TextOrNull("idx", "unique_id") ?? $"{row.Number}";
            return lmEval
                ? OpenQuestion.Of(id, row.Text("type", "subject"), new GenerationInput($"Problem: {problem}\nAnswer:", LmEvalStops, 1024), gold, output => Judge(BetweenDollars(output), gold))
                : OpenQuestion.Of(id, row.Text("type", "subject"), new GenerationInput($"{header}Problem:\n{problem}\n\nSolution:", Stops, 1024), gold, output => Judge(MathEquivalence.FinalAnswer(output), gold));
        });
        return new TaskContent([.. questions]) { ShotSource = lmEval ? "none" : "Minerva's prompt", ShotIds = [.. Enumerable.Range(1, lmEval ? 0 : count).Select(i => $"minerva/{i}")] };
    }

    private static Verdict Judge(string? answer, string gold) => Verdict.Of(answer, answer is not null && MathEquivalence.AreEqual(answer, gold));

    private static string BetweenDollars(string output) =>
        output.IndexOf('$', StringComparison.Ordinal) is var first and >= 0 && output.LastIndexOf('$') is var last && last > first ? output[(first + 1)..last] : output;
}
