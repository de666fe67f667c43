using Hadal.Cli.Terminals;
using Hadal.Evaluation.Reports;
using Hadal.Evaluation.Running;
using Spectre.Console;

namespace Hadal.Cli.Evaluation;

/// <summary>Results as a table.</summary>
internal static class ResultTable
{
    /// <summary>Writes it to standard output, with what has to be known beside the scores.</summary>
    public static void Write(Terminal terminal, RunResults results, string? output)
    {
        var table = new Table().Border(TableBorder.Rounded).AddColumns("benchmark", "score", string.Empty, string.Empty, "95% interval", "guessing", "questions", "shots", "setting");
        foreach (var task in results.Tasks)
        {
            table.AddRow(
                Markup.Escape(task.Title), task.MetricName, Figures.Score(task.MetricName, task.Score), Figures.Error(task), Figures.Interval(task), Figures.Chance(task),
                $"{task.Questions}", $"{task.Setting.Shots}", task.Setting.Hash[..12]);
        }

        terminal.Rich.Write(table);
        foreach (var (task, reason) in results.Skipped)
            terminal.Out.WriteLine($"{task} was not run: {reason}");
        foreach (var (task, note) in results.Tasks.SelectMany(t => t.Notes.Select(n => (t.Task, n))))
            terminal.Out.WriteLine($"{task}: {note}");
        if (output is not null)
            terminal.Out.WriteLine($"written to {output}: results.json, report.md, report.html, items/*.jsonl");
    }
}
