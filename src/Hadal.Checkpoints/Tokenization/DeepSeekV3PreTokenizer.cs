using static Hadal.Checkpoints.Tokenization.CharClass;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// DeepSeek V3's three regexes (<see cref="PreTokenizerRegexes.DeepSeekV3"/>) in one pass over UTF-8. The first two cut the text into runs:
/// numbers, Han and kana, the rest. The third works inside a run, so that for it the text ends where its run does: that is what makes
/// <c>\s+(?!\S)</c> take every space before a digit but leave one before a word. Its alternatives, in order:
/// <list type="number">
/// <item><c>[!-/:-@\[-`{-~][A-Za-z]+</c>: an ASCII punctuation mark with the ASCII letters after it</item>
/// <item><c>[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+</c>: letters and marks, with one character before them that is a space, control or mark</item>
/// <item><c> ?[\p{P}\p{S}]+[\r\n]*</c>: punctuation with a space before and newlines after</item>
/// <item><c>\s*[\r\n]+</c>: white space up to its last newline</item>
/// <item><c>\s+(?!\S)</c>: white space, less its last character if more follows</item>
/// <item><c>\s+</c></item>
/// </list>
/// Characters that none of them matches (controls not before a letter) stay together in pieces of their own.
/// </summary>
internal sealed class DeepSeekV3PreTokenizer : PreTokenizer
{
    /// <inheritdoc/>
    public override void Split(ReadOnlySpan<byte> text, PieceSink sink)
    {
        for (var start = 0; start < text.Length;)
        {
            var end = PieceEnd(text, start);
            sink.Add(text, start, end);
            start = end;
        }
    }

    /// <summary>Where the piece that starts at <paramref name="at"/> ends. No state but the position is needed: no regex looks behind.</summary>
    private static int PieceEnd(ReadOnlySpan<byte> text, int at)
    {
        var first = CharClasses.Peek(text, at, out var next);
        if (first.Has(HanKana))
            return HanKanaEnd(text, first, next);
        if (first.Has(Letter | Mark))
            return LettersEnd(text, next);
        if (first.Has(Number))
            return NumberEnd(text, next);
        if (first.Has(Punctuation | Symbol))
        {
            return next == at + 1 && next < text.Length && char.IsAsciiLetter((char)text[next])
                ? AsciiLettersEnd(text, next + 1)
                : PunctuationEnd(text, next);
        }

        if (!first.Has(NewLine) && next < text.Length)
        {
            var second = CharClasses.Peek(text, next, out var afterSecond);
            if (IsWord(second))
                return LettersEnd(text, afterSecond);
            if (text[at] == ' ' && second.Has(Punctuation | Symbol) && !second.Has(HanKana))
                return PunctuationEnd(text, afterSecond);
        }

        return first.Has(Space) ? SpaceEnd(text, at) : UnmatchedEnd(text, next);
    }

    /// <summary>A letter or mark of the third kind of run.</summary>
    private static bool IsWord(CharClass c) => c.Has(Letter | Mark) && !c.Has(HanKana);

    private static int AsciiLettersEnd(ReadOnlySpan<byte> text, int at)
    {
        while (at < text.Length && char.IsAsciiLetter((char)text[at]))
            at++;
        return at;
    }

    private static int LettersEnd(ReadOnlySpan<byte> text, int at)
    {
        while (true)
        {
            at = AsciiLettersEnd(text, at);
            if (at >= text.Length || text[at] < 0x80 || !IsWord(CharClasses.Peek(text, at, out var next)))
                return at;
            at = next;
        }
    }

    private static int NumberEnd(ReadOnlySpan<byte> text, int at)
    {
        for (var digits = 1; digits < 3 && at < text.Length && CharClasses.Peek(text, at, out var next).Has(Number); digits++)
            at = next;
        return at;
    }

    private static int PunctuationEnd(ReadOnlySpan<byte> text, int at)
    {
        while (at < text.Length)
        {
            var c = CharClasses.Peek(text, at, out var next);
            if (!c.Has(Punctuation | Symbol) || c.Has(HanKana))
                break;
            at = next;
        }

        while (at < text.Length && text[at] is (byte)'\r' or (byte)'\n')
            at++;
        return at;
    }

    private static int SpaceEnd(ReadOnlySpan<byte> text, int at)
    {
        int start = at, last = at, newLineEnd = -1;
        var following = None;
        while (at < text.Length)
        {
            following = CharClasses.Peek(text, at, out var next);
            if (!following.Has(Space))
                break;
            if (following.Has(NewLine))
                newLineEnd = next;
            last = at;
            at = next;
        }

        if (newLineEnd >= 0)
            return newLineEnd;
        var runEnds = at == text.Length || following.Has(Number | HanKana);
        return runEnds || last == start ? at : last;
    }

    private static int UnmatchedEnd(ReadOnlySpan<byte> text, int at)
    {
        while (at < text.Length && CharClasses.Peek(text, at, out var next) == None)
        {
            if (next < text.Length && IsWord(CharClasses.Peek(text, next, out _)))
                break;
            at = next;
        }

        return at;
    }

    /// <summary>Inside a run of Han and kana: letters and marks, or punctuation (・ ゠ ゛ ゜), or the block's unassigned code points.</summary>
    private static int HanKanaEnd(ReadOnlySpan<byte> text, CharClass first, int at)
    {
        const CharClass Word = Letter | Mark, Sign = Punctuation | Symbol;
        var kind = first.Has(Word) ? Word : first.Has(Sign) ? Sign : None;
        if (kind == None && at < text.Length && IsHanKana(text, at, Word, out var afterPrefix))
            (kind, at) = (Word, afterPrefix);
        while (at < text.Length && IsHanKana(text, at, kind, out var next))
        {
            // An unassigned code point before a letter is the letter's prefix, not a part of this piece.
            if (kind == None && next < text.Length && IsHanKana(text, next, Word, out _))
                break;
            at = next;
        }

        return at;
    }

    private static bool IsHanKana(ReadOnlySpan<byte> text, int at, CharClass kind, out int next)
    {
        var c = CharClasses.Peek(text, at, out next);
        return c.Has(HanKana) && (kind == None ? c == HanKana : c.Has(kind));
    }
}
