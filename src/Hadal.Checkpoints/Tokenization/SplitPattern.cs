namespace Hadal.Checkpoints.Tokenization;

/// <summary>One regex of a pre-tokenizer sequence, which isolates its matches. Immutable.</summary>
internal abstract class SplitPattern
{
    /// <summary>
    /// Adds to <paramref name="ends"/> where the pieces of <paramref name="text"/> end, plus <paramref name="offset"/>: every match is a piece,
    /// and so is what lies before one; the end of the text itself need not be added.
    /// </summary>
    public abstract void Cut(ReadOnlySpan<byte> text, int offset, List<int> ends);

    /// <summary>The hand-written matcher of a simple regex, or <see cref="RegexPattern"/>.</summary>
    /// <exception cref="NotSupportedException">The regex cannot be given its meaning here.</exception>
    public static SplitPattern Create(string regex) =>
        regex == TrailingSpacePattern.Regex ? new TrailingSpacePattern()
        : RunPattern.TryCreate(regex) is { } run ? run
        : new RegexPattern(regex);

    /// <summary>Records one match.</summary>
    private protected static void AddMatch(int start, int end, ref int previous, int offset, List<int> ends)
    {
        if (start > previous)
            ends.Add(offset + start);
        if (end > start)
            ends.Add(offset + end);
        previous = end;
    }
}

/// <summary>
/// <c>\s+$</c>, where <c>$</c> is the end of any line, as in Oniguruma's Ruby syntax, which Hugging Face's tokenizers use.
/// </summary>
internal sealed class TrailingSpacePattern : SplitPattern
{
    /// <summary>The regex.</summary>
    public const string Regex = @"\s+$";

    /// <inheritdoc/>
    public override void Cut(ReadOnlySpan<byte> text, int offset, List<int> ends)
    {
        var previous = 0;
        for (var at = 0; at < text.Length;)
        {
            if (!CharClasses.Peek(text, at, out var next).Has(CharClass.Space))
            {
                at = next;
                continue;
            }

            // A run of white space: all of it at the end of the text, else up to its last line feed.
            var start = at;
            var lineEnd = -1;
            while (at < text.Length && CharClasses.Peek(text, at, out next).Has(CharClass.Space))
            {
                if (text[at] == '\n' && at > start)
                    lineEnd = at;
                at = next;
            }

            if (at == text.Length)
                AddMatch(start, at, ref previous, offset, ends);
            else if (lineEnd >= 0)
                AddMatch(start, lineEnd, ref previous, offset, ends);
        }
    }
}

/// <summary>
/// A run of characters of one set, optionally with one white-space character before it: <c>X</c>, <c>X+</c>, <c>X{1,n}</c>, <c>\s?X+</c>,
/// where X is <c>\p{…}</c> or a bracketed set.
/// </summary>
internal sealed class RunPattern : SplitPattern
{
    private readonly CodePointSet set;
    private readonly bool spaceBefore;
    private readonly int longest;

    private RunPattern(CodePointSet set, bool spaceBefore, int longest) => (this.set, this.spaceBefore, this.longest) = (set, spaceBefore, longest);

    /// <summary>The matcher of <paramref name="regex"/>, or null where it has another form.</summary>
    public static RunPattern? TryCreate(string regex)
    {
        const string SpaceBefore = @"\s?";
        var withSpace = regex.StartsWith(SpaceBefore, StringComparison.Ordinal);
        var at = withSpace ? SpaceBefore.Length : 0;
        if (CodePointSet.TryParse(regex, ref at) is not { } set)
            return null;
        var most = regex[at..] switch
        {
            "" => 1,
            "+" => int.MaxValue,
            ['{', '1', ',', var digit and >= '1' and <= '9', '}'] => digit - '0',
            _ => 0,
        };
        return most == 0 ? null : new(set, withSpace, most);
    }

    /// <inheritdoc/>
    public override void Cut(ReadOnlySpan<byte> text, int offset, List<int> ends)
    {
        var previous = 0;
        for (var at = 0; at < text.Length;)
        {
            var c = CharClasses.Decode(text, at, out var next);
            int end;
            if (spaceBefore && CharClasses.Of(c).Has(CharClass.Space) && next < text.Length && set.Contains(CharClasses.Decode(text, next, out var afterNext)))
                end = RunEnd(text, afterNext);
            else if (set.Contains(c))
                end = RunEnd(text, next);
            else
            {
                at = next;
                continue;
            }

            AddMatch(at, end, ref previous, offset, ends);
            at = end;
        }
    }

    private int RunEnd(ReadOnlySpan<byte> text, int at)
    {
        for (var count = 1; count < longest && at < text.Length && set.Contains(CharClasses.Decode(text, at, out var next)); count++)
            at = next;
        return at;
    }
}
