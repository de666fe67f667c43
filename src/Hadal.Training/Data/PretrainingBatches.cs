namespace Hadal.Training.Data;

/// <summary>How sequences are cut out of a stream of documents.</summary>
public sealed record PackingOptions
{
    /// <summary>Tokens of a sequence (S).</summary>
    public required int SequenceLength { get; init; }

    /// <summary>
    /// Whether tokens attend to their own document only, with positions that begin anew in each. DeepSeek-V3 does not in pre-training (report section 4.1), and does in
    /// fine-tuning (section 5.1).
    /// </summary>
    public bool MaskDocuments { get; init; }
}

/// <summary>Where the next batch begins: small enough to lie in every checkpoint.</summary>
/// <param name="Corpus">The stream, before the document that the next token is from.</param>
/// <param name="Offset">The next token in it.</param>
public sealed record BatchPosition(CorpusPosition Corpus, int Offset);

/// <summary>
/// Packs documents one after the other into sequences without a gap: each takes up where the one before stopped, in the middle of a document too. The last
/// target of a sequence is the first token of the next.
/// </summary>
public sealed class PretrainingBatches : IBatches
{
    private readonly CorpusStream corpus;
    private readonly PackingOptions options;

    // Documents begun or looked into; the first holds the next token.
    private readonly Queue<(CorpusPosition Before, List<int> Tokens)> pending = new();
    private int offset;

    /// <summary>Batches from the stream's position on. The stream is theirs from now on.</summary>
    public PretrainingBatches(CorpusStream corpus, PackingOptions options)
    {
        ArgumentNullException.ThrowIfNull(corpus);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.SequenceLength);
        this.corpus = corpus;
        this.options = options;
    }

    /// <inheritdoc/>
    public double Epochs => corpus.Epochs;

    /// <inheritdoc/>
    public BatchPosition Position
    {
        get => pending.TryPeek(out var first) ? new(first.Before, offset) : new(corpus.Position, 0);
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            pending.Clear();
            corpus.Position = value.Corpus;
            offset = value.Offset;
            if (offset > 0)
                Pull();
        }
    }

    /// <inheritdoc/>
    public PackedBatch Next(int sequences)
    {
        var batch = new BatchBuilder(sequences, options.SequenceLength, options.MaskDocuments);
        for (var row = 0; row < sequences; row++)
        {
            var document = 0;
            for (var column = 0; column < options.SequenceLength; column++)
            {
                var (token, begins) = Take();
                if (begins && column > 0)
                    document++;

                // What comes after the end of a document is another one's matter, where they do not see each other.
                var next = Peek();
                batch.Set(row, column, token, options.MaskDocuments && offset == 0 ? BatchBuilder.NotScored : next, document);
            }
        }

        return batch.Build();
    }

    private (int Token, bool Begins) Take()
    {
        Peek();
        var token = pending.Peek().Tokens[offset];
        return (token, offset++ == 0);
    }

    private int Peek()
    {
        while (true)
        {
            if (pending.TryPeek(out var first))
            {
                if (offset < first.Tokens.Count)
                    return first.Tokens[offset];
                pending.Dequeue();
                offset = 0;
                continue;
            }

            Pull();
        }
    }

    private void Pull()
    {
        var before = corpus.Position;
        var tokens = new List<int>();
        corpus.Next(tokens);
        pending.Enqueue((before, tokens));
    }
}
