using System.Globalization;
using System.Text;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>A set of code points as a regex writes it: <c>\p{L}</c>, <c>[A-Za-zµ]</c>, <c>[\r\n]</c>. Immutable.</summary>
internal sealed class CodePointSet
{
    private readonly bool[] ascii = new bool[128];
    private readonly uint categories;
    private readonly int[] starts;
    private readonly int[] ends;

    private CodePointSet(uint categories, List<(int Start, int End)> ranges)
    {
        this.categories = categories;
        ranges.Sort();
        var merged = new List<(int Start, int End)>();
        foreach (var range in ranges)
        {
            if (merged.Count > 0 && range.Start <= merged[^1].End + 1)
                merged[^1] = (merged[^1].Start, Math.Max(merged[^1].End, range.End));
            else
                merged.Add(range);
        }

        starts = [.. merged.Select(r => r.Start)];
        ends = [.. merged.Select(r => r.End)];
        for (var c = 0; c < ascii.Length; c++)
            ascii[c] = Search(c);
    }

    /// <summary>Whether the set holds a code point.</summary>
    public bool Contains(int codePoint) => codePoint < 128 ? ascii[codePoint] : Search(codePoint);

    /// <summary>Reads the set that starts at <paramref name="at"/> and moves past it; null where it is none, or is written in a way not known here.</summary>
    public static CodePointSet? TryParse(string regex, ref int at)
    {
        var ranges = new List<(int, int)>();
        uint found = 0;
        if (TryCategory(regex, ref at, ref found))
            return new(found, ranges);
        if (at >= regex.Length || regex[at] != '[' || at + 1 >= regex.Length || regex[at + 1] == '^')
            return null;
        for (at++; at < regex.Length && regex[at] != ']';)
        {
            if (TryCategory(regex, ref at, ref found))
                continue;
            if (TryLiteral(regex, ref at) is not { } first)
                return null;
            var last = first;
            if (at + 1 < regex.Length && regex[at] == '-' && regex[at + 1] != ']')
            {
                at++;
                if (TryLiteral(regex, ref at) is not { } end || end < first)
                    return null;
                last = end;
            }

            ranges.Add((first, last));
        }

        if (at >= regex.Length || (ranges.Count == 0 && found == 0))
            return null;
        at++;
        return new(found, ranges);
    }

    private bool Search(int codePoint)
    {
        if ((categories >> (int)CharUnicodeInfo.GetUnicodeCategory(codePoint) & 1) != 0)
            return true;
        var index = Array.BinarySearch(starts, codePoint);
        return index >= 0 || (~index > 0 && codePoint <= ends[~index - 1]);
    }

    private static bool TryCategory(string regex, ref int at, ref uint categories)
    {
        if (!regex.AsSpan(at).StartsWith(@"\p{"))
            return false;
        var close = regex.IndexOf('}', at);
        if (close < 0 || Mask(regex[(at + 3)..close]) is not (var mask and not 0))
            return false;
        categories |= mask;
        at = close + 1;
        return true;
    }

    private static uint Mask(string name) => name switch
    {
        "L" => 0b11111,
        "M" => 0b111 << (int)UnicodeCategory.NonSpacingMark,
        "N" => 0b111 << (int)UnicodeCategory.DecimalDigitNumber,
        "Nd" => 1 << (int)UnicodeCategory.DecimalDigitNumber,
        "P" => 0b1111111 << (int)UnicodeCategory.ConnectorPunctuation,
        "S" => 0b1111 << (int)UnicodeCategory.MathSymbol,
        _ => 0,
    };

    /// <summary>A character that stands for itself inside brackets, escaped or not.</summary>
    private static int? TryLiteral(string regex, ref int at)
    {
        if (at >= regex.Length)
            return null;
        if (regex[at] == '\\')
        {
            if (at + 1 >= regex.Length)
                return null;
            var escaped = regex[at + 1];
            int? value = escaped switch
            {
                'r' => '\r',
                'n' => '\n',
                't' => '\t',
                _ when char.IsAscii(escaped) && !char.IsAsciiLetterOrDigit(escaped) => escaped,
                _ => null,
            };
            at += 2;
            return value;
        }

        // What other engines read as nesting, POSIX classes and intersections is left to RegexPattern to refuse.
        if (regex[at] is '[' or '&' || Rune.DecodeFromUtf16(regex.AsSpan(at), out var rune, out var length) != System.Buffers.OperationStatus.Done)
            return null;
        at += length;
        return rune.Value;
    }
}
