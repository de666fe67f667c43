using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace Hadal.Numerics.Formats;

/// <summary>IEEE 754 binary16. Decoding is exact; encoding rounds to nearest even.</summary>
public readonly struct F16 : IWeightFormat<F16>, IWeightEncoder<F16>
{
    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.F16;

    /// <inheritdoc/>
    public static int BlockLength => 1;

    /// <inheritdoc/>
    public static int BlockBytes => 2;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        var codes = MemoryMarshal.Cast<byte, Half>(blocks);
        for (var i = 0; i < codes.Length; i++)
            values[i] = (float)codes[i];
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values) =>
        TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(blocks), values);

    /// <inheritdoc/>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks) =>
        TensorPrimitives.ConvertToHalf(values, MemoryMarshal.Cast<byte, Half>(blocks));
}
