using System.Globalization;
using System.Text;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Chat;

/// <summary>
/// Reads a message from a terminal: editing with the usual keys, history with up and down, several lines with Alt+Enter, a closing backslash, or by pasting.
/// </summary>
/// <param name="output">The terminal.</param>
/// <param name="readKey">The next key.</param>
/// <param name="width">Columns of the terminal, at least 10.</param>
/// <param name="keyWaits">Whether a key is waiting; tells an Escape key from an escape sequence.</param>
internal sealed class LineEditor(TextWriter output, Func<ConsoleKeyInfo> readKey, Func<int> width, Func<bool> keyWaits)
{
    private const string PasteStart = "[200~";
    private const string PasteEnd = "\u001b[201~";

    private readonly List<string> history = [];
    private readonly StringBuilder text = new();
    private string prompt = string.Empty;
    private int cursor;
    private int drawnCursorRow;
    private int historyAt;
    private string draft = string.Empty;

    /// <summary>What ended a line.</summary>
    public enum Outcome
    {
        /// <summary>A message was entered.</summary>
        Message,

        /// <summary>Ctrl-C.</summary>
        Interrupted,

        /// <summary>Ctrl-D on an empty line, or the end of the input.</summary>
        End,
    }

    /// <summary>Reads one message.</summary>
    /// <param name="promptText">Shown before the first line.</param>
    /// <returns>What ended it, and the text so far.</returns>
    public (Outcome Outcome, string Text) Read(string promptText)
    {
        prompt = promptText;
        text.Clear();
        cursor = 0;
        drawnCursorRow = 0;
        historyAt = history.Count;
        draft = string.Empty;
        output.Write("\u001b[?2004h");
        Draw();
        try
        {
            while (true)
            {
                if (Handle(readKey()) is { } outcome)
                    return Leave(outcome);
            }
        }
        finally
        {
            output.Write("\u001b[?2004l");
            output.Flush();
        }
    }

    private (Outcome Outcome, string Text) Leave(Outcome outcome)
    {
        cursor = text.Length;
        Draw();
        output.WriteLine(outcome == Outcome.Interrupted ? "^C" : string.Empty);
        var message = text.ToString();
        if (outcome == Outcome.Message && message.Length > 0 && (history.Count == 0 || history[^1] != message))
            history.Add(message);
        return (outcome, message);
    }

    private Outcome? Handle(ConsoleKeyInfo key)
    {
        var control = key.Modifiers.HasFlag(ConsoleModifiers.Control);
        var alt = key.Modifiers.HasFlag(ConsoleModifiers.Alt);
        switch (key.Key)
        {
            case ConsoleKey.Enter when alt:
                Insert("\n");
                break;
            case ConsoleKey.Enter when cursor == text.Length && text.Length > 0 && text[^1] == '\\':
                text.Length--;
                cursor--;
                Insert("\n");
                break;
            case ConsoleKey.Enter:
                return Outcome.Message;
            case ConsoleKey.C when control:
                return Outcome.Interrupted;
            case ConsoleKey.D when control && text.Length == 0:
                return Outcome.End;
            case ConsoleKey.Escape when keyWaits():
                AfterEscape();
                break;
            case ConsoleKey.Backspace when control || alt:
            case ConsoleKey.W when control:
                Remove(WordStart(), cursor);
                break;
            case ConsoleKey.Backspace or ConsoleKey.H when key.Key == ConsoleKey.Backspace || control:
                Remove(Before(cursor), cursor);
                break;
            case ConsoleKey.Delete:
            case ConsoleKey.D when control:
                Remove(cursor, After(cursor));
                break;
            case ConsoleKey.U when control:
                Remove(LineStart(), cursor);
                break;
            case ConsoleKey.K when control:
                Remove(cursor, LineEnd());
                break;
            case ConsoleKey.L when control:
                output.Write("\u001b[2J\u001b[H");
                drawnCursorRow = 0;
                Draw();
                break;
            case ConsoleKey.LeftArrow or ConsoleKey.B when key.Key == ConsoleKey.LeftArrow || control:
                MoveTo(control && key.Key == ConsoleKey.LeftArrow ? WordStart() : Before(cursor));
                break;
            case ConsoleKey.RightArrow or ConsoleKey.F when key.Key == ConsoleKey.RightArrow || control:
                MoveTo(After(cursor));
                break;
            case ConsoleKey.Home:
            case ConsoleKey.A when control:
                MoveTo(LineStart());
                break;
            case ConsoleKey.End:
            case ConsoleKey.E when control:
                MoveTo(LineEnd());
                break;
            case ConsoleKey.UpArrow or ConsoleKey.P when key.Key == ConsoleKey.UpArrow || control:
                Recall(historyAt - 1);
                break;
            case ConsoleKey.DownArrow or ConsoleKey.N when key.Key == ConsoleKey.DownArrow || control:
                Recall(historyAt + 1);
                break;
            default:
                if (key.KeyChar >= ' ' && key.KeyChar != '\u007f' && !control)
                    Insert(key.KeyChar.ToString());
                break;
        }

        return null;
    }

    // A terminal in bracketed-paste mode sends ESC [200~ text ESC [201~, which arrives key by key. Some terminals send Alt+Enter as ESC Enter.
    private void AfterEscape()
    {
        foreach (var expected in PasteStart)
        {
            var key = readKey();
            if (key.Key == ConsoleKey.Enter)
                Insert("\n");
            if (key.KeyChar != expected)
                return;
        }

        var pasted = new StringBuilder();
        while (!EndsWith(pasted, PasteEnd))
        {
            var key = readKey();
            pasted.Append(key.Key == ConsoleKey.Enter || key.KeyChar == '\r' ? '\n' : key.KeyChar);
        }

        pasted.Length -= PasteEnd.Length;
        if (pasted.Length > 0)
            Insert(pasted.ToString().Replace("\t", "    "));
    }

    private static bool EndsWith(StringBuilder builder, string end)
    {
        for (var i = 0; i < end.Length; i++)
        {
            if (builder.Length < end.Length || builder[builder.Length - end.Length + i] != end[i])
                return false;
        }

        return true;
    }

    private void Insert(string piece)
    {
        text.Insert(cursor, piece);
        cursor += piece.Length;

        // Half a surrogate pair is not drawn: its other half is the next key.
        if (!char.IsHighSurrogate(piece[^1]))
            Draw();
    }

    private void Remove(int start, int end)
    {
        text.Remove(start, end - start);
        cursor = start;
        Draw();
    }

    private void MoveTo(int position)
    {
        cursor = position;
        Draw();
    }

    private void Recall(int index)
    {
        if (index < 0 || index > history.Count)
            return;
        if (historyAt == history.Count)
            draft = text.ToString();
        historyAt = index;
        text.Clear().Append(index == history.Count ? draft : history[index]);
        MoveTo(text.Length);
    }

    private int Before(int position)
    {
        var starts = StringInfo.ParseCombiningCharacters(text.ToString());
        return starts.LastOrDefault(start => start < position);
    }

    private int After(int position) => position >= text.Length ? text.Length : position + StringInfo.GetNextTextElementLength(text.ToString(), position);

    private int WordStart()
    {
        var at = cursor;
        while (at > 0 && char.IsWhiteSpace(text[at - 1]))
            at--;
        while (at > 0 && !char.IsWhiteSpace(text[at - 1]))
            at--;
        return at;
    }

    private int LineStart() => cursor == 0 ? 0 : text.ToString().LastIndexOf('\n', cursor - 1) + 1;

    private int LineEnd()
    {
        var end = text.ToString().IndexOf('\n', cursor);
        return end < 0 ? text.Length : end;
    }

    // Redraws prompt and text from the prompt's row on, and puts the cursor where it belongs.
    private void Draw()
    {
        var columns = Math.Max(10, width());
        var content = text.ToString();
        var drawing = new StringBuilder();
        if (drawnCursorRow > 0)
            drawing.Append(CultureInfo.InvariantCulture, $"\u001b[{drawnCursorRow}A");
        drawing.Append("\r\u001b[J").Append(prompt);
        int row = 0, column = TerminalText.Cells(prompt), cursorRow = 0, cursorColumn = column;
        var indent = new string(' ', column);
        for (var at = 0; at <= content.Length;)
        {
            if (at == cursor)
                (cursorRow, cursorColumn) = (row, column);
            if (at == content.Length)
                break;
            var length = StringInfo.GetNextTextElementLength(content, at);
            var element = content.Substring(at, length);
            var cells = TerminalText.Cells(element);
            at += length;
            if (column + cells > columns)
            {
                drawing.Append("\r\n");
                (row, column) = (row + 1, 0);
            }

            if (element is "\n" or "\r\n")
            {
                drawing.Append("\r\n").Append(indent);
                (row, column) = (row + 1, indent.Length);
                continue;
            }

            drawing.Append(TerminalText.Printable(element));
            column += cells;
            if (column >= columns)
            {
                // Ends the row at once: terminals differ in when they wrap.
                drawing.Append("\r\n");
                (row, column) = (row + 1, 0);
            }
        }

        if (row > cursorRow)
            drawing.Append(CultureInfo.InvariantCulture, $"\u001b[{row - cursorRow}A");
        drawing.Append('\r');
        if (cursorColumn > 0)
            drawing.Append(CultureInfo.InvariantCulture, $"\u001b[{cursorColumn}C");
        drawnCursorRow = cursorRow;
        output.Write(drawing);
        output.Flush();
    }
}
