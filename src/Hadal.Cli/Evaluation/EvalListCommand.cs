using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Tasks;
using Spectre.Console;

namespace Hadal.Cli.Evaluation;

/// <summary><c>hadal eval list</c>: the tasks, and where each benchmark is published.</summary>
internal static class EvalListCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples("list", "The tasks: what is asked, shots, score, where each benchmark is published and under which licence.", "hadal eval list", "hadal eval list --json");
        var json = TypedOptions.Flag("--json", "Print a JSON array.");
        command.Add(json);
        command.SetAction(result =>
        {
            if (result.GetValue(json))
            {
                terminal.Out.WriteLine(JsonSerializer.Serialize(Benchmarks.All.Select(t => t.Info), JsonOutput.Snake));
                return ExitCode.Success;
            }

            var table = new Table().Border(TableBorder.Rounded).AddColumns("task", "benchmark", "asked by", "shots", "score", "lm-eval", "folder", "published", "licence");
            foreach (var info in Benchmarks.All.Select(t => t.Info))
            {
                table.AddRow(((string[])[
                    info.Name, info.Title, info.Kind == TaskKind.LanguageModelling ? "text" : info.Kind.ToString().ToLowerInvariant() + (info.RunsPrograms ? ", code" : string.Empty), $"{info.Shots}",
                    info.Metric, info.LmEval ?? "–", info.Folder, info.Published, info.Licence,
                ]).Select(Markup.Escape).ToArray());
            }

            terminal.Rich.Write(table);
            return ExitCode.Success;
        });
        return command;
    }
}
