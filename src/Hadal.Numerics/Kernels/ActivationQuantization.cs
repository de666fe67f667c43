using System.Numerics.Tensors;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>Which values an FP8 scale may take.</summary>
public enum ScaleKind
{
    /// <summary>Any float32: amax / 448 (DeepSeek-V3).</summary>
    Float32,

    /// <summary>The next power of two not below it, <c>ue8m0</c> (DeepSeek-V3.1).</summary>
    PowerOfTwo,
}

/// <summary>
/// Online quantisation of activations to E4M3 in tiles of 1x128: amax = max(|tile|, 1e-4), s = amax / 448, q = e4m3(x / s).
/// Source: <c>act_quant</c> of deepseek-ai/DeepSeek-V3 inference/kernel.py; DeepSeek-V3 report section 3.3.2. A last tile may be shorter than 128.
/// </summary>
public static class ActivationQuantization
{
    private const float SmallestAmax = 1e-4f;

    /// <summary>Tiles of a row of <paramref name="cols"/> values.</summary>
    public static int ScaleCount(int cols) => (cols + WeightMatrix.ScaleBlock - 1) / WeightMatrix.ScaleBlock;

    /// <summary>Quantises rows; the codes come as the float32 values they stand for, without their scale.</summary>
    /// <param name="x">[T, K].</param>
    /// <param name="cols">K.</param>
    /// <param name="codes">[T, K].</param>
    /// <param name="scales">[T, ceil(K/128)].</param>
    /// <param name="kind">Kind of scales.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Quantize(ReadOnlySpan<float> x, int cols, Span<float> codes, Span<float> scales, ScaleKind kind)
    {
        var tiles = ScaleCount(cols);
        if (x.Length % cols != 0 || codes.Length != x.Length || scales.Length != x.Length / cols * tiles)
            throw new ArgumentException($"x of {x.Length} values in rows of {cols} needs as many codes and {tiles} scales a row, but there are {codes.Length} and {scales.Length}");
        for (var t = 0; t < x.Length / cols; t++)
            QuantizeRow(x.Slice(t * cols, cols), codes.Slice(t * cols, cols), scales.Slice(t * tiles, tiles), kind);
    }

    /// <summary>Quantises one row.</summary>
    /// <param name="x">[K].</param>
    /// <param name="codes">[K] values of codes.</param>
    /// <param name="scales">[ceil(K/128)].</param>
    /// <param name="kind">Kind of scales.</param>
    internal static void QuantizeRow(ReadOnlySpan<float> x, Span<float> codes, Span<float> scales, ScaleKind kind)
    {
        for (var b = 0; b < scales.Length; b++)
        {
            var start = b * WeightMatrix.ScaleBlock;
            var tile = x[start..Math.Min(start + WeightMatrix.ScaleBlock, x.Length)];
            var target = codes.Slice(start, tile.Length);
            var scale = Scale(tile, kind);
            scales[b] = scale;

            // Divided, not multiplied by a reciprocal: the two round differently.
            TensorPrimitives.Divide(tile, scale, target);
            for (var i = 0; i < target.Length; i++)
                target[i] = F8_E4M3.ToSingle(F8_E4M3.FromSingle(target[i]));
        }
    }

    private static float Scale(ReadOnlySpan<float> tile, ScaleKind kind)
    {
        var scale = Math.Max(Math.Abs(TensorPrimitives.MaxMagnitude(tile)), SmallestAmax) / F8_E4M3.MaxValue;
        if (kind == ScaleKind.Float32)
            return scale;
        var bits = BitConverter.SingleToInt32Bits(scale);
        const int MantissaMask = (1 << 23) - 1;
        return BitConverter.Int32BitsToSingle((bits & MantissaMask) == 0 ? bits : (bits & ~MantissaMask) + MantissaMask + 1);
    }
}
