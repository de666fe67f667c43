using System.Globalization;
using System.Text.RegularExpressions;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Tests.Chat;

/// <summary>A terminal as far as the line editor uses one: lines, the cursor, and wiping what follows it.</summary>
internal sealed partial class Screen
{
    private readonly List<string?[]> rows = [];
    private readonly int width;

    public Screen(int width, string output)
    {
        this.width = width;
        for (var at = 0; at < output.Length;)
        {
            var escape = Escape().Match(output, at);
            if (escape.Success)
            {
                Do(escape.Groups["end"].Value[0], escape.Groups["number"].Value);
                at += escape.Length;
                continue;
            }

            var element = StringInfo.GetNextTextElement(output, at);
            at += element.Length;
            Put(element);
        }
    }

    /// <summary>Row and column of the cursor.</summary>
    public (int Row, int Column) Cursor { get; private set; }

    /// <summary>What is shown, without blanks at the ends of rows.</summary>
    public IEnumerable<string> Rows => rows.Select(row => string.Concat(row.Select(cell => cell ?? " ")).TrimEnd()).Reverse().SkipWhile(r => r.Length == 0).Reverse();

    private void Do(char command, string number)
    {
        var (row, column) = Cursor;
        var count = number.Length == 0 ? 1 : int.Parse(number, CultureInfo.InvariantCulture);
        switch (command)
        {
            case 'A':
                Assert.True(row >= count, "the cursor would leave the screen");
                Cursor = (row - count, column);
                break;
            case 'C':
                Assert.True(column + count < width, "the cursor would leave the screen");
                Cursor = (row, column + count);
                break;
            case 'J':
                for (var r = row; r < rows.Count; r++)
                    Array.Clear(rows[r], r == row ? column : 0, width - (r == row ? column : 0));
                break;
        }
    }

    private void Put(string element)
    {
        var (row, column) = Cursor;
        if (element is "\r" or "\n" or "\r\n")
        {
            Cursor = (element == "\r" ? row : row + 1, element == "\n" ? column : 0);
            return;
        }

        while (rows.Count <= row)
            rows.Add(new string?[width]);
        var cells = TerminalText.Cells(element);
        Assert.True(column + cells <= width, $"'{element}' would be drawn beyond column {width}");
        rows[row][column] = element;
        if (cells == 2)
            rows[row][column + 1] = string.Empty;
        Cursor = (row, column + cells);
    }

    [GeneratedRegex(@"\G\u001b\[\??(?<number>\d*)(?<end>[A-Za-z])", RegexOptions.ExplicitCapture)]
    private static partial Regex Escape();
}
