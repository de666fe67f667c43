using System.Text;
using Spectre.Console.Rendering;

namespace Hadal.Cli.Terminals;

/// <summary>Text that is about to reach a terminal.</summary>
internal static class TerminalText
{
    /// <summary>
    /// The text with control characters made visible. What a model writes is untrusted: an escape sequence could move the cursor, rename the window
    /// or fake output.
    /// </summary>
    public static string Printable(string text)
    {
        if (!text.Any(IsDangerous))
            return text;
        var shown = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            // U+2400 to U+241F picture the control characters; the few others have no picture.
            shown.Append(!IsDangerous(c) ? c : c < ' ' ? (char)(0x2400 + c) : '\uFFFD');
        }

        return shown.ToString();
    }

    /// <summary>Cells that a piece of text takes on one line: 2 for wide characters, 0 for combining ones.</summary>
    public static int Cells(string text) => new Segment(text).CellCount();

    private static bool IsDangerous(char c) => (char.IsControl(c) && c is not ('\n' or '\t')) || c is '\u2028' or '\u2029' or (>= '\u202A' and <= '\u202E') or (>= '\u2066' and <= '\u2069');
}
