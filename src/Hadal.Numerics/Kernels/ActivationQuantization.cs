using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Online quantisation of activations to E4M3 in tiles of 1x128: amax = max(|tile|, 1e-4), s = amax / 448, q = e4m3(x / s), a true division: a
/// reciprocal rounds differently. A last tile may be shorter than 128.
/// </summary>
/// <remarks>
/// Source: <c>act_quant</c> of deepseek-ai/DeepSeek-V3 inference/kernel.py; DeepSeek-V3 report section 3.3.2. NaN and infinities play no part in the
/// scale; a NaN becomes the NaN code, an infinity ±448.
/// </remarks>
public static class ActivationQuantization
{
    private const float SmallestAmax = 1e-4f;

    /// <summary>Tiles of a row of <paramref name="cols"/> values.</summary>
    public static int ScaleCount(int cols) => Fp8Blocks.Count(cols);

    /// <summary>Quantises rows to codes.</summary>
    /// <param name="x">[T, K].</param>
    /// <param name="cols">K.</param>
    /// <param name="codes">[T, K].</param>
    /// <param name="scales">[T, ceil(K/128)].</param>
    /// <param name="kind">Kind of scales.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Quantize(ReadOnlySpan<float> x, int cols, Span<byte> codes, Span<float> scales, ScaleKind kind)
    {
        Check(x.Length, cols, codes.Length, scales.Length);
        var next = 0;
        for (var row = 0; row < x.Length; row += cols)
        {
            for (var start = 0; start < cols; start += WeightMatrix.ScaleBlock)
            {
                var length = Math.Min(WeightMatrix.ScaleBlock, cols - start);
                var tile = x.Slice(row + start, length);
                var scale = Scale(tile, kind);
                scales[next++] = scale;
                F8_E4M3.EncodeQuotients(tile, scale, codes.Slice(row + start, length));
            }
        }
    }

    /// <summary>Quantises rows; the codes come as the float32 values they stand for, without their scale.</summary>
    /// <param name="x">[T, K].</param>
    /// <param name="cols">K.</param>
    /// <param name="codes">[T, K]; may be the memory of <paramref name="x"/>.</param>
    /// <param name="scales">[T, ceil(K/128)].</param>
    /// <param name="kind">Kind of scales.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Quantize(ReadOnlySpan<float> x, int cols, Span<float> codes, Span<float> scales, ScaleKind kind)
    {
        Check(x.Length, cols, codes.Length, scales.Length);
        var tiles = ScaleCount(cols);
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
            var scale = Scale(tile, kind);
            scales[b] = scale;
            F8_E4M3.RoundQuotients(tile, scale, codes.Slice(start, tile.Length));
        }
    }

    private static float Scale(ReadOnlySpan<float> tile, ScaleKind kind) => Fp8Scale.Of(Math.Max(Fp8Scale.MaxMagnitude(tile), SmallestAmax), kind);

    private static void Check(int length, int cols, int codes, int scales)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(cols);
        if (length % cols != 0 || codes != length || scales != (long)(length / cols) * ScaleCount(cols))
            throw new ArgumentException($"x of {length} values in rows of {cols} needs as many codes and {ScaleCount(cols)} scales a row, but there are {codes} and {scales}");
    }
}
