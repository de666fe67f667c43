using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Sandbox;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// HumanEval (Chen et al., arXiv 2107.03374; github openai/human-eval): functions to be completed from their description, checked by tests. Form: DeepSeek-V2
/// report, Table 26, the prompt as it is.
/// </summary>
internal sealed class HumanEval : EvaluationTask
{
    private static readonly string[] Stops = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "humaneval", Title = "HumanEval", Kind = TaskKind.Generation, Shots = 0, Metric = "Pass@1", Score = "pass@1", Folder = "humaneval", Paper = "arXiv 2107.03374",
        Published = "github.com/openai/human-eval: HumanEval.jsonl.gz, unpacked", Licence = "MIT", LmEval = "humaneval", RunsPrograms = true,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        if (Info.ShotsIn(options) > 0)
            throw new NotSupportedException("HumanEval has a form without examples only");
        return new TaskContent([.. data.Items(data.Require("HumanEval.jsonl").SelectMany(data.Rows), row =>
        {
            var (prompt, test, entry) = (row.Text("prompt"), row.Text("test"), row.Text("entry_point"));
            return new OpenQuestion(row.Text("task_id"), "all", new GenerationInput(prompt, Stops, 512), row.Text("canonical_solution"),
                (output, sandbox, cancellation) => PythonCheck.RunAsync(sandbox, $"{prompt}{output}\n{test}\ncheck({entry})", output, cancellation));
        })]);
    }
}
