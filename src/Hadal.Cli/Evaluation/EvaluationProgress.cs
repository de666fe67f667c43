using System.Diagnostics;
using System.Globalization;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Reports;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Tasks;
using Spectre.Console;

namespace Hadal.Cli.Evaluation;

/// <summary>How a run is getting on: on a terminal a table that changes in place, elsewhere a line for each task that ends.</summary>
internal sealed class EvaluationProgress : IRunProgress
{
    private const int BarCells = 20;

    private readonly Terminal terminal;
    private readonly Table table = new Table().Border(TableBorder.Rounded).AddColumns("task", "questions", "score", "left");
    private readonly Lock gate = new();
    private LiveDisplayContext? live;
    private long started;
    private int before;
    private int total;

    private EvaluationProgress(Terminal terminal) => this.terminal = terminal;

    /// <summary>Runs something while its progress is shown.</summary>
    public static async Task<RunResults> ShowAsync(Terminal terminal, Func<IRunProgress, Task<RunResults>> run)
    {
        var progress = new EvaluationProgress(terminal);
        if (!terminal.ErrorIsTerminal)
            return await run(progress);
        return await terminal.RichError.Live(progress.table).AutoClear(true).Overflow(VerticalOverflow.Crop).Cropping(VerticalOverflowCropping.Top).StartAsync(async context =>
        {
            progress.live = context;
            return await run(progress);
        });
    }

    /// <inheritdoc/>
    public void Begin(TaskInfo task, int questions, int done)
    {
        lock (gate)
        {
            (started, before, total) = (Stopwatch.GetTimestamp(), done, questions);
            table.AddRow(task.Title, Bar(done, questions), string.Empty, string.Empty);
            live?.Refresh();
        }

        if (live is null && done > 0)
            terminal.Notice($"{task.Name}: {done} of {questions} questions were done before");
    }

    /// <inheritdoc/>
    public void Advance(TaskInfo task, int done, double score)
    {
        lock (gate)
        {
            var row = table.Rows.Count - 1;
            table.UpdateCell(row, 1, Bar(done, total));
            table.UpdateCell(row, 2, Figures.Score(task.Metric, task.LowerIsBetter ? score : 100 * score));
            var elapsed = Stopwatch.GetElapsedTime(started);
            if (done > before)
                table.UpdateCell(row, 3, Time((total - done) * (elapsed / (done - before))));
            live?.Refresh();
        }
    }

    /// <inheritdoc/>
    public void End(TaskInfo task, TaskResult result)
    {
        lock (gate)
        {
            table.UpdateCell(table.Rows.Count - 1, 1, Bar(result.Questions, result.Questions));
            table.UpdateCell(table.Rows.Count - 1, 2, $"{Figures.Score(task.Metric, result.Score)} {Figures.Error(result)}");
            table.UpdateCell(table.Rows.Count - 1, 3, "done");
            live?.Refresh();
        }

        if (live is null)
            terminal.Notice($"{task.Name}: {task.Metric} {Figures.Score(task.Metric, result.Score)} {Figures.Error(result)} on {result.Questions} questions");
    }

    /// <inheritdoc/>
    public void Skip(TaskInfo task, string reason)
    {
        if (live is null)
        {
            terminal.Notice($"{task.Name} is not run: {reason}");
            return;
        }

        lock (gate)
        {
            table.AddRow(task.Title, "[yellow]not run[/]", Markup.Escape(reason.Length > 60 ? $"{reason[..60]}…" : reason), string.Empty);
            live.Refresh();
        }
    }

    private static string Bar(int done, int total)
    {
        var filled = total == 0 ? 0 : BarCells * done / total;
        return string.Create(CultureInfo.InvariantCulture, $"{new string('█', filled)}{new string('░', BarCells - filled)} {done}/{total}");
    }

    private static string Time(TimeSpan left) => left.TotalHours >= 1 ? string.Create(CultureInfo.InvariantCulture, $"{left.TotalHours:0.0} h") : string.Create(CultureInfo.InvariantCulture, $"{left.Minutes}:{left.Seconds:00}");
}
