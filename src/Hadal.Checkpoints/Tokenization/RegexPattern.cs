using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// Any other regex, by <see cref="Regex"/>. Tokenizer files mean Oniguruma's Ruby syntax over code points; .NET matches UTF-16 units and has its
/// own dialect. What both write alike is taken, the rest refused. For characters beyond U+FFFF, which .NET would see as two surrogates of no
/// category, the text (never the tokens) is matched with stand-ins: for each a character of plane 0 of the same general category that lies
/// inside the same of the regex's ranges.
/// </summary>
internal sealed class RegexPattern : SplitPattern
{
    private const int MostRanges = 62;

    /// <summary>The categories of characters beyond U+FFFF.</summary>
    private static readonly UnicodeCategory[] HighCategories = [.. Enumerable.Range(0x10000, 0x100000).Select(CharUnicodeInfo.GetUnicodeCategory).Distinct()];

    /// <summary>Characters of plane 0 but Latin-1's, by category, the highest first.</summary>
    private static readonly ILookup<UnicodeCategory, char> Candidates = Enumerable.Range(0x100, 0xFF00).Reverse().ToLookup(c => CharUnicodeInfo.GetUnicodeCategory((char)c), c => (char)c);

    private readonly Regex regex;
    private readonly string source;
    private readonly List<(int Start, int End)> highRanges = [];
    private readonly Dictionary<(UnicodeCategory Category, ulong Ranges), char> standIns = [];
    private readonly SearchValues<char> replaced;

    /// <summary>Reads a regex.</summary>
    /// <param name="source">The regex.</param>
    /// <param name="timeout">How long a match may take; ten seconds by default.</param>
    /// <exception cref="NotSupportedException">It uses what the two engines write or read differently, or is no regex.</exception>
    public RegexPattern(string source, TimeSpan? timeout = null)
    {
        this.source = source;
        var taken = new List<(int Start, int End)>();
        var rewritten = Translate(taken);
        replaced = SearchValues.Create([.. Enumerable.Range(0xD800, 0x400).Select(c => (char)c), .. standIns.Where(s => s.Key.Ranges != 0).Select(s => s.Value)]);
        try
        {
            regex = new(rewritten, RegexOptions.CultureInvariant | RegexOptions.Multiline, timeout ?? TimeSpan.FromSeconds(10));
        }
        catch (ArgumentException e)
        {
            throw new NotSupportedException($"regex {Files.BadFile.Quote(source)}: {Files.BadFile.Quote(e.Message)}", e);
        }
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">A match took longer than it may.</exception>
    public override void Cut(ReadOnlySpan<byte> text, int offset, List<int> ends)
    {
        var units = ArrayPool<char>.Shared.Rent(text.Length);
        try
        {
            var count = Encoding.UTF8.GetChars(text, units);
            count = Substitute(units.AsSpan(0, count));
            var previous = 0;
            var (atUnit, atByte) = (0, 0);
            foreach (var match in regex.EnumerateMatches(units.AsSpan(0, count)))
            {
                var start = Advance(text, match.Index, ref atUnit, ref atByte);
                var end = Advance(text, match.Index + match.Length, ref atUnit, ref atByte);
                AddMatch(start, end, ref previous, offset, ends);
            }
        }
        catch (RegexMatchTimeoutException e)
        {
            throw new InvalidDataException($"pre-tokenizer regex {Files.BadFile.Quote(source)}: a match took longer than {regex.MatchTimeout.TotalSeconds} s", e);
        }
        finally
        {
            ArrayPool<char>.Shared.Return(units);
        }
    }

    /// <summary>The byte where the character number <paramref name="unit"/> starts; each character is one unit after the substitution.</summary>
    private static int Advance(ReadOnlySpan<byte> text, int unit, ref int atUnit, ref int atByte)
    {
        for (; atUnit < unit; atUnit++)
            CharClasses.Decode(text, atByte, out atByte);
        return atByte;
    }

    /// <summary>
    /// Replaces surrogate pairs by stand-ins in place; the new length. A character of the text that is itself the stand-in of some range would be
    /// taken for a member, so another of its category stands in for it.
    /// </summary>
    private int Substitute(Span<char> units)
    {
        var first = units.IndexOfAny(replaced);
        if (first < 0)
            return units.Length;
        var to = first;
        for (var from = first; from < units.Length; from++, to++)
        {
            var unit = units[from];
            units[to] = char.IsHighSurrogate(unit) ? StandIn(char.ConvertToUtf32(unit, units[++from]))
                : replaced.Contains(unit) ? standIns[(CharUnicodeInfo.GetUnicodeCategory(unit), 0)]
                : unit;
        }

        return to;
    }

    private char StandIn(int codePoint) => standIns[(CharUnicodeInfo.GetUnicodeCategory(codePoint), RangesAt(codePoint))];

    private ulong RangesAt(int codePoint)
    {
        ulong found = 0;
        for (var i = 0; i < highRanges.Count; i++)
        {
            if (codePoint >= highRanges[i].Start && codePoint <= highRanges[i].End)
                found |= 1UL << i;
        }

        return found;
    }

    /// <summary>The regex for .NET: checked, its characters beyond U+FFFF replaced.</summary>
    private string Translate(List<(int Start, int End)> taken)
    {
        var parts = new List<(string? Text, int Range, bool InBrackets)>();
        var inBrackets = false;
        var runes = source.EnumerateRunes().Select(r => r.Value).ToArray();
        for (var i = 0; i < runes.Length; i++)
        {
            var c = runes[i];
            if (c == '\\')
            {
                parts.Add((Escape(runes, ref i), -1, inBrackets));
                continue;
            }

            if (c == '[')
            {
                if (inBrackets)
                    throw Unsupported("nested brackets");
                inBrackets = true;
            }
            else if (c == ']' && inBrackets)
                inBrackets = false;
            else if (inBrackets && c == '&' && i + 1 < runes.Length && runes[i + 1] == '&')
                throw Unsupported("an intersection of sets");
            else if (!inBrackets && c == '(' && i + 1 < runes.Length && runes[i + 1] == '?')
                CheckGroup(runes, i);
            else if (!inBrackets && c == '+' && i > 0 && runes[i - 1] is '+' or '*' or '?' && (i < 2 || runes[i - 2] != '\\'))
                throw Unsupported("a possessive quantifier");

            var range = inBrackets && i + 2 < runes.Length && runes[i + 1] == '-' && runes[i + 2] is not (']' or '\\') ? (c, runes[i + 2]) : (c, c);
            if (range.Item2 >= 0x10000)
            {
                if (range.Item1 < 0x10000 || highRanges.Count == MostRanges)
                    throw Unsupported("a range across U+FFFF, or more than 62 beyond it");
                parts.Add((null, highRanges.Count, inBrackets));
                highRanges.Add(range);
            }
            else
            {
                taken.Add(range);
                parts.Add((new Rune(c).ToString(), -1, inBrackets));
                if (range.Item1 != range.Item2)
                    parts.Add(("-" + new Rune(range.Item2), -1, inBrackets));
            }

            if (range.Item1 != range.Item2)
                i += 2;
        }

        FindStandIns(taken);
        var pattern = new StringBuilder();
        foreach (var (text, range, bracketed) in parts)
        {
            var members = text ?? string.Concat(standIns.Where(s => (s.Key.Ranges >> range & 1) != 0).Select(s => $"\\u{(int)s.Value:X4}"));
            pattern.Append(text is null && !bracketed ? $"[{members}]" : members);
        }

        return pattern.ToString();
    }

    /// <summary>An escape both engines read alike.</summary>
    private string Escape(int[] runes, ref int i)
    {
        if (++i >= runes.Length)
            throw Unsupported("a lone backslash");
        var c = runes[i];
        if (c is 'p' or 'P')
        {
            var close = Array.IndexOf(runes, '}', i);
            if (i + 1 >= runes.Length || runes[i + 1] != '{' || close < 0)
                throw Unsupported(@"\p without {…}");
            var name = string.Concat(runes[(i + 2)..close].Select(r => new Rune(r).ToString()));
            if (name.Length is 0 or > 2 || !name.All(char.IsAsciiLetter))
                throw Unsupported($@"\p{{{name}}}");
            i = close;
            return $@"\{(char)c}{{{name}}}";
        }

        if (c is 's' or 'S' or 'd' or 'D' or 'r' or 'n' or 't' || (c < 128 && !char.IsAsciiLetterOrDigit((char)c)))
            return $@"\{(char)c}";
        throw Unsupported($@"\{new Rune(c)}");
    }

    private void CheckGroup(int[] runes, int open)
    {
        var head = string.Concat(runes[(open + 2)..Math.Min(runes.Length, open + 5)].Select(r => new Rune(r).ToString()));
        if (!(head.StartsWith(':') || head.StartsWith('=') || head.StartsWith('!') || head.StartsWith('>') || head.StartsWith("i:", StringComparison.Ordinal)))
            throw Unsupported($"a group (?{head}");
    }

    /// <summary>One character of plane 0 for every kind of character beyond it, outside everything the regex names.</summary>
    private void FindStandIns(List<(int Start, int End)> taken)
    {
        var used = new Dictionary<UnicodeCategory, int>();
        foreach (var category in HighCategories)
            Choose((category, 0));
        foreach (var (start, end) in highRanges)
        {
            for (var codePoint = start; codePoint <= end; codePoint++)
                Choose((CharUnicodeInfo.GetUnicodeCategory(codePoint), RangesAt(codePoint)));
        }

        void Choose((UnicodeCategory Category, ulong Ranges) kind)
        {
            if (standIns.ContainsKey(kind))
                return;
            var candidates = Candidates[kind.Category].ToList();
            var next = used.GetValueOrDefault(kind.Category);
            while (next < candidates.Count && taken.Exists(r => candidates[next] >= r.Start && candidates[next] <= r.End))
                next++;
            standIns[kind] = next < candidates.Count ? candidates[next] : throw Unsupported($"it names every character of category {kind.Category}");
            used[kind.Category] = next + 1;
        }
    }

    private NotSupportedException Unsupported(string what) => new($"regex {Files.BadFile.Quote(source)}: {Files.BadFile.Quote(what)} is not supported");
}
