using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Sandbox;
using Hadal.Evaluation.Tasks;

namespace Hadal.Cli.Evaluation;

/// <summary><c>hadal eval check</c>: what a folder of benchmarks holds, before hours are spent on it.</summary>
internal static class EvalCheckCommand
{
    private const int ProblemsShown = 5;

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples("check", "What a folder of benchmarks holds: questions found, what is missing or malformed, where it is published; and whether programs can be run here.", "hadal eval check path/to/benchmarks", "hadal eval check path/to/benchmarks --json");
        var data = new Argument<string>("DATA") { Description = "A folder with a folder for each benchmark." };
        data.Validators.Add(UsageErrors.RefuseOptionNames);
        var style = TypedOptions.Choice("--style", "Form of prompts.", ("deepseek", TaskStyle.DeepSeek), ("deepseek-llm", TaskStyle.DeepSeekLlm), ("lm-eval", TaskStyle.LmEval));
        var json = TypedOptions.Flag("--json", "Print a JSON array.");
        command.Add(data);
        command.Add(style);
        command.Add(json);
        command.SetAction(async (result, cancellation) =>
        {
            var sandbox = await SandboxAsync(cancellation);
            var checks = Benchmarks.All.Select(t => Check(t, result.GetRequiredValue(data), result.GetValue(style))).ToList();
            if (result.GetValue(json))
                terminal.Out.WriteLine(JsonSerializer.Serialize(new { Sandbox = sandbox, Tasks = checks }, JsonOutput.Snake));
            else
                Show(terminal, checks, sandbox);
            return checks.Exists(c => c.Problems.Count > 0) ? ExitCode.Failed : ExitCode.Success;
        });
        return command;
    }

    private static TaskCheck Check(EvaluationTask task, string root, TaskStyle style)
    {
        var data = new TaskData(root, task.Info.Folder) { Collect = true };
        if (!data.IsOwnFolder)
            return new TaskCheck(task.Info, "not there", 0, [], []);
        try
        {
            if (style == TaskStyle.LmEval && task.Info.LmEval is null)
                return new TaskCheck(task.Info, "no such form", 0, [], []);
            var content = task.Build(data, new TaskOptions(style));
            return new TaskCheck(task.Info, content.Questions.Count > 0 ? "found" : "no questions", content.Questions.Count, data.Problems, data.Notes);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or NotSupportedException)
        {
            return new TaskCheck(task.Info, e is FileNotFoundException ? "file missing" : "unreadable", 0, [.. data.Problems, e.Message], data.Notes);
        }
    }

    private static async Task<string> SandboxAsync(CancellationToken cancellation)
    {
        try
        {
            return (await PythonSandbox.OpenAsync(cancellation)).Description;
        }
        catch (SandboxUnavailableException e)
        {
            return $"not available: {e.Message}";
        }
    }

    private static void Show(Terminal terminal, List<TaskCheck> checks, string sandbox)
    {
        foreach (var check in checks)
        {
            terminal.Out.WriteLine($"{check.Task.Name,-14} {check.State,-13} {(check.Questions > 0 ? $"{check.Questions} questions" : $"published at {check.Task.Published} ({check.Task.Licence})")}");
            foreach (var note in check.Notes)
                terminal.Out.WriteLine($"{string.Empty,-15}note: {note}");
            foreach (var problem in check.Problems.Take(ProblemsShown))
                terminal.Out.WriteLine($"{string.Empty,-15}wrong: {problem.ReplaceLineEndings(" ")}");
            if (check.Problems.Count > ProblemsShown)
                terminal.Out.WriteLine($"{string.Empty,-15}and {check.Problems.Count - ProblemsShown} more items that are wrong");
        }

        terminal.Out.WriteLine($"programs       {sandbox}");
        terminal.Out.WriteLine($"{checks.Count(c => c.Questions > 0)} of {checks.Count} tasks can be asked, {checks.Sum(c => c.Questions)} questions, {checks.Sum(c => c.Problems.Count)} problems");
    }

    private sealed record TaskCheck(TaskInfo Task, string State, int Questions, IReadOnlyList<string> Problems, IReadOnlyList<string> Notes);
}
