using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Many tokens at once: 32 weight rows are unpacked into a panel that stays in the cache and multiplied with tiles of up to six tokens by kernels
/// assembled for AVX512-VNNI. Every output has the bits of <see cref="IntegerDot"/>.
/// </summary>
internal static unsafe class IntegerTiles
{
    private const int Rows = IntegerPanel.Rows;
    private const int HalfRows = Rows / 2;
    private const int Chains = 4;
    private const int PackScratch = 1024;

    // A panel of so many columns fits the first cache beside a tile of tokens.
    private const int PanelColumns = 1024;

    /// <summary>Whether this processor has kernels for a format.</summary>
    public static bool AreAvailable(WeightFormat format, IntegerPanel panel)
    {
        var packer = new PackerAction();
        return TileKernels.Find(panel, IntegerPanel.MaxTokens) != null && WeightFormats.TryDispatchInteger(format, ref packer) && packer.Found;
    }

    /// <summary>Bytes of all packed tiles of a batch.</summary>
    public static long PackedBytes(IntegerPanel panel, int blocks, int tokens)
    {
        var full = tokens / IntegerPanel.MaxTokens;
        var rest = tokens % IntegerPanel.MaxTokens;
        return blocks * (((long)full * panel.TokenBytes(IntegerPanel.MaxTokens)) + (rest > 0 ? panel.TokenBytes(rest) : 0));
    }

    /// <summary>Lays out one tile of quantised tokens block by block.</summary>
    /// <param name="panel">Layout of the format.</param>
    /// <param name="rows">Quantised rows.</param>
    /// <param name="rowStride">Bytes from one to the next.</param>
    /// <param name="list">Which row each token has; null when they follow one another.</param>
    /// <param name="cols">K.</param>
    /// <param name="first">First token of the tile.</param>
    /// <param name="tokens">Tokens of the batch.</param>
    /// <param name="packed">All tiles of the batch.</param>
    public static void PackTokens(IntegerPanel panel, byte* rows, int rowStride, int* list, int cols, int first, int tokens, byte* packed)
    {
        var blocks = cols / panel.BlockLength;
        var count = Math.Min(IntegerPanel.MaxTokens, tokens - first);
        var blockBytes = panel.TokenBytes(count);
        var target = packed + ((long)first / IntegerPanel.MaxTokens * blocks * panel.TokenBytes(IntegerPanel.MaxTokens));
        for (var t = 0; t < count; t++)
        {
            var x = new IntegerRow(rows + ((long)(list == null ? first + t : list[first + t]) * rowStride), cols);
            for (var b = 0; b < blocks; b++)
            {
                var to = target + ((long)b * blockBytes);
                var codes = (int*)(x.Codes + (b * panel.BlockLength));
                for (var k = 0; k < panel.BlockLength / 4; k++)
                    ((int*)to)[(k * count) + t] = codes[k];
                var sums = panel.SumLength == 16 ? x.Sums16 + (b * panel.Sums) : x.Sums32 + (b * panel.Sums);
                for (var s = 0; panel.ZeroPoint != 0 && s < panel.Sums; s++)
                    ((int*)(to + panel.TokenStarts(count)))[(s * count) + t] = -panel.ZeroPoint * sums[s];
                if (panel.HasMinimum && panel.Scales == 0)
                    ((int*)(to + panel.TokenSums(count)))[t] = sums[0];
                for (var pair = 0; panel.HasMinimum && pair < panel.Scales / 2; pair++)
                    ((int*)(to + panel.TokenSums(count)))[(pair * count) + t] = (ushort)sums[2 * pair] | (sums[(2 * pair) + 1] << 16);
                ((float*)(to + panel.TokenScales(count)))[t] = x.Scales[b];
            }
        }
    }

    /// <summary>y[t, m] for rows [start, end) and all tokens of a batch, on one worker.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="start">First row.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="packed">What <see cref="PackTokens"/> made.</param>
    /// <param name="y">[T, M].</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    public static void Multiply<TFormat>(WeightMatrix weight, int start, int end, byte* packed, float* y, int tokens, KernelThreads threads, int worker)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var panel = TFormat.Panel;
        var blocks = weight.Cols / panel.BlockLength;
        var panelBlocks = PanelColumns / panel.BlockLength;
        var panelBytes = (long)panelBlocks * panel.WeightBytes;
        var chainBytes = (long)tokens * Chains * Rows * sizeof(float);
        var scratch = threads.Scratch(worker, PackScratch + panelBytes + chainBytes);
        var weights = scratch + PackScratch;
        var chains = (float*)(weights + panelBytes);
        var full = TileKernels.Find(panel, IntegerPanel.MaxTokens);
        var rest = tokens % IntegerPanel.MaxTokens == 0 ? full : TileKernels.Find(panel, tokens % IntegerPanel.MaxTokens);
        for (var m = start; m < end; m += Rows)
        {
            var rows = Math.Min(Rows, end - m);
            for (var b = 0; b < blocks; b += panelBlocks)
            {
                long count = Math.Min(panelBlocks, blocks - b);
                PackWeights<TFormat>(weight.Data + (m * weight.RowBytes) + ((long)b * TFormat.BlockBytes), weight.RowBytes, rows, (int)count, weights, scratch);
                var tile = packed;
                for (var t = 0; t < tokens; t += IntegerPanel.MaxTokens)
                {
                    // The chains of a tile are cleared and brought together while they are in the first cache.
                    var width = Math.Min(IntegerPanel.MaxTokens, tokens - t);
                    var chain = chains + ((long)t * Chains * Rows);
                    if (b == 0)
                        new Span<float>(chain, width * Chains * Rows).Clear();
                    (width == IntegerPanel.MaxTokens ? full : rest)(weights, tile + ((long)b * panel.TokenBytes(width)), chain, &count);
                    if (b + panelBlocks >= blocks)
                        Store(chain, width, y + ((long)t * weight.Rows) + m, weight.Rows, rows);
                    tile += (long)blocks * panel.TokenBytes(width);
                }
            }
        }
    }

    /// <summary>Lays out up to 32 weight rows block by block; what it writes for rows beyond the last has no meaning.</summary>
    internal static void PackWeights<TFormat>(byte* rows, long rowBytes, int count, int blocks, byte* target, byte* scratch)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        for (var half = 0; half < count; half += HalfRows)
        {
            var arguments = new PackArguments { Rows = Math.Min(HalfRows, count - half), RowBytes = rowBytes, Blocks = blocks };
            RowKernels.FindPack<TFormat>()(rows + (half * rowBytes), target + (half * sizeof(float)), scratch, &arguments);
        }

        for (var b = 0; b < blocks; b++)
            PackScales<TFormat>(rows + ((long)b * TFormat.BlockBytes), rowBytes, count, target + ((long)b * TFormat.Panel.WeightBytes));
    }

    // Everything of a block but its codes.
    private static void PackScales<TFormat>(byte* block, long rowBytes, int count, byte* target)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var panel = TFormat.Panel;
        for (var half = 0; half < count; half += HalfRows)
        {
            var rows = block + (half * rowBytes);
            TFormat.PackScales(rows, rowBytes, Math.Min(HalfRows, count - half), (int*)(target + panel.WeightScales) + half, (int*)(target + panel.WeightMinima) + half);
        }

        var bits = stackalloc int[Rows];
        for (var r = 0; r < count; r++)
            bits[r] = TFormat.ScaleBits(block + (r * rowBytes));
        ToSingle(bits, (float*)(target + panel.WeightSuperScale), count);
        if (!panel.HasMinimum)
            return;
        for (var r = 0; r < count; r++)
            bits[r] = TFormat.MinimumBits(block + (r * rowBytes));
        ToSingle(bits, (float*)(target + panel.WeightSuperMinimum), count);
    }

    private static void ToSingle(int* bits, float* target, int count)
    {
        for (var r = 0; r < count; r += HalfRows)
            IntegerDot.HalfToSingle(Vector512.Load(bits + r)).Store(target + r);
    }

    // (c0 + c2) + (c1 + c3) of a tile, [4][N][32] to [N] rows of y.
    private static void Store(float* chains, int tokens, float* y, long yStride, int rows)
    {
        var plane = tokens * Rows;
        var tail = stackalloc float[Rows];
        for (var t = 0; t < tokens; t++, chains += Rows, y += yStride)
        {
            var target = rows == Rows ? y : tail;
            for (var r = 0; r < Rows; r += HalfRows)
            {
                var sum = (Vector512.Load(chains + r) + Vector512.Load(chains + r + (2 * plane))) + (Vector512.Load(chains + r + plane) + Vector512.Load(chains + r + (3 * plane)));
                sum.Store(target + r);
            }

            if (rows != Rows)
                new Span<float>(tail, rows).CopyTo(new Span<float>(y, rows));
        }
    }

    private struct PackerAction : IIntegerAction
    {
        public bool Found;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> => Found = RowKernels.FindPack<TFormat>() != null;
    }
}
