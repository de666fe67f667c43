using System.Globalization;

namespace Hadal.Inference.Constraints;

/// <summary>
/// The regular expressions of <c>pattern</c> (ECMA-262), read into a tree: alternatives, groups, classes, quantifiers, anchors at the ends. What looks around or
/// back is refused. \d, \w and \s are ASCII's, as ECMA has them.
/// </summary>
internal sealed class JsonPattern
{
    private const int MostRepeats = 1000;
    private const int MostNesting = 100;

    private static readonly (int, int)[] Digits = [('0', '9')];
    private static readonly (int, int)[] Words = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    private static readonly (int, int)[] Spaces = [('\t', '\r'), (' ', ' ')];
    private static readonly (int, int)[] Breaks = [('\n', '\n'), ('\r', '\r'), (0x2028, 0x2029)];

    private readonly string text;
    private readonly string path;
    private int at;
    private int nesting;

    private JsonPattern(string text, string path)
    {
        this.text = text;
        this.path = path;
    }

    /// <summary>The texts in which a pattern is found.</summary>
    /// <exception cref="ConstraintException">The pattern is malformed, or asks for what cannot be followed.</exception>
    public static PatternNode Parse(string pattern, string path)
    {
        var parser = new JsonPattern(pattern, path);
        var alternatives = new List<PatternNode>();
        do
        {
            var anchoredStart = parser.Take('^');
            var body = parser.Terms(out var anchoredEnd, isTop: true);
            alternatives.Add(new PatternNode.Sequence([.. anchoredStart ? [] : (PatternNode[])[PatternNode.Anything], body, .. anchoredEnd ? [] : (PatternNode[])[PatternNode.Anything]]));
        }
        while (parser.Take('|'));
        return parser.at == pattern.Length ? new PatternNode.Choice(alternatives) : throw parser.Wrong("an unmatched ')'");
    }

    private PatternNode Alternatives()
    {
        if (++nesting > MostNesting)
            throw Wrong("groups nested too deeply");
        var pieces = new List<PatternNode>();
        do
            pieces.Add(Terms(out _, isTop: false));
        while (Take('|'));
        nesting--;
        return pieces.Count == 1 ? pieces[0] : new PatternNode.Choice(pieces);
    }

    private PatternNode Terms(out bool anchoredEnd, bool isTop)
    {
        var pieces = new List<PatternNode>();
        anchoredEnd = false;
        while (at < text.Length && text[at] is not ('|' or ')'))
        {
            if (isTop && text[at] == '$' && (at + 1 == text.Length || text[at + 1] == '|'))
            {
                at++;
                anchoredEnd = true;
                break;
            }

            pieces.Add(Quantified(Atom()));
        }

        return new PatternNode.Sequence(pieces);
    }

    private PatternNode Quantified(PatternNode atom)
    {
        if (at == text.Length)
            return atom;
        (int Min, int? Max)? count = text[at] switch { '*' => (0, null), '+' => (1, null), '?' => (0, 1), _ => null };
        if (count is not null)
            at++;
        else if (text[at] == '{' && Braces() is { } braces)
            count = braces;
        if (count is not { } range)
            return atom;

        // Greedy or not, the same texts match.
        Take('?');
        if (at < text.Length && text[at] is '*' or '+')
            throw Wrong("two quantifiers in a row");
        if (range.Min > MostRepeats || range.Max > MostRepeats || range.Max < range.Min)
            throw Wrong($"a count above {MostRepeats}, or a range that is upside down");
        return new PatternNode.Repeat(atom, range.Min, range.Max);
    }

    private (int Min, int? Max)? Braces()
    {
        var end = text.IndexOf('}', at);
        if (end < 0)
            throw Wrong("a '{' without '}'");
        var parts = text[(at + 1)..end].Split(',');
        if (parts.Length > 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var min))
            throw Wrong("a '{' that is no count");
        int? max = parts.Length == 1 ? min : null;
        if (parts.Length == 2 && parts[1].Length > 0)
            max = int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var most) ? most : throw Wrong("a '{' that is no count");
        at = end + 1;
        return (min, max);
    }

    private PatternNode Atom()
    {
        var c = text[at++];
        switch (c)
        {
            case '(':
                if (Take('?') && !Take(':'))
                    throw Wrong("a group that looks around or has a name");
                var inner = Alternatives();
                return Take(')') ? inner : throw Wrong("a '(' without ')'");
            case '[':
                return new PatternNode.Set(Class());
            case '.':
                return new PatternNode.Set(Not(Breaks));
            case '\\':
                return new PatternNode.Set(Escape());
            case '^' or '$':
                throw Wrong($"'{c}' in the middle");
            case '*' or '+' or '?':
                throw Wrong($"'{c}' with nothing before it");
            default:
                at--;
                return new PatternNode.Set([Single()]);
        }
    }

    private (int, int)[] Class()
    {
        var isNegated = Take('^');
        var ranges = new List<(int, int)>();
        while (!Take(']'))
        {
            if (at == text.Length)
                throw Wrong("a '[' without ']'");
            var first = Member();
            if (first.Length == 1 && first[0].Item1 == first[0].Item2 && at + 1 < text.Length && text[at] == '-' && text[at + 1] != ']')
            {
                at++;
                var last = Member();
                if (last.Length != 1 || last[0].Item2 < first[0].Item1)
                    throw Wrong("a range that is upside down");
                ranges.Add((first[0].Item1, last[0].Item2));
            }
            else
            {
                ranges.AddRange(first);
            }
        }

        return isNegated ? Not([.. ranges]) : [.. ranges];
    }

    private (int, int)[] Member() => Take('\\') ? Take('b') ? [('\b', '\b')] : Escape() : [Single()];

    private (int, int) Single()
    {
        var c = char.IsHighSurrogate(text[at]) && at + 1 < text.Length && char.IsLowSurrogate(text[at + 1]) ? char.ConvertToUtf32(text, at) : text[at];
        at += c > char.MaxValue ? 2 : 1;
        return (c, c);
    }

    private (int, int)[] Escape()
    {
        if (at == text.Length)
            throw Wrong("a '\\' with nothing behind it");
        var c = text[at++];
        return c switch
        {
            'd' => Digits,
            'D' => Not(Digits),
            'w' => Words,
            'W' => Not(Words),
            's' => Spaces,
            'S' => Not(Spaces),
            'n' => [('\n', '\n')],
            'r' => [('\r', '\r')],
            't' => [('\t', '\t')],
            'f' => [('\f', '\f')],
            'v' => [('\v', '\v')],
            'x' => Hex(2),
            'u' => Hex(4),
            _ when char.IsAsciiLetterOrDigit(c) => throw Wrong($"'\\{c}'"),
            _ => [(c, c)],
        };
    }

    private (int, int)[] Hex(int digits)
    {
        if (at + digits > text.Length || !int.TryParse(text.AsSpan(at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value))
            throw Wrong("an escape that is no hexadecimal number");
        at += digits;
        return [(value, value)];
    }

    private static (int, int)[] Not((int Low, int High)[] ranges)
    {
        var rest = new List<(int, int)>();
        var low = 0;
        foreach (var (first, last) in ranges.OrderBy(r => r.Low))
        {
            if (first > low)
                rest.Add((low, first - 1));
            low = Math.Max(low, last + 1);
        }

        rest.Add((low, JsonPieces.LastCodePoint));
        return [.. rest];
    }

    private bool Take(char c)
    {
        if (at >= text.Length || text[at] != c)
            return false;
        at++;
        return true;
    }

    private ConstraintException Wrong(string what) => new($"'pattern' has {what} at character {at}, which is not supported", path);
}
