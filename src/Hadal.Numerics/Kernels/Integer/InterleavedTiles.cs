using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Products with weight rows that lie eight side by side (<see cref="InterleavedPanel"/>), by the kernels assembled for AVX2: all of a matrix that was interleaved at
/// load, or eight rows at a time that are interleaved on the way. Every output has the bits of <see cref="IntegerDot"/>.
/// </summary>
internal static unsafe class InterleavedTiles
{
    private const int MaxTokens = InterleavedTile.MaxTokens;

    /// <summary>Whether there are kernels for so many tokens and rows that are in a cache.</summary>
    public static bool AreAvailable<TFormat>(int tokens)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        (tokens < MaxTokens || InterleavedKernels.Find<TFormat>(MaxTokens, false) != null) && (tokens % MaxTokens == 0 || InterleavedKernels.Find<TFormat>(tokens % MaxTokens, false) != null);

    /// <summary>Bytes of scratch memory that <see cref="Multiply"/> needs for rows of <paramref name="cols"/> values.</summary>
    public static long ScratchBytes<TFormat>(int cols)
        where TFormat : struct, IIntegerFormat<TFormat> => (long)cols / TFormat.BlockLength * InterleavedPanel.Of<TFormat>().Bytes;

    /// <summary>y[t, m] for rows [start, end).</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="start">First row, a multiple of eight.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">T quantised rows.</param>
    /// <param name="xStride">Bytes from one to the next.</param>
    /// <param name="y">[T, M].</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="scratch">At least <see cref="ScratchBytes"/>, where the matrix has not been interleaved.</param>
    public static void Multiply<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens, byte* scratch)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        if (weight.Interleaved != null)
        {
            var panels = weight.Interleaved + (start / InterleavedPanel.Rows * weight.InterleavedBytes);
            Panels<TFormat>(panels, end - start, weight.InterleavedBytes, weight.Cols, x, xStride, y + start, yStride, tokens, fromMemory: true);
            return;
        }

        for (var m = start; m < end; m += InterleavedPanel.Rows)
        {
            var rows = Math.Min(InterleavedPanel.Rows, end - m);
            InterleavedPanel.Pack<TFormat>(weight.Data + (m * weight.RowBytes), weight.RowBytes, rows, weight.Cols / TFormat.BlockLength, scratch);
            Panels<TFormat>(scratch, rows, 0, weight.Cols, x, xStride, y + m, yStride, tokens, fromMemory: false);
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

    // Whole panels at once; the rows of one that is not full go by way of the stack.
    private static void Panels<TFormat>(byte* panels, int rows, long panelBytes, int cols, byte* x, long xStride, float* y, long yStride, int tokens, bool fromMemory)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var full = rows / InterleavedPanel.Rows;
        var rest = rows % InterleavedPanel.Rows;
        var all = Arguments<TFormat>(full, cols, xStride, yStride);
        var last = Arguments<TFormat>(1, cols, xStride, InterleavedPanel.Rows);
        var results = stackalloc float[MaxTokens * InterleavedPanel.Rows];
        for (var t = 0; t < tokens; t += MaxTokens)
        {
            // The first tile of tokens brings the panels into the cache.
            var count = Math.Min(MaxTokens, tokens - t);
            var kernel = InterleavedKernels.Find<TFormat>(count, fromMemory && t == 0);
            if (full > 0)
                kernel(panels, x + (t * xStride), y + (t * yStride), &all);
            if (rest == 0)
                continue;
            kernel(panels + (full * panelBytes), x + (t * xStride), results, &last);
            for (var i = 0; i < count; i++)
                new Span<float>(results + (i * InterleavedPanel.Rows), rest).CopyTo(new Span<float>(y + ((t + i) * yStride) + (full * InterleavedPanel.Rows), rest));
        }
    }
}
