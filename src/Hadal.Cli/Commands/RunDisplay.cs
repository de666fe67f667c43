using System.Globalization;
using Hadal.Cli.Terminals;
using Hadal.Training.Runs;

namespace Hadal.Cli.Commands;

/// <summary>
/// A training run before a person's eyes, on standard error: on a terminal one line that is redrawn with every step, elsewhere a line every few steps; validations and evaluations stay.
/// </summary>
internal sealed class RunDisplay(Terminal terminal, int reportSteps) : IProgress<RunEvent>, IProgress<string>, IDisposable
{
    private int drawn;

    /// <inheritdoc/>
    public void Report(string value) => Say(value);

    /// <inheritdoc/>
    public void Report(RunEvent value)
    {
        switch (value)
        {
            case RunBegun begun:
                Say(string.Create(CultureInfo.InvariantCulture,
                    $"{Display.Count(begun.Parameters)} parameters, {Display.Count(begun.Activated)} at work for a token ({begun.FlopsPerToken / 1e6:0.0} MFLOP of training each); {Display.Count(begun.TotalTokens)} tokens to train on, from {Display.Count(begun.DataTokens)} of text"));
                if (begun.Resumed is { } path)
                    Say($"going on after step {begun.Step}, from {path}");
                break;
            case CheckpointRefused refused:
                Say($"a checkpoint is left aside: {refused.Reason}");
                break;
            case ValidationDone done:
                Say(string.Create(CultureInfo.InvariantCulture,
                    $"step {done.Step}: held-out loss {done.Main:0.0000}{string.Concat(done.Mtp.Select(m => string.Create(CultureInfo.InvariantCulture, $", MTP {m:0.0000}")))}, {done.BitsPerByte:0.0000} bits per byte"));
                break;
            case EvaluationDone done:
                Say(string.Create(CultureInfo.InvariantCulture, $"step {done.Step}: {string.Join(", ", done.Scores.Select(Score))}"));
                break;
            case StepDone step when terminal.ErrorIsTerminal:
                Draw(Line(step));
                break;
            case StepDone step when step.Step == 1 || step.Step % reportSteps == 0 || step.Tokens >= step.TotalTokens:
                Say(Line(step));
                break;
            default:
                break;
        }
    }

    /// <summary>Wipes the line.</summary>
    public void Dispose() => Draw(string.Empty);

    private static string Line(StepDone step)
    {
        var parts = new List<string>
        {
            string.Create(CultureInfo.InvariantCulture, $"step {step.Step} {Math.Min(100, 100.0 * step.Tokens / step.TotalTokens):0.0}%"),
            string.Create(CultureInfo.InvariantCulture, $"loss {step.SmoothLoss:0.000}"),
            string.Create(CultureInfo.InvariantCulture, $"{step.BitsPerByte:0.000} bits/byte"),
            string.Create(CultureInfo.InvariantCulture, $"{step.TokensPerSecond:0} tokens/s"),
            string.Create(CultureInfo.InvariantCulture, $"{100 * step.Utilisation:0}% of peak"),
        };
        if (step.WorstLoad > 0)
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"busiest expert {step.WorstLoad:0.0}x"));
        parts.Add($"{Duration(step.SecondsLeft)} left");
        return string.Join(" · ", parts);
    }

    private static string Score(TaskScore score) => string.Create(
        CultureInfo.InvariantCulture, $"{score.Task} {score.Score.ToString(score.Metric == "bits_per_byte" ? "0.0000 bits per byte" : "0.0", CultureInfo.InvariantCulture)}{(score.StandardError is { } error ? $" ± {error:0.0}" : string.Empty)}");

    private static string Duration(double seconds)
    {
        var time = TimeSpan.FromSeconds(Math.Min(seconds, 3.6e8));
        return time.TotalDays >= 1 ? $"{(int)time.TotalDays} d {time.Hours} h" : time.TotalHours >= 1 ? $"{time.Hours} h {time.Minutes:00} min" : time.TotalMinutes >= 1 ? $"{time.Minutes} min {time.Seconds:00} s" : $"{time.Seconds} s";
    }

    private void Say(string line)
    {
        Draw(string.Empty);
        terminal.Notice(line);
    }

    private void Draw(string line)
    {
        if (!terminal.ErrorIsTerminal || (line.Length == 0 && drawn == 0))
            return;

        // Cut to the window: a line that wraps cannot be redrawn.
        var width = Math.Max(20, terminal.RichError.Profile.Width - 1);
        var shown = line.Length > width ? line[..width] : line;
        terminal.Error.Write($"\r{shown.PadRight(drawn)}{(line.Length == 0 ? "\r" : string.Empty)}");
        terminal.Error.Flush();
        drawn = shown.Length;
    }
}
