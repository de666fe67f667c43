using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Data;

/// <summary>Documents to train on, and how much of the training they make up.</summary>
/// <param name="Documents">The documents.</param>
/// <param name="Weight">Share of tokens relative to the other sources'; null for the source's own size, so that every document comes equally often.</param>
public sealed record CorpusSource(IDocuments Documents, double? Weight = null);

/// <summary>How documents become training text.</summary>
public sealed record CorpusOptions
{
    /// <summary>Decides order, gaps and splits.</summary>
    public required long Seed { get; init; }

    /// <summary>Share of documents turned into fill-in-the-middle form; 0.1 in DeepSeek-V3.</summary>
    public double FimRate { get; init; }

    /// <summary>Share of joined punctuation tokens that is split.</summary>
    public double PunctuationSplitRate { get; init; }

    /// <summary>Whether documents come in a new random order in each epoch; in their own order otherwise.</summary>
    public bool Shuffle { get; init; } = true;
}

/// <summary>Where a stream of documents is.</summary>
/// <param name="Documents">Documents taken from each source.</param>
/// <param name="Tokens">Tokens in them, as stored.</param>
public sealed record CorpusPosition(IReadOnlyList<long> Documents, IReadOnlyList<long> Tokens);

/// <summary>
/// An endless stream of documents out of one or more sources: each source in a random order that is new in every epoch, the sources mixed so that their tokens
/// keep to their weights, some documents turned around or split, begin and end tokens around each. What comes depends on seed and position alone.
/// </summary>
public sealed class CorpusStream
{
    // What a random number is for.
    private const long ForOrder = 1, ForText = 2;

    private readonly IReadOnlyList<CorpusSource> sources;
    private readonly double[] weights;
    private readonly CorpusOptions options;
    private readonly FillInTheMiddle? fim;
    private readonly PunctuationSplits? splits;
    private readonly int? bos;
    private readonly int eos;
    private readonly long[] documents;
    private readonly long[] tokens;

    /// <summary>A stream at its beginning.</summary>
    /// <exception cref="InvalidDataException">The tokenizer lacks a token that is needed.</exception>
    public CorpusStream(IReadOnlyList<CorpusSource> sources, Tokenizer tokenizer, CorpusOptions options)
    {
        ArgumentNullException.ThrowIfNull(sources);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(options);
        if (sources.Count == 0 || sources.Any(s => s.Documents.Count == 0))
            throw new ArgumentException("every source needs a document", nameof(sources));
        this.sources = sources;
        this.options = options;
        weights = [.. sources.Select(s => s.Weight ?? Math.Max(1, s.Documents.Tokens))];
        fim = options.FimRate > 0 ? new(tokenizer) : null;
        splits = options.PunctuationSplitRate > 0 ? new(tokenizer) : null;
        bos = tokenizer.AddBos ? tokenizer.BosId : null;
        eos = tokenizer.EosId ?? throw new InvalidDataException("tokenizer: expected a token that ends a text, found none");
        documents = new long[sources.Count];
        tokens = new long[sources.Count];
    }

    /// <summary>Where the stream is; setting it goes there.</summary>
    /// <exception cref="ArgumentException">It is of a stream with another number of sources.</exception>
    public CorpusPosition Position
    {
        get => new([.. documents], [.. tokens]);
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            if (value.Documents.Count != documents.Length || value.Tokens.Count != documents.Length)
                throw new ArgumentException($"expected a position in {documents.Length} sources, found one in {value.Documents.Count}", nameof(value));
            for (var s = 0; s < documents.Length; s++)
                (documents[s], tokens[s]) = (value.Documents[s], value.Tokens[s]);
        }
    }

    /// <summary>How often the source that is furthest has been gone through.</summary>
    public double Epochs => sources.Select((s, i) => (double)documents[i] / s.Documents.Count).Max();

    /// <summary>Appends the next document, begin and end tokens included.</summary>
    public void Next(List<int> text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var source = 0;
        for (var s = 1; s < weights.Length; s++)
        {
            if (tokens[s] / weights[s] < tokens[source] / weights[source])
                source = s;
        }

        var from = sources[source].Documents;
        var (epoch, place) = Math.DivRem(documents[source], from.Count);
        var index = options.Shuffle ? new RandomOrder(from.Count, options.Seed, ForOrder, source, epoch)[place] : place;
        var document = new List<int>();
        var length = from.Append(index, document);
        documents[source]++;

        // An empty document still moves the mixture on.
        tokens[source] += Math.Max(1, length);
        var draws = new Draws(options.Seed, ForText, source, epoch, index);
        if (fim is not null && draws.NextDouble() < options.FimRate)
            fim.Apply(document, ref draws);
        splits?.Apply(document, options.PunctuationSplitRate, ref draws);
        if (bos is { } begin)
            text.Add(begin);
        text.AddRange(document);
        text.Add(eos);
    }
}
