using System.Buffers;
using System.Globalization;
using System.Text;

namespace Hadal.Evaluation.Data;

/// <summary>Python's way of writing a list of texts, <c>['a', "b\'s"]</c>, as some published tables have it in a field. Nothing is evaluated.</summary>
internal static class PythonLiteral
{
    private static readonly SearchValues<char> Structure = SearchValues.Create("[](){}'\"");

    /// <summary>The texts of a list, or null where it is something else.</summary>
    public static IReadOnlyList<string>? Texts(string literal)
    {
        var text = literal.AsSpan().Trim();
        if (text is not ['[', .., ']'])
            return null;
        text = text[1..^1].Trim();
        var texts = new List<string>();
        while (!text.IsEmpty)
        {
            if (Text(ref text) is not { } value)
                return null;
            texts.Add(value);
            text = text.TrimStart();
            if (text.IsEmpty)
                break;
            if (text[0] != ',')
                return null;
            text = text[1..].TrimStart();
        }

        return texts;
    }

    private static string? Text(ref ReadOnlySpan<char> text)
    {
        if (text[0] is not ('\'' or '"'))
            return Bare(ref text);
        var quote = text[0];
        var value = new StringBuilder();
        for (var i = 1; i < text.Length; i++)
        {
            if (text[i] == quote)
            {
                text = text[(i + 1)..];
                return value.ToString();
            }

            if (text[i] != '\\')
            {
                value.Append(text[i]);
                continue;
            }

            if (++i == text.Length)
                return null;
            i += Escape(text[i..], value);
        }

        return null;
    }

    // A number, True or None: taken as it is written.
    private static string? Bare(ref ReadOnlySpan<char> text)
    {
        var end = text.IndexOf(',');
        var value = (end < 0 ? text : text[..end]).Trim();
        if (value.IsEmpty || value.ContainsAny(Structure))
            return null;
        text = end < 0 ? default : text[end..];
        return value.ToString();
    }

    // Characters of the escape beyond its first.
    private static int Escape(ReadOnlySpan<char> escape, StringBuilder value)
    {
        var digits = escape[0] switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits > 0 && escape.Length > digits && int.TryParse(escape.Slice(1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var point))
        {
            value.Append(point is > 0xFFFF and <= 0x10FFFF ? char.ConvertFromUtf32(point) : ((char)point).ToString());
            return digits;
        }

        _ = escape[0] switch
        {
            'n' => value.Append('\n'),
            't' => value.Append('\t'),
            'r' => value.Append('\r'),
            '\\' or '\'' or '"' => value.Append(escape[0]),
            _ => value.Append('\\').Append(escape[0]),
        };
        return 0;
    }
}
