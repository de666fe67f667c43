namespace Hadal.Training.Data;

/// <summary>An endless supply of batches that can go on from any position it was at.</summary>
public interface IBatches
{
    /// <summary>Where the next batch begins.</summary>
    BatchPosition Position { get; set; }

    /// <summary>How often the data has been gone through.</summary>
    double Epochs { get; }

    /// <summary>The next batch.</summary>
    /// <param name="sequences">Sequences in it (B).</param>
    PackedBatch Next(int sequences);
}

/// <summary>Fills the arrays of a <see cref="PackedBatch"/>, column by column in each row.</summary>
/// <param name="sequences">B.</param>
/// <param name="length">S.</param>
/// <param name="maskDocuments">Whether documents do not see each other, and positions begin anew in each.</param>
internal sealed class BatchBuilder(int sequences, int length, bool maskDocuments)
{
    /// <summary>No target.</summary>
    public const int NotScored = -1;

    private readonly int[] tokens = new int[sequences * length];
    private readonly int[] targets = new int[sequences * length];
    private readonly int[] positions = new int[sequences * length];
    private readonly int[] starts = new int[sequences * length];
    private readonly int[] ids = new int[sequences * length];

    /// <summary>Sets one place; those before it in its row are set.</summary>
    /// <param name="row">Sequence.</param>
    /// <param name="column">Place in it.</param>
    /// <param name="token">What stands there.</param>
    /// <param name="target">What comes after, or <see cref="NotScored"/>.</param>
    /// <param name="document">The document of the sequence that it belongs to, from 0.</param>
    public void Set(int row, int column, int token, int target, int document)
    {
        var at = (row * length) + column;
        tokens[at] = token;
        targets[at] = target;
        ids[at] = document;
        if (!maskDocuments)
        {
            positions[at] = column;
            return;
        }

        starts[at] = column > 0 && ids[at - 1] == document ? starts[at - 1] : column;
        positions[at] = column - starts[at];
    }

    /// <summary>The batch.</summary>
    public PackedBatch Build() => new()
    {
        Sequences = sequences, SequenceLength = length, Tokens = tokens, Targets = targets, Positions = positions, DocumentStarts = starts, DocumentIds = ids,
    };
}
