using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>
/// Where the queries, keys and values of B sequences of S tokens lie: T = B*S rows. A key is [own part of its head | part that all heads share].
/// </summary>
/// <remarks>H query heads, G key heads (H/G query heads share one), W width of a query or key, U of a value.</remarks>
public readonly record struct AttentionLayout
{
    /// <summary>B.</summary>
    public required int Sequences { get; init; }

    /// <summary>S.</summary>
    public required int Length { get; init; }

    /// <summary>H.</summary>
    public required int Heads { get; init; }

    /// <summary>G.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>Width of a key's own part.</summary>
    public required int KeyWidth { get; init; }

    /// <summary>Width of the part that all heads share; 0 where there is none.</summary>
    public required int SharedWidth { get; init; }

    /// <summary>U.</summary>
    public required int ValueWidth { get; init; }

    /// <summary>Columns from one head's own keys to the next.</summary>
    public required int KeyStride { get; init; }

    /// <summary>Columns from one head's values to the next.</summary>
    public required int ValueStride { get; init; }

    /// <summary>What scores are multiplied with.</summary>
    public required float Scale { get; init; }

    /// <summary>What the products read: F32, or BF16, to which queries, keys, values, probabilities and gradients are then rounded.</summary>
    public required WeightFormat Operands { get; init; }

    /// <summary>W.</summary>
    public int QueryWidth => KeyWidth + SharedWidth;
}
