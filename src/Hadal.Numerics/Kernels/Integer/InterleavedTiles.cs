using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Products with weight rows that lie side by side (<see cref="InterleavedPanel"/>), by assembled kernels: all of a matrix that was interleaved at
/// load, or a panel at a time that is interleaved on the way. Every output has the bits of <see cref="IntegerDot"/>.
/// </summary>
internal static unsafe class InterleavedTiles
{
    private static readonly int MaxTokens = InterleavedKernels.MaxTokens;

    // From so many tokens on, unpacking codes once is faster than for each tile of tokens; docs/PERFORMANCE.md.
    private static readonly int ExpandedThreshold = 2 * MaxTokens;

    // How far ahead of a stream of panels its next bytes are asked for.
    private static readonly long PanelAhead = KernelVariant.Vnni && StreamHints.EveryLine ? 6144 : 4096;

    // What several tiles of tokens pass stays in the second-level cache meanwhile: panels as they lie, and those that are expanded beside what they are made of.
    private const int PieceBytes = 256 << 10;
    private const int ExpandedBytes = 64 << 10;

    /// <summary>Whether there are kernels for so many tokens times rows interleaved on the way.</summary>
    public static bool AreAvailable<TFormat>(int tokens)
        where TFormat : struct, IIntegerFormat<TFormat> => AreAvailable<TFormat>(tokens, PanelSource.Rows);

    /// <summary>Bytes of scratch memory that <see cref="Multiply"/> needs.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="tokens">T.</param>
    public static long ScratchBytes<TFormat>(WeightMatrix weight, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var blocks = weight.Cols / TFormat.BlockLength;
        return (weight.Interleaved == null ? PackedBytes<TFormat>(blocks) : 0) + (Expands<TFormat>(tokens) ? PanelsAtOnce<TFormat>(blocks) * (long)blocks * InterleavedPanel.Of<TFormat>().Expanded.Bytes : 0);
    }

    /// <summary>y[t, m] for rows [start, end).</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="start">First row, a multiple of <see cref="InterleavedPanel.Rows"/>.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">T quantised rows.</param>
    /// <param name="xStride">Bytes from one to the next.</param>
    /// <param name="y">[T, M].</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="scratch">At least <see cref="ScratchBytes"/>.</param>
    public static void Multiply<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens, byte* scratch)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        if (Expands<TFormat>(tokens))
        {
            Expanded<TFormat>(weight, start, end, x, xStride, y, yStride, tokens, scratch);
            return;
        }

        if (weight.Interleaved != null)
        {
            var piece = tokens <= MaxTokens ? end - start : (int)Math.Max(1, PieceBytes / weight.InterleavedBytes) * InterleavedPanel.Rows;
            for (var m = start; m < end; m += piece)
                Panels<TFormat>(Interleaved(weight, m), Math.Min(piece, end - m), weight.InterleavedBytes, weight.Cols, x, xStride, y + m, yStride, tokens, PanelSource.Copy, PanelAhead);
            return;
        }

        for (var m = start; m < end; m += InterleavedPanel.Rows)
        {
            Pack<TFormat>(weight, m, end, scratch);
            Panels<TFormat>(scratch, Math.Min(InterleavedPanel.Rows, end - m), 0, weight.Cols, x, xStride, y + m, yStride, tokens, PanelSource.Rows, RowsAhead(weight, m, scratch));
        }
    }

    /// <summary>What a kernel is called with.</summary>
    /// <param name="panels">Panels, one after the other.</param>
    /// <param name="cols">K.</param>
    /// <param name="xStride">Bytes from one token's activations to the next.</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <param name="ahead">Bytes from a panel to what is asked for while it is read; null for a stream of panels.</param>
    public static InterleavedArguments Arguments<TFormat>(int panels, int cols, long xStride, long yStride, long? ahead = null)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        Arguments(TFormat.BlockLength, TFormat.Panel.SumLength, cols, xStride) with { Panels = panels, ResultStride = yStride * sizeof(float), Ahead = ahead ?? PanelAhead };

    /// <summary>The same for a stream of panels, without their number and where results go.</summary>
    /// <param name="blockLength">Weights of a block.</param>
    /// <param name="sumLength">Activations of a sum that the format uses.</param>
    /// <param name="cols">K.</param>
    /// <param name="xStride">Bytes from one token's activations to the next.</param>
    public static InterleavedArguments Arguments(int blockLength, int sumLength, int cols, long xStride)
    {
        var row = new IntegerRow(null, cols);
        return new InterleavedArguments
        {
            Blocks = cols / blockLength,
            TokenStride = xStride,
            Sums = (long)(sumLength == 16 ? row.Sums16 : row.Sums32),
            Scales = (long)row.Scales,
            Ahead = PanelAhead,
        };
    }

    private static void Expanded<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens, byte* scratch)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var blocks = weight.Cols / TFormat.BlockLength;
        var panelBytes = (long)blocks * InterleavedPanel.Of<TFormat>().Expanded.Bytes;
        var expanded = weight.Interleaved == null ? scratch + PackedBytes<TFormat>(blocks) : scratch;
        var expand = InterleavedKernels.FindExpansion<TFormat>(weight.Interleaved != null);
        var arguments = Arguments<TFormat>(1, weight.Cols, xStride, yStride);
        var rowsAtOnce = PanelsAtOnce<TFormat>(blocks) * InterleavedPanel.Rows;
        for (var m = start; m < end; m += rowsAtOnce)
        {
            var stop = Math.Min(end, m + rowsAtOnce);
            var target = expanded;
            for (var row = m; row < stop; row += InterleavedPanel.Rows, target += panelBytes)
            {
                if (weight.Interleaved == null)
                {
                    Pack<TFormat>(weight, row, end, scratch);
                    arguments.Ahead = RowsAhead(weight, row, scratch);
                }

                expand(weight.Interleaved == null ? scratch : Interleaved(weight, row), target, null, &arguments);
            }

            Panels<TFormat>(expanded, stop - m, panelBytes, weight.Cols, x, xStride, y + m, yStride, tokens, PanelSource.Expanded, PanelAhead);
        }
    }

    private static byte* Interleaved(WeightMatrix weight, int row) => weight.Interleaved + (row / InterleavedPanel.Rows * weight.InterleavedBytes);

    private static void Pack<TFormat>(WeightMatrix weight, int row, int end, byte* target)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        InterleavedPanel.Pack<TFormat>(weight.Data + (row * weight.RowBytes), weight.RowBytes, Math.Min(InterleavedPanel.Rows, end - row), weight.Cols / TFormat.BlockLength, target);

    // From a panel to the rows behind those that it was made of.
    private static long RowsAhead(WeightMatrix weight, int row, byte* panel) => weight.Data + ((row + InterleavedPanel.Rows) * weight.RowBytes) - panel;

    // Whole panels at once; the rows of one that is not full go by way of the stack.
    private static void Panels<TFormat>(byte* panels, int rows, long panelBytes, int cols, byte* x, long xStride, float* y, long yStride, int tokens, PanelSource source, long ahead)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var full = rows / InterleavedPanel.Rows;
        var rest = rows % InterleavedPanel.Rows;
        var all = Arguments<TFormat>(full, cols, xStride, yStride, ahead);
        var last = Arguments<TFormat>(1, cols, xStride, InterleavedPanel.Rows, ahead);
        var results = stackalloc float[MaxTokens * InterleavedPanel.Rows];
        for (int t = 0, count; t < tokens; t += count)
        {
            count = TileTokens(tokens - t);
            var kernel = InterleavedKernels.Find<TFormat>(count, t == 0 ? source : After(source));
            if (full > 0)
                kernel(panels, x + (t * xStride), y + (t * yStride), &all);
            if (rest == 0)
                continue;
            kernel(panels + (full * panelBytes), x + (t * xStride), results, &last);
            for (var i = 0; i < count; i++)
                new Span<float>(results + (i * InterleavedPanel.Rows), rest).CopyTo(new Span<float>(y + ((t + i) * yStride) + (full * InterleavedPanel.Rows), rest));
        }
    }

    // Tiles as equal as can be: one of few tokens shares little of the unpacking.
    private static int TileTokens(int tokens)
    {
        var tiles = (tokens + MaxTokens - 1) / MaxTokens;
        return (tokens + tiles - 1) / tiles;
    }

    // The first tile of tokens brings the panels into the cache.
    private static PanelSource After(PanelSource first) => first switch
    {
        PanelSource.Rows => PanelSource.CachedRows,
        PanelSource.Copy => PanelSource.CachedCopy,
        _ => first,
    };

    // Tiles of a product are of one size, or of two: the first is the larger, the last the smaller.
    private static bool AreAvailable<TFormat>(int tokens, PanelSource source)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var first = TileTokens(tokens);
        return InterleavedKernels.Find<TFormat>(first, source) != null
            && (first == tokens || (InterleavedKernels.Find<TFormat>(TileTokens(tokens - first), After(source)) != null
                && InterleavedKernels.Find<TFormat>(tokens / ((tokens + MaxTokens - 1) / MaxTokens), After(source)) != null));
    }

    private static bool Expands<TFormat>(int tokens)
        where TFormat : struct, IIntegerFormat<TFormat> => tokens >= ExpandedThreshold && InterleavedPanel.Of<TFormat>().Expands && AreAvailable<TFormat>(tokens, PanelSource.Expanded);

    private static long PackedBytes<TFormat>(int blocks)
        where TFormat : struct, IIntegerFormat<TFormat> => (long)blocks * InterleavedPanel.Of<TFormat>().Bytes;

    private static int PanelsAtOnce<TFormat>(int blocks)
        where TFormat : struct, IIntegerFormat<TFormat> => (int)Math.Max(1, ExpandedBytes / ((long)blocks * InterleavedPanel.Of<TFormat>().Expanded.Bytes));
}
