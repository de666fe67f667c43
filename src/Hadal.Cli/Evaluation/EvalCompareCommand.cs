using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Comparison;
using Hadal.Evaluation.Reports;
using Hadal.Evaluation.Running;
using Spectre.Console;

namespace Hadal.Cli.Evaluation;

/// <summary><c>hadal eval compare</c>: models side by side, as Table 3 of the DeepSeek-V3 report has them.</summary>
internal static class EvalCompareCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "compare",
            "Lay results side by side in the shape of Table 3 of the DeepSeek-V3 report, with findings in sentences. Different settings are refused.",
            "hadal eval compare results/a results/b",
            "hadal eval compare results/a --published DeepSeek-V3,Qwen2.5",
            "hadal eval compare --published all");
        var paths = new Argument<string[]>("RESULTS") { Description = "Output folders of 'hadal eval'.", Arity = ArgumentArity.ZeroOrMore };
        paths.Validators.Add(UsageErrors.RefuseOptionNames);
        var published = TypedOptions.Text("--published", "A,B|all", $"Columns of the report's own Table 3 to add: {string.Join(", ", PublishedTable.Models.Select(m => m.Name))}.");
        var output = TypedOptions.Text("--output", "FILE.md", "Write the table and the findings in Markdown.");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        command.Add(paths);
        command.Add(published);
        command.Add(output);
        command.Add(json);
        command.SetAction(result =>
        {
            var comparison = Compare(result.GetValue(paths) ?? [], result.GetValue(published));
            if (result.GetValue(output) is { } file)
                File.WriteAllText(file, comparison.ToMarkdown());
            if (result.GetValue(json))
                terminal.Out.WriteLine(JsonSerializer.Serialize(new { comparison.Columns, comparison.Rows, Findings = Findings.Of(comparison) }, JsonOutput.Snake));
            else
                Show(terminal, comparison);
            return ExitCode.Success;
        });
        return command;
    }

    private static ModelComparison Compare(string[] paths, string? published)
    {
        try
        {
            var names = published == "all" ? PublishedTable.Models.Select(m => m.Name).ToList() : [.. (published ?? string.Empty).Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)];
            return ModelComparison.Of([.. paths.Select(ResultStore.Read)], names);
        }
        catch (ArgumentException wrong)
        {
            throw new CommandException(wrong.Message.Split(" (Parameter")[0], "name output folders of 'hadal eval', and --published columns", ExitCode.Usage);
        }
    }

    private static void Show(Terminal terminal, ModelComparison comparison)
    {
        var table = new Table().Border(TableBorder.Rounded).AddColumns("benchmark", "shots");
        foreach (var column in comparison.Columns)
            table.AddColumn(new TableColumn(Markup.Escape(column.IsPublished ? $"{column.Name} (published)" : column.Name)).RightAligned());
        table.AddRow(["activated parameters", string.Empty, .. comparison.Columns.Select(c => Figures.Parameters(c.Activated))]);
        table.AddRow(["total parameters", string.Empty, .. comparison.Columns.Select(c => Figures.Parameters(c.Total))]);
        foreach (var row in comparison.Rows)
            table.AddRow([$"{row.Title} ({row.Metric})", row.ShotsText, .. row.Scores.Select((_, i) => Cell(terminal, row, i))]);
        terminal.Rich.Write(table);
        terminal.Out.WriteLine(terminal.OutputIsTerminal ? "bold: best; ≈: at its level (gap of at most 0.3)" : "**: best; ≈: at its level (gap of at most 0.3)");
        foreach (var finding in Findings.Of(comparison))
        {
            terminal.Out.WriteLine();
            terminal.Out.WriteLine(finding);
        }
    }

    // Bold cannot be seen in a pipe.
    private static string Cell(Terminal terminal, ComparisonRow row, int column) =>
        terminal.OutputIsTerminal && row.IsBest(column) ? $"[bold]{row.Marked(column).Trim('*')}[/]" : row.Marked(column);
}
