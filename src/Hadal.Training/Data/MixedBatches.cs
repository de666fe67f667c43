namespace Hadal.Training.Data;

/// <summary>
/// Sequences of conversations and of text, mixed: a fixed share of the rows is text, spread evenly, so that fine-tuning does not forget what pre-training taught.
/// What comes depends on the position alone.
/// </summary>
public sealed class MixedBatches : IBatches
{
    private readonly IBatches chats;
    private readonly IBatches text;
    private readonly double textShare;
    private long rows;

    /// <summary>Mixes two supplies; they are this one's from now on.</summary>
    /// <param name="chats">Conversations.</param>
    /// <param name="text">Text, in sequences of the same length.</param>
    /// <param name="textShare">Share of rows that are text, from 0 to 1.</param>
    public MixedBatches(IBatches chats, IBatches text, double textShare)
    {
        ArgumentNullException.ThrowIfNull(chats);
        ArgumentNullException.ThrowIfNull(text);
        if (textShare is not (>= 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(textShare), textShare, "a share from 0 to 1");
        (this.chats, this.text, this.textShare) = (chats, text, textShare);
    }

    /// <inheritdoc/>
    public double Epochs => chats.Epochs;

    /// <inheritdoc/>
    /// <remarks>The rows given out, then the position of the conversations, then that of the text.</remarks>
    public BatchPosition Position
    {
        get
        {
            var (c, t) = (chats.Position, text.Position);
            return new(new([rows, c.Corpus.Documents[0], .. t.Corpus.Documents], [0, c.Corpus.Tokens[0], .. t.Corpus.Tokens]), t.Offset);
        }

        set
        {
            ArgumentNullException.ThrowIfNull(value);
            var (documents, tokens) = (value.Corpus.Documents, value.Corpus.Tokens);
            if (documents.Count < 3 || tokens.Count != documents.Count)
                throw new ArgumentException($"expected a position in conversations and text, found one of {documents.Count} numbers", nameof(value));
            rows = documents[0];
            chats.Position = new(new([documents[1]], [tokens[1]]), 0);
            text.Position = new(new([.. documents.Skip(2)], [.. tokens.Skip(2)]), value.Offset);
        }
    }

    /// <inheritdoc/>
    public PackedBatch Next(int sequences)
    {
        var parts = new List<PackedBatch>();
        for (var row = 0; row < sequences; row++, rows++)
            parts.Add((Math.Floor((rows + 1) * textShare) > Math.Floor(rows * textShare) ? text : chats).Next(1));
        return new()
        {
            Sequences = sequences, SequenceLength = parts[0].SequenceLength, Tokens = Joined(p => p.Tokens), Targets = Joined(p => p.Targets), Positions = Joined(p => p.Positions),
            DocumentStarts = Joined(p => p.DocumentStarts), DocumentIds = Joined(p => p.DocumentIds),
        };

        int[] Joined(Func<PackedBatch, int[]> part) => [.. parts.SelectMany(part)];
    }
}
