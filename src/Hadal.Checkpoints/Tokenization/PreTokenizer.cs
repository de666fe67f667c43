namespace Hadal.Checkpoints.Tokenization;

/// <summary>Takes the pieces of a text as a <see cref="PreTokenizer"/> finds them, and lends it scratch space.</summary>
internal abstract class PieceSink
{
    /// <summary>Scratch of <see cref="StagedPreTokenizer"/>: piece ends before and after a stage.</summary>
    public List<int> Ends { get; } = [];

    /// <inheritdoc cref="Ends"/>
    public List<int> NextEnds { get; } = [];

    /// <summary>One piece, <c>text[start..end]</c>, never empty; pieces come in order and together are the text.</summary>
    public abstract void Add(ReadOnlySpan<byte> text, int start, int end);
}

/// <summary>
/// Cuts text into the pieces that byte-pair merging never crosses, as the <c>pre_tokenizer</c> sequences of Hugging Face's tokenizer.json do.
/// Immutable, safe for use from several threads.
/// </summary>
internal abstract class PreTokenizer
{
    /// <summary>Hands every piece of <paramref name="text"/>, well-formed UTF-8, to <paramref name="sink"/>.</summary>
    public abstract void Split(ReadOnlySpan<byte> text, PieceSink sink);

    /// <summary>
    /// The pre-tokenizer of a sequence of regexes, each of which isolates its matches inside the pieces that the ones before it left.
    /// DeepSeek V3's sequence is recognised as a whole; of others, simple regexes are matched by hand-written code and the rest by
    /// <see cref="System.Text.RegularExpressions"/>. All ways give the same pieces.
    /// </summary>
    /// <exception cref="NotSupportedException">A regex cannot be given its meaning here; the message says why.</exception>
    public static PreTokenizer Create(IReadOnlyList<string> regexes) =>
        regexes.SequenceEqual(PreTokenizerRegexes.DeepSeekV3) ? new DeepSeekV3PreTokenizer() : new StagedPreTokenizer([.. regexes.Select(SplitPattern.Create)]);

    /// <summary>As <see cref="Create"/>, all by regular expressions: slow, for tests of the fast ways.</summary>
    internal static PreTokenizer CreateByRegex(IReadOnlyList<string> regexes) => new StagedPreTokenizer([.. regexes.Select(r => new RegexPattern(r))]);
}

/// <summary>A sequence of <see cref="SplitPattern"/>s, applied one after the other.</summary>
internal sealed class StagedPreTokenizer(SplitPattern[] stages) : PreTokenizer
{
    /// <inheritdoc/>
    public override void Split(ReadOnlySpan<byte> text, PieceSink sink)
    {
        if (text.IsEmpty)
            return;
        var (ends, nextEnds) = (sink.Ends, sink.NextEnds);
        ends.Clear();
        ends.Add(text.Length);
        foreach (var stage in stages)
        {
            nextEnds.Clear();
            var start = 0;
            foreach (var end in ends)
            {
                stage.Cut(text[start..end], start, nextEnds);
                // What follows the last match is a piece too.
                if (nextEnds.Count == 0 || nextEnds[^1] != end)
                    nextEnds.Add(end);
                start = end;
            }

            (ends, nextEnds) = (nextEnds, ends);
        }

        var from = 0;
        foreach (var end in ends)
        {
            sink.Add(text, from, end);
            from = end;
        }
    }
}
