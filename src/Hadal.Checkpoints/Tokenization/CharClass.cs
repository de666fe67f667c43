using System.Globalization;
using System.Runtime.CompilerServices;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>What the pre-tokenizers' regexes ask of a code point. The categories are .NET's (Unicode 16 in .NET 10).</summary>
[Flags]
internal enum CharClass : byte
{
    /// <summary>Control, format, unassigned, private use: no regex class but <c>[^…]</c> matches.</summary>
    None = 0,

    /// <summary><c>\p{L}</c></summary>
    Letter = 1,

    /// <summary><c>\p{M}</c></summary>
    Mark = 2,

    /// <summary><c>\p{N}</c></summary>
    Number = 4,

    /// <summary><c>\p{P}</c></summary>
    Punctuation = 8,

    /// <summary><c>\p{S}</c></summary>
    Symbol = 16,

    /// <summary><c>\s</c>: Unicode's White_Space, which is U+0009-000D, U+0085 and <c>\p{Z}</c>; not U+200B. .NET's and Oniguruma's agree.</summary>
    Space = 32,

    /// <summary><c>[\r\n]</c>; these are <see cref="Space"/> too.</summary>
    NewLine = 64,

    /// <summary>DeepSeek V3's <c>[一-龥぀-ゟ゠-ヿ]</c>: Han of Unicode 1.1 and kana. Set beside the category.</summary>
    HanKana = 128,
}

/// <summary>Classes of code points by table, and the decoding of well-formed UTF-8.</summary>
internal static class CharClasses
{
    private static readonly CharClass[] Plane0 = MakePlane0();

    /// <summary>The class of a code point.</summary>
    public static CharClass Of(int codePoint) => codePoint < 0x10000 ? Plane0[codePoint] : OfCategory(CharUnicodeInfo.GetUnicodeCategory(codePoint));

    /// <summary>Whether a class is one of <paramref name="any"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Has(this CharClass c, CharClass any) => (c & any) != CharClass.None;

    /// <summary>The class of the character at <paramref name="at"/>, and where the next one starts. The text is well-formed UTF-8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CharClass Peek(ReadOnlySpan<byte> text, int at, out int next)
    {
        var b = text[at];
        if (b < 0x80)
        {
            next = at + 1;
            return Plane0[b];
        }

        return Of(Decode(text, at, out next));
    }

    /// <summary>The code point at <paramref name="at"/>, and where the next one starts. The text is well-formed UTF-8.</summary>
    public static int Decode(ReadOnlySpan<byte> text, int at, out int next)
    {
        int b = text[at];
        if (b < 0x80)
        {
            next = at + 1;
            return b;
        }

        if (b < 0xE0)
        {
            next = at + 2;
            return ((b & 0x1F) << 6) | (text[at + 1] & 0x3F);
        }

        if (b < 0xF0)
        {
            next = at + 3;
            return ((b & 0x0F) << 12) | ((text[at + 1] & 0x3F) << 6) | (text[at + 2] & 0x3F);
        }

        next = at + 4;
        return ((b & 0x07) << 18) | ((text[at + 1] & 0x3F) << 12) | ((text[at + 2] & 0x3F) << 6) | (text[at + 3] & 0x3F);
    }

    private static CharClass[] MakePlane0()
    {
        var classes = new CharClass[0x10000];
        for (var c = 0; c < classes.Length; c++)
        {
            var found = OfCategory(CharUnicodeInfo.GetUnicodeCategory((char)c));
            if (char.IsWhiteSpace((char)c))
                found |= CharClass.Space;
            if (c is '\r' or '\n')
                found |= CharClass.NewLine;
            if (c is (>= 0x4E00 and <= 0x9FA5) or (>= 0x3040 and <= 0x30FF))
                found |= CharClass.HanKana;
            classes[c] = found;
        }

        return classes;
    }

    private static CharClass OfCategory(UnicodeCategory category) => category switch
    {
        <= UnicodeCategory.OtherLetter => CharClass.Letter,
        <= UnicodeCategory.EnclosingMark => CharClass.Mark,
        <= UnicodeCategory.OtherNumber => CharClass.Number,
        >= UnicodeCategory.ConnectorPunctuation and <= UnicodeCategory.OtherPunctuation => CharClass.Punctuation,
        >= UnicodeCategory.MathSymbol and <= UnicodeCategory.OtherSymbol => CharClass.Symbol,
        _ => CharClass.None,
    };
}
