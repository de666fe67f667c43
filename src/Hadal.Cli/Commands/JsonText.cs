using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Hadal.Cli.Commands;

/// <summary>Strings of JSON as they are written, ill-formed UTF-16 included.</summary>
internal static class JsonText
{
    /// <summary>
    /// The value of a string element. <c>"\ud83d"</c> is valid JSON but no valid text; the library's own reader refuses it, and here it stays half a
    /// surrogate pair.
    /// </summary>
    public static string Value(JsonElement element)
    {
        var raw = element.GetRawText().AsSpan()[1..^1];
        var text = new StringBuilder(raw.Length);
        for (var i = 0; i < raw.Length; i++)
        {
            if (raw[i] != '\\')
            {
                text.Append(raw[i]);
                continue;
            }

            var escape = raw[++i];
            if (escape == 'u')
            {
                text.Append((char)ushort.Parse(raw.Slice(i + 1, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
                i += 4;
                continue;
            }

            text.Append(escape switch { 'b' => '\b', 'f' => '\f', 'n' => '\n', 'r' => '\r', 't' => '\t', _ => escape });
        }

        return text.ToString();
    }
}
