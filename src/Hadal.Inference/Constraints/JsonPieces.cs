using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Hadal.Inference.Constraints;

/// <summary>
/// The pieces of JSON (RFC 8259), a little narrower than the standard, so that every text is read alike by every parser and ends: UTF-8 only, white space of
/// at most a line break and an indentation, numbers of at most 16 digits before and after the point.
/// </summary>
internal sealed class JsonPieces
{
    /// <summary>Characters above which a string has no limits of its own that matter here.</summary>
    public const int LastCodePoint = 0x10FFFF;

    private const int MostIndentation = 40;
    private const int MostDigits = 16;
    private const int MostDepth = 24;

    private static readonly JsonSerializerOptions Literal = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly Grammar grammar;
    private readonly Piece[] values = new Piece[MostDepth];

    /// <summary>Adds the pieces to a grammar.</summary>
    public JsonPieces(Grammar grammar)
    {
        this.grammar = grammar;
        var g = grammar;
        Space = g.Named(g.Optional(g.AnyOf(g.Text(" "), Grammar.Sequence(g.Text("\n"), g.Repeat(g.Text(" "), 0, MostIndentation)))));
        Digit = g.Byte((byte)'0', (byte)'9');
        var hex = g.AnyOf(Digit, g.Byte((byte)'a', (byte)'f'), g.Byte((byte)'A', (byte)'F'));

        // An escape of half a surrogate pair would be no character.
        var unit = g.AnyOf(
            Grammar.Sequence(g.AnyOf(Digit, g.Byte((byte)'a', (byte)'c'), g.Byte((byte)'A', (byte)'C'), g.Byte((byte)'e', (byte)'f'), g.Byte((byte)'E', (byte)'F')), hex, hex, hex),
            Grammar.Sequence(g.AnyOf(g.Text("d"), g.Text("D")), g.Byte((byte)'0', (byte)'7'), hex, hex));
        var escape = Grammar.Sequence(g.Text("\\"), g.AnyOf([.. "\"\\/bfnrt".Select(c => g.Text(c.ToString())), Grammar.Sequence(g.Text("u"), unit)]));
        Character = g.Named(g.AnyOf(escape, Plain(0, LastCodePoint)));

        // One UTF-16 unit each, so that whoever counts units and whoever counts characters count the same.
        CountedCharacter = g.Named(g.AnyOf(escape, Plain(0, 0xFFFF)));
        String = g.Named(Grammar.Sequence(g.Text("\""), g.Repeat(Character, 0, null), g.Text("\"")));
        Integer = g.Named(Grammar.Sequence(g.Optional(g.Text("-")), Natural()));
        var exponent = Grammar.Sequence(g.AnyOf(g.Text("e"), g.Text("E")), g.Optional(g.AnyOf(g.Text("+"), g.Text("-"))), g.Repeat(Digit, 1, 2));
        Number = g.Named(Grammar.Sequence(g.Optional(g.Text("-")), Natural(), g.Optional(Fraction()), g.Optional(exponent)));
        Boolean = g.AnyOf(g.Text("true"), g.Text("false"));
        Null = g.Text("null");
        for (var depth = MostDepth - 1; depth >= 0; depth--)
        {
            Piece[] plain = [String, Number, Boolean, Null];
            values[depth] = depth == MostDepth - 1
                ? g.Named(g.AnyOf(plain))
                : g.Named(g.AnyOf([.. plain, Object(AnyMember(values[depth + 1])), Array(values[depth + 1])]));
        }

        AnyObject = Object(AnyMember(values[1]));
        AnyArray = Array(values[1]);
    }

    /// <summary>White space, or none.</summary>
    public Piece Space { get; }

    /// <summary>A digit.</summary>
    public Piece Digit { get; }

    /// <summary>A character of a string, escaped or not.</summary>
    public Piece Character { get; }

    /// <summary>A character of a string whose length is counted.</summary>
    public Piece CountedCharacter { get; }

    /// <summary>Any string.</summary>
    public Piece String { get; }

    /// <summary>Any whole number.</summary>
    public Piece Integer { get; }

    /// <summary>Any number.</summary>
    public Piece Number { get; }

    /// <summary>true or false.</summary>
    public Piece Boolean { get; }

    /// <summary>null.</summary>
    public Piece Null { get; }

    /// <summary>Any value, nested at most so deep.</summary>
    public Piece Value => values[0];

    /// <summary>Any object.</summary>
    public Piece AnyObject { get; }

    /// <summary>Any array.</summary>
    public Piece AnyArray { get; }

    /// <summary>What stands between two members or elements.</summary>
    public Piece Comma => Grammar.Sequence(grammar.Text(","), Space);

    /// <summary>What stands between a name and its value.</summary>
    public Piece Colon => Grammar.Sequence(grammar.Text(":"), Space);

    /// <summary>A value as it is.</summary>
    public Piece Constant(JsonElement value) => grammar.Text(JsonSerializer.Serialize(value, Literal));

    /// <summary>A string as it is.</summary>
    public Piece Constant(string text) => grammar.Text(JsonSerializer.Serialize(text, Literal));

    /// <summary>An array of one kind of elements.</summary>
    public Piece Array(Piece element) =>
        Grammar.Sequence(grammar.Text("["), Space, grammar.Optional(Grammar.Sequence(element, grammar.Repeat(Grammar.Sequence(Comma, element), 0, null), Space)), grammar.Text("]"));

    /// <summary>The digits before the point.</summary>
    public Piece Natural() => grammar.AnyOf(grammar.Text("0"), Grammar.Sequence(grammar.Byte((byte)'1', (byte)'9'), grammar.Repeat(Digit, 0, MostDigits - 1)));

    /// <summary>The point and the digits behind it.</summary>
    public Piece Fraction() => Grammar.Sequence(grammar.Text("."), grammar.Repeat(Digit, 1, MostDigits));

    /// <summary>A name that is none of some, written without escapes, so that it cannot be one of them in disguise.</summary>
    public Piece OtherName(IReadOnlyCollection<string> names)
    {
        var g = grammar;
        var free = g.Named(g.Repeat(Plain(0, LastCodePoint), 0, null));
        var taken = names.Where(n => n.EnumerateRunes().All(r => r.Value >= 0x20 && r.Value is not ('"' or '\\'))).Select(n => n.EnumerateRunes().Select(r => r.Value).ToArray()).ToList();
        return g.Named(Grammar.Sequence(g.Text("\""), Others(taken, 0), g.Text("\"")));

        // All texts behind a common beginning of so many characters but the rests of these names.
        Piece Others(List<int[]> rests, int depth)
        {
            var choices = new List<Piece>();
            if (!rests.Exists(r => r.Length == depth))
                choices.Add(Grammar.Nothing);
            var next = rests.Where(r => r.Length > depth).GroupBy(r => r[depth]).OrderBy(group => group.Key).ToList();
            var low = 0;
            foreach (var group in next)
            {
                if (group.Key > low)
                    choices.Add(Grammar.Sequence(Plain(low, group.Key - 1), free));
                choices.Add(Grammar.Sequence(Plain(group.Key, group.Key), Others([.. group], depth + 1)));
                low = group.Key + 1;
            }

            choices.Add(Grammar.Sequence(Plain(low, LastCodePoint), free));
            return g.AnyOf(choices);
        }
    }

    /// <summary>A character of a range as a string has it unescaped: no control character, quote or backslash.</summary>
    public Piece Plain(int low, int high)
    {
        var pieces = new List<Piece>();
        foreach (var (first, last) in ((int, int)[])[(0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, LastCodePoint)])
        {
            if (Math.Max(low, first) <= Math.Min(high, last))
                pieces.AddRange(Utf8(Math.Max(low, first), Math.Min(high, last)));
        }

        return grammar.AnyOf(pieces);
    }

    /// <summary>A character of a range as a string has it, escaped where it has to be.</summary>
    public Piece Written(int low, int high)
    {
        var pieces = new List<Piece> { Plain(low, high) };
        for (var c = Math.Max(low, 0); c <= Math.Min(high, 0x5C); c++)
        {
            if (c < 0x20 || c is '"' or '\\')
                pieces.Add(grammar.Text(JsonSerializer.Serialize(((char)c).ToString(), Literal)[1..^1]));
        }

        return grammar.AnyOf(pieces);
    }

    /// <summary>An object of any members.</summary>
    private Piece Object(Piece member) =>
        Grammar.Sequence(grammar.Text("{"), Space, grammar.Optional(Grammar.Sequence(member, grammar.Repeat(Grammar.Sequence(Comma, member), 0, null), Space)), grammar.Text("}"));

    private Piece AnyMember(Piece value) => Grammar.Sequence(String, Colon, value);

    // A range of characters as ranges of bytes: cut where the number of bytes changes, then where the last bytes do not run through their whole range.
    private IEnumerable<Piece> Utf8(int low, int high)
    {
        foreach (var limit in (int[])[0x7F, 0x7FF, 0xFFFF])
        {
            if (low <= limit && high > limit)
                return [.. Utf8(low, limit), .. Utf8(limit + 1, high)];
        }

        var first = Encoding.UTF8.GetBytes(char.ConvertFromUtf32(low));
        var last = Encoding.UTF8.GetBytes(char.ConvertFromUtf32(high));
        for (var i = 1; i < first.Length; i++)
        {
            var rest = (1 << (6 * (first.Length - i))) - 1;
            if ((low & ~rest) == (high & ~rest))
                continue;
            if ((low & rest) != 0)
                return [.. Utf8(low, low | rest), .. Utf8((low | rest) + 1, high)];
            if ((high & rest) != rest)
                return [.. Utf8(low, (high & ~rest) - 1), .. Utf8(high & ~rest, high)];
        }

        return [Grammar.Sequence([.. first.Select((b, i) => grammar.Byte(b, last[i]))])];
    }
}
