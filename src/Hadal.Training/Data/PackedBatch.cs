namespace Hadal.Training.Data;

/// <summary>
/// B sequences of S tokens, packed: T = B*S rows, sequence 0 first. Targets are shifted here, once: nothing after this moves a token.
/// </summary>
public sealed class PackedBatch
{
    /// <summary>How many sequences (B).</summary>
    public required int Sequences { get; init; }

    /// <summary>Tokens of each (S).</summary>
    public required int SequenceLength { get; init; }

    /// <summary>Token ids [B, S].</summary>
    public required int[] Tokens { get; init; }

    /// <summary>The token after each position [B, S]; −1 where it is not scored.</summary>
    public required int[] Targets { get; init; }

    /// <summary>Rotary positions [B, S].</summary>
    public required int[] Positions { get; init; }

    /// <summary>Index within the sequence of the first token that each position may attend to [B, S]; 0 everywhere where documents are not masked from each other.</summary>
    public required int[] DocumentStarts { get; init; }

    /// <summary>Which document of the sequence a token belongs to [B, S], counted from 0: multi-token prediction never crosses a border.</summary>
    public required int[] DocumentIds { get; init; }
}
