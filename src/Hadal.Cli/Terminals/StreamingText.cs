namespace Hadal.Cli.Terminals;

/// <summary>Writes a model's text to standard output as it comes: on a terminal piece by piece and made harmless, into a pipe as it is.</summary>
internal sealed class StreamingText(Terminal terminal)
{
    private bool atLineStart = true;

    /// <summary>Writes a piece.</summary>
    public void Write(string piece)
    {
        if (piece.Length == 0)
            return;
        atLineStart = piece[^1] == '\n';
        terminal.Out.Write(terminal.OutputIsTerminal ? TerminalText.Printable(piece) : piece);
        if (terminal.OutputIsTerminal)
            terminal.Out.Flush();
    }

    /// <summary>Ends the line, if one is begun.</summary>
    public void EndLine()
    {
        if (!atLineStart)
            terminal.Out.WriteLine();
        atLineStart = true;
    }
}
