using System.CommandLine;
using System.Text.Json.Nodes;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Scoring;
using Hadal.Evaluation.Tasks;

namespace Hadal.Cli.Evaluation;

/// <summary><c>hadal eval</c>: the benchmarks of the DeepSeek-V3 report, in one setting for every model.</summary>
internal static class EvalCommand
{
    /// <summary>Describes the command and those below it.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "eval",
            "Evaluate a model on the benchmarks of Table 3 of the DeepSeek-V3 report: perplexity of options, parsed generations, code run in a sandbox, bits per byte.",
            "hadal eval --model path/to/model --tasks bpb --data texts.jsonl --json",
            "hadal eval --model path/to/model --tasks hellaswag,mmlu --data path/to/benchmarks --limit 100 --output results/model",
            "hadal eval --endpoint http://localhost:8080 --api-model name --tasks gsm8k,humaneval --data path/to/benchmarks --output results/name");
        var model = new ModelOptions(command, ModelPlace.OptionOrBundled).Running(command).Arithmetic(command);
        var context = TypedOptions.Integer("--context", "Most tokens of prompt and output. [default: the model's context, at most 4096]", 64);
        command.Add(context);
        var endpoint = new EndpointFlags(command);
        var tasks = TypedOptions.Text("--tasks", "A,B|all", "Tasks, or all that have data; 'hadal eval list' names them.");
        var data = TypedOptions.Text("--data", "DIR", "A folder with a folder for each benchmark; for bpb also one file of texts.");
        var limit = TypedOptions.Integer("--limit", "Questions of each task, taken from its categories in turn. [default: all]", 1);
        var output = TypedOptions.Text("--output", "DIR", "Where results, reports and transcripts go; an interrupted run is taken up there.");
        var style = TypedOptions.Choice("--style", "Form of prompts and scores.", ("deepseek", TaskStyle.DeepSeek), ("deepseek-llm", TaskStyle.DeepSeekLlm), ("lm-eval", TaskStyle.LmEval));
        var shots = TypedOptions.Integer("--shots", "Examples in prompts. [default: each task's own number]", 0, 100);
        var normalization = TypedOptions.OneOf<Normalization?>(
            "--normalization", "How options are compared. [default: each task's own]",
            ("none", Normalization.None), ("tokens", Normalization.Tokens), ("characters", Normalization.Characters), ("bytes", Normalization.Bytes), ("unconditional", Normalization.Unconditional));
        var samples = TypedOptions.Integer("--samples", "Outputs for each question of a code task, for pass@k. [default: 1, greedy]", 1, 1000);
        var temperature = TypedOptions.Number("--temperature", "Temperature of several samples. [default: 0.2]", t => t >= 0, "a number of at least 0");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        foreach (var option in (Option[])[tasks, data, limit, output, style, shots, normalization, samples, temperature, json])
            command.Add(option);
        command.Add(EvalListCommand.Create(terminal));
        command.Add(EvalCheckCommand.Create(terminal));
        command.Add(EvalCompareCommand.Create(terminal));
        command.Add(EvalContaminationCommand.Create(terminal));
        command.SetAction(async (result, cancellation) =>
        {
            var (chosen, named) = Tasks(result.GetValue(tasks) ?? throw new CommandException("--tasks is missing", "'hadal eval list' names the tasks", ExitCode.Usage));
            var options = new RunOptions
            {
                Data = result.GetValue(data) ?? throw new CommandException("--data is missing", "name the folder of benchmarks; 'hadal eval list' says where each is published", ExitCode.Usage),
                Style = result.GetValue(style), Shots = result.GetValue(shots), Limit = result.GetValue(limit), Normalization = result.GetValue(normalization),
                Samples = result.GetValue(samples) ?? 1, Temperature = result.GetValue(temperature) ?? 0.2, Output = result.GetValue(output),
            };
            using var local = endpoint.IsGiven(result) ? null : LocalModel.Open(model, result, terminal, result.GetValue(context), cancellation);
            await using var evaluated = local is null ? (IEvaluationModel)endpoint.Open(result) : local.Model;
            var results = await EvaluationProgress.ShowAsync(terminal, progress => new EvaluationRun(evaluated, options, progress).RunAsync(chosen, named, cancellation));
            if (result.GetValue(json))
                terminal.Out.WriteLine(Json(results).ToJsonString(JsonOutput.Compact));
            else
                ResultTable.Write(terminal, results, options.Output);
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>The tasks of a list of names, and whether they were named one by one.</summary>
    internal static (IReadOnlyList<EvaluationTask> Tasks, bool Named) Tasks(string names)
    {
        if (names == "all")
            return (Benchmarks.All, false);
        try
        {
            var chosen = names.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(Benchmarks.Find).Distinct().ToList();
            return chosen.Count > 0 ? (chosen, true) : throw new CommandException("--tasks: expected names of tasks, found none", "'hadal eval list' names them", ExitCode.Usage);
        }
        catch (ArgumentException unknown)
        {
            throw new CommandException($"--tasks: {unknown.Message.Split(" (Parameter")[0]}", "'hadal eval list' says what they are", ExitCode.Usage);
        }
    }

    private static JsonObject Json(RunResults results)
    {
        var tasks = new JsonObject();
        foreach (var task in results.Tasks)
        {
            tasks[task.Task] = new JsonObject
            {
                ["score"] = Number(task.Score), ["metric"] = task.Metric, ["standard_error"] = task.StandardError is { } error ? Number(error) : null, ["questions"] = task.Questions,
                ["chance"] = task.Chance, ["shots"] = task.Setting.Shots, ["setting"] = task.Setting.Hash,
                ["notes"] = new JsonArray([.. task.Notes.Select(n => (JsonNode)n)]),
            };
        }

        var json = new JsonObject { ["model"] = results.Model.Name, ["model_hash"] = results.Model.Hash, ["tasks"] = tasks, ["skipped"] = new JsonObject(results.Skipped.Select(s => KeyValuePair.Create(s.Key, (JsonNode?)s.Value))) };
        if (results.Tasks.FirstOrDefault(t => t.Task == "bpb") is { } texts)
        {
            foreach (var (metric, value) in texts.Micro)
                json[metric] = Number(value);
        }

        return json;
    }

    // JSON has no NaN.
    private static JsonNode? Number(double value) => double.IsFinite(value) ? value : null;
}
