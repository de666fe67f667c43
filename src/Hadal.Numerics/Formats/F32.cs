using System.Runtime.InteropServices;

namespace Hadal.Numerics.Formats;

/// <summary>IEEE 754 binary32, little-endian: stored as it is computed with.</summary>
public readonly struct F32 : IWeightFormat<F32>, IWeightEncoder<F32>
{
    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.F32;

    /// <inheritdoc/>
    public static int BlockLength => 1;

    /// <inheritdoc/>
    public static int BlockBytes => 4;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values) => blocks.CopyTo(MemoryMarshal.AsBytes(values));

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values) => DecodeReference(blocks, values);

    /// <inheritdoc/>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks) => MemoryMarshal.AsBytes(values).CopyTo(blocks);
}
