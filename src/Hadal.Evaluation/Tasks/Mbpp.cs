using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Sandbox;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// MBPP (Austin et al., arXiv 2108.07732; github google-research/google-research/mbpp): short Python tasks with three tests each. Form: DeepSeek-V2 report,
/// Table 28: tasks 2, 3 and 4 as examples, 11 to 510 are evaluated.
/// </summary>
internal sealed class Mbpp : EvaluationTask
{
    private static readonly string[] Stops = ["[DONE]"];
    private static readonly int[] Examples = [2, 3, 4];

    public override TaskInfo Info { get; } = new()
    {
        Name = "mbpp", Title = "MBPP", Kind = TaskKind.Generation, Shots = 3, Metric = "Pass@1", Score = "pass@1", Folder = "mbpp", Paper = "arXiv 2108.07732",
        Published = "github.com/google-research/google-research: mbpp/mbpp.jsonl", Licence = "CC BY 4.0", LmEval = "mbpp", LmEvalShots = 3, RunsPrograms = true,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var count = Info.ShotsIn(options);
        if (count > Examples.Length)
            throw new NotSupportedException($"MBPP's form has at most {Examples.Length} examples");
        var items = data.Items(data.Require("mbpp.jsonl").SelectMany(data.Rows), Read);
        var between = options.Style == TaskStyle.LmEval ? "\n\n" : "\n";
        var shots = Examples.Take(count).Select(id => items.Find(i => i.Id == id) ?? throw new InvalidDataException($"{data.Shown("mbpp.jsonl")}: expected task {id}, an example of the prompt, found none"));
        var header = string.Concat(shots.Select(s => $"{Ask(s)}{s.Code}\n[DONE]{between}"));
        return new TaskContent([.. items.Where(i => i.Id is >= 11 and <= 510).Select(item => new OpenQuestion(
            $"{item.Id}", "all", new GenerationInput(header + Ask(item), Stops, 512), item.Code,
            (output, sandbox, cancellation) => PythonCheck.RunAsync(sandbox, $"{item.Setup}\n{output}\n{string.Join('\n', item.Tests)}", output.Trim(), cancellation)))])
        {
            ShotSource = "tasks 2 to 4", ShotIds = [.. Examples.Take(count).Select(e => $"{e}")],
        };
    }

    private static string Ask(Item item) =>
        $"You are an expert Python programmer, and here is your task: {item.Text} Your code should pass these tests:\n\n{string.Join('\n', item.Tests)}\n[BEGIN]\n";

    private static Item Read(DataRow row) => new(
        row.Integer("task_id", 1, 100_000), row.Text("text", "prompt"), row.Text("code").ReplaceLineEndings("\n"), row.TextOrNull("test_setup_code") ?? string.Empty, row.Texts("test_list"));

    private sealed record Item(int Id, string Text, string Code, string Setup, IReadOnlyList<string> Tests);
}
