using System.Globalization;
using System.Text;
using Hadal.Evaluation.Running;

namespace Hadal.Evaluation.Reports;

/// <summary>Results as a Markdown page: a table of scores, then each task's setting and categories.</summary>
public static class MarkdownReport
{
    /// <summary>The page.</summary>
    public static string Of(RunResults results)
    {
        ArgumentNullException.ThrowIfNull(results);
        var page = new StringBuilder();
        page.Append(CultureInfo.InvariantCulture, $"# {Cell(results.Model.Name)}\n\n{Cell(results.Model.Description)}; parameters {Figures.Parameters(results.Model.ActivatedParameters)} activated of {Figures.Parameters(results.Model.TotalParameters)}; model hash `{results.Model.Hash}`.\n\n");
        page.Append("| benchmark | score | | | 95% interval | guessing | questions | shots | style | setting |\n|---|---|---|---|---|---|---|---|---|---|\n");
        foreach (var task in results.Tasks)
            page.Append(CultureInfo.InvariantCulture, $"| {task.Title} | {task.MetricName} | {Figures.Score(task.MetricName, task.Score)} | {Figures.Error(task)} | {Figures.Interval(task)} | {Figures.Chance(task)} | {task.Questions} | {task.Setting.Shots} | {task.Setting.Style} | `{task.Setting.Hash[..12]}` |\n");
        foreach (var (name, reason) in results.Skipped)
            page.Append(CultureInfo.InvariantCulture, $"\nNot run: {name}: {Cell(reason)}\n");
        foreach (var task in results.Tasks)
            Append(page, task);
        return page.ToString();
    }

    private static void Append(StringBuilder page, TaskResult task)
    {
        page.Append(CultureInfo.InvariantCulture, $"\n## {task.Title}\n\nTask `{task.Task}` version {task.Setting.Version}, {task.Setting.Style} form, {task.Setting.Shots} shots ({Cell(task.Setting.ShotSource)}), {task.Setting.Decoding}; the score is `{task.Metric}`. Setting `{task.Setting.Hash}`.\n\n");
        foreach (var note in task.Notes)
            page.Append(CultureInfo.InvariantCulture, $"Note: {Cell(note)}.\n\n");
        if (task.WithoutAnswer is > 0)
            page.Append(CultureInfo.InvariantCulture, $"Of {task.Questions} outputs, {task.WithoutAnswer} were cut off or had no answer in them.\n\n");
        page.Append("| metric | all items | mean of categories |\n|---|---|---|\n");
        foreach (var (metric, micro) in task.Micro)
            page.Append(CultureInfo.InvariantCulture, $"| {metric} | {micro:0.###} | {(task.Macro.TryGetValue(metric, out var macro) ? macro.ToString("0.###", CultureInfo.InvariantCulture) : string.Empty)} |\n");
        if (task.Categories.Count < 2)
            return;
        page.Append("\n| category | score | questions |\n|---|---|---|\n");
        foreach (var (category, result) in task.Categories)
            page.Append(CultureInfo.InvariantCulture, $"| {Cell(category)} | {Figures.Score(task.MetricName, result.Score)} | {result.Questions} |\n");
    }

    // Text out of files and requests must not end a cell.
    private static string Cell(string text) => text.ReplaceLineEndings(" ").Replace("|", "\\|", StringComparison.Ordinal);
}
