using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Products with weight rows that lie eight side by side (<see cref="InterleavedPanel"/>), by the kernels assembled for AVX2. Every output has the bits of
/// <see cref="IntegerDot"/>.
/// </summary>
internal static unsafe class InterleavedTiles
{
    /// <summary>Chains of one token and eight rows.</summary>
    public const int ChainsEach = Chains * InterleavedPanel.Rows;

    private const int Chains = 4;
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
        var panel = new InterleavedPanel(TFormat.Panel);
        var blocks = weight.Cols / TFormat.BlockLength;
        var arguments = Arguments(panel, weight.Cols, xStride, blocks);
        var chains = stackalloc float[MaxTokens * ChainsEach];
        for (var m = start; m < end; m += InterleavedPanel.Rows)
        {
            for (var t = 0; t < tokens; t += MaxTokens)
            {
                // The first tile of tokens brings the panel into the cache.
                var count = Math.Min(MaxTokens, tokens - t);
                new Span<float>(chains, count * ChainsEach).Clear();
                InterleavedKernels.Find<TFormat>(count, fromMemory: t == 0)(weight.Interleaved + (m / InterleavedPanel.Rows * weight.InterleavedBytes), x + (t * xStride), chains, &arguments);
                Store(chains, count, y + (t * yStride) + m, yStride, Math.Min(InterleavedPanel.Rows, end - m));
            }
        }
    }

    /// <summary>What a kernel is called with for whole rows.</summary>
    /// <param name="panel">Layout of the format.</param>
    /// <param name="cols">K.</param>
    /// <param name="xStride">Bytes from one token to the next.</param>
    /// <param name="blocks">Blocks of a row.</param>
    public static InterleavedArguments Arguments(InterleavedPanel panel, int cols, long xStride, int blocks)
    {
        var row = new IntegerRow(null, cols);
        return new InterleavedArguments { Blocks = blocks, TokenStride = xStride, Sums = (long)(panel.SumLength == 16 ? row.Sums16 : row.Sums32), Scales = (long)row.Scales };
    }

    /// <summary>(c0 + c2) + (c1 + c3) of one token and row of a tile.</summary>
    public static float Sum(float* chains, int tokens, int token, int row)
    {
        chains += (token * InterleavedPanel.Rows) + row;
        var plane = tokens * InterleavedPanel.Rows;
        return (chains[0] + chains[2 * plane]) + (chains[plane] + chains[3 * plane]);
    }

    // The same for all rows of a tile, [4][T][8] to T rows of y.
    private static void Store(float* chains, int tokens, float* y, long yStride, int rows)
    {
        var plane = tokens * InterleavedPanel.Rows;
        for (var t = 0; t < tokens; t++, chains += InterleavedPanel.Rows, y += yStride)
        {
            var sums = (Vector256.Load(chains) + Vector256.Load(chains + (2 * plane))) + (Vector256.Load(chains + plane) + Vector256.Load(chains + (3 * plane)));
            if (rows == InterleavedPanel.Rows)
            {
                sums.Store(y);
                continue;
            }

            for (var r = 0; r < rows; r++)
                y[r] = sums[r];
        }
    }
}
