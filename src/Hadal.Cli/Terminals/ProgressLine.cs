namespace Hadal.Cli.Terminals;

/// <summary>One line on a terminal's standard error that is redrawn as work goes on and wiped when it ends. On a pipe it writes nothing.</summary>
internal sealed class ProgressLine(Terminal terminal, string what) : IProgress<double>, IDisposable
{
    private const int BarCells = 24;
    private readonly Lock gate = new();
    private int shownPercent = -1;

    /// <inheritdoc/>
    public void Report(double value)
    {
        if (!terminal.ErrorIsTerminal)
            return;
        var percent = (int)(100 * Math.Clamp(value, 0, 1));
        lock (gate)
        {
            if (percent == shownPercent)
                return;
            shownPercent = percent;
            var filled = BarCells * percent / 100;
            terminal.Error.Write($"\r{what} [{new string('#', filled)}{new string('.', BarCells - filled)}] {percent,3}%");
            terminal.Error.Flush();
        }
    }

    /// <summary>Says how many pieces of work are done, where nobody knows how many there will be.</summary>
    public void Count(int done)
    {
        if (!terminal.ErrorIsTerminal)
            return;
        lock (gate)
        {
            shownPercent = 0;
            terminal.Error.Write($"\r{what} {done}");
            terminal.Error.Flush();
        }
    }

    /// <summary>Progress of work that is counted, such as tokens of a prompt.</summary>
    public IProgress<int> Of(int total) => new Counted(this, total);

    /// <summary>Wipes the line.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            if (shownPercent >= 0)
                terminal.Error.Write($"\r{new string(' ', what.Length + BarCells + 9)}\r");
            shownPercent = -1;
        }
    }

    private sealed class Counted(ProgressLine line, int total) : IProgress<int>
    {
        public void Report(int value) => line.Report((double)value / total);
    }
}
