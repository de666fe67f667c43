using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Products with weight rows that lie eight side by side (<see cref="InterleavedPanel"/>), by the kernels assembled for AVX2. Every output has the bits of
/// <see cref="IntegerDot"/>.
/// </summary>
internal static unsafe class InterleavedTiles
{
    private const int MaxTokens = InterleavedTile.MaxTokens;

    /// <summary>y[t, m] for rows [start, end) of a matrix that has been interleaved.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="start">First row, a multiple of eight.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">T quantised rows.</param>
    /// <param name="xStride">Bytes from one to the next.</param>
    /// <param name="y">[T, M].</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <param name="tokens">T.</param>
    public static void Multiply<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var full = (end - start) / InterleavedPanel.Rows * InterleavedPanel.Rows;
        if (full > 0)
            Panels<TFormat>(weight, start, full / InterleavedPanel.Rows, x, xStride, y + start, yStride, tokens);
        var rest = end - start - full;
        if (rest == 0)
            return;
        var results = stackalloc float[MaxTokens * InterleavedPanel.Rows];
        for (var t = 0; t < tokens; t += MaxTokens)
        {
            var count = Math.Min(MaxTokens, tokens - t);
            Panels<TFormat>(weight, start + full, 1, x + (t * xStride), xStride, results, InterleavedPanel.Rows, count);
            for (var i = 0; i < count; i++)
                new Span<float>(results + (i * InterleavedPanel.Rows), rest).CopyTo(new Span<float>(y + ((t + i) * yStride) + start + full, rest));
        }
    }

    /// <summary>What a kernel is called with.</summary>
    /// <param name="panels">Panels, one after the other.</param>
    /// <param name="cols">K.</param>
    /// <param name="xStride">Bytes from one token's activations to the next.</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    public static InterleavedArguments Arguments<TFormat>(int panels, int cols, long xStride, long yStride)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var row = new IntegerRow(null, cols);
        return new InterleavedArguments
        {
            Panels = panels,
            Blocks = cols / TFormat.BlockLength,
            ResultStride = yStride * sizeof(float),
            TokenStride = xStride,
            Sums = (long)(TFormat.Panel.SumLength == 16 ? row.Sums16 : row.Sums32),
            Scales = (long)row.Scales,
        };
    }

    // The first tile of tokens brings the panels into the cache.
    private static void Panels<TFormat>(WeightMatrix weight, int firstRow, int panels, byte* x, long xStride, float* y, long yStride, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var arguments = Arguments<TFormat>(panels, weight.Cols, xStride, yStride);
        var rows = weight.Interleaved + (firstRow / InterleavedPanel.Rows * weight.InterleavedBytes);
        for (var t = 0; t < tokens; t += MaxTokens)
            InterleavedKernels.Find<TFormat>(Math.Min(MaxTokens, tokens - t), fromMemory: t == 0)(rows, x + (t * xStride), y + (t * yStride), &arguments);
    }
}
