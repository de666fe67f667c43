using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Many tokens at once: 16 weight rows are unpacked into a panel that stays in the cache and multiplied with tiles of up to 12 tokens by kernels
/// assembled for AVX512-VNNI. Every output has the bits of <see cref="IntegerDot"/>.
/// </summary>
internal static unsafe class IntegerTiles
{
    private const int Rows = IntegerPanel.Rows;
    private const int Chains = 4;

    /// <summary>Tokens in the last tile are rounded up to a multiple of this.</summary>
    private const int TokenStep = 4;

    /// <summary>Tokens of the tile that begins at token <paramref name="start"/> of <paramref name="tokens"/>, rounded up.</summary>
    public static int TileTokens(int start, int tokens) =>
        Math.Min(IntegerPanel.MaxTokens, (tokens - start + TokenStep - 1) / TokenStep * TokenStep);

    /// <summary>Bytes of all packed tiles of a batch.</summary>
    public static long PackedBytes(IntegerPanel panel, int blocks, int tokens)
    {
        long bytes = 0;
        for (var start = 0; start < tokens; start += IntegerPanel.MaxTokens)
            bytes += (long)blocks * panel.TokenBytes(TileTokens(start, tokens));
        return bytes;
    }

    /// <summary>Lays out one tile of quantised tokens block by block; tokens beyond the last are zero.</summary>
    public static void PackTokens(IntegerPanel panel, byte* rows, int rowStride, int cols, int count, int tileTokens, byte* target)
    {
        var blocks = cols / panel.BlockLength;
        var blockBytes = panel.TokenBytes(tileTokens);
        if (count < tileTokens)
            new Span<byte>(target, blocks * blockBytes).Clear();
        for (var t = 0; t < count; t++)
        {
            var x = new IntegerRow(rows + ((long)t * rowStride), cols);
            for (var b = 0; b < blocks; b++)
            {
                var to = target + ((long)b * blockBytes);
                var codes = (int*)(x.Codes + (b * panel.BlockLength));
                for (var k = 0; k < panel.BlockLength / 4; k++)
                    ((int*)to)[(k * tileTokens) + t] = codes[k];
                var sums = panel.SumLength == 16 ? x.Sums16 + (b * panel.Sums) : x.Sums32 + (b * panel.Sums);
                for (var s = 0; panel.ZeroPoint != 0 && s < panel.Sums; s++)
                    ((int*)(to + panel.TokenStarts(tileTokens)))[(s * tileTokens) + t] = -panel.ZeroPoint * sums[s];
                if (panel.HasMinimum && panel.Scales == 0)
                    ((int*)(to + panel.TokenSums(tileTokens)))[t] = sums[0];
                for (var pair = 0; panel.HasMinimum && pair < panel.Scales / 2; pair++)
                    ((int*)(to + panel.TokenSums(tileTokens)))[(pair * tileTokens) + t] = (ushort)sums[2 * pair] | (sums[(2 * pair) + 1] << 16);
                ((float*)(to + panel.TokenScales(tileTokens)))[t] = x.Scales[b];
            }
        }
    }

    /// <summary>Lays out up to 16 weight rows block by block; rows beyond the last are zero.</summary>
    public static void PackWeights<TFormat>(byte* rows, long rowBytes, int count, int blocks, byte* target)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        // Codes go through the transpose 64 at a time: a quarter of a super-block, or two blocks of 32.
        var panel = TFormat.Panel;
        var step = panel.BlockLength < 64 ? 64 / panel.BlockLength : 1;
        var codes = stackalloc byte[Rows * Math.Max(64, panel.BlockLength)];
        var turned = stackalloc byte[Rows * 64];
        if (count < Rows)
            new Span<byte>(codes, Rows * Math.Max(64, panel.BlockLength)).Clear();
        for (var b = 0; b < blocks; b += step)
        {
            var part = Math.Min(step, blocks - b);
            for (var r = 0; r < count; r++)
            {
                var block = rows + (r * rowBytes) + ((long)b * TFormat.BlockBytes);
                for (var i = 0; i < part; i++)
                    TFormat.UnpackUnsigned(block + (i * TFormat.BlockBytes), codes + (r * step * panel.BlockLength) + (i * panel.BlockLength));
            }

            var to = target + ((long)b * panel.WeightBytes);
            if (step == 1)
            {
                for (var at = 0; at < panel.BlockLength; at += 64)
                    Transpose.Rows16(codes + at, panel.BlockLength, to + (at * Rows));
            }
            else
            {
                Transpose.Rows16(codes, 64, turned);
                for (var i = 0; i < part; i++)
                    new ReadOnlySpan<byte>(turned + (i * panel.WeightScales), panel.WeightScales).CopyTo(new Span<byte>(to + (i * panel.WeightBytes), panel.WeightScales));
            }

            for (var i = 0; i < part; i++)
                PackScales<TFormat>(rows + ((long)(b + i) * TFormat.BlockBytes), rowBytes, count, to + (i * panel.WeightBytes));
        }
    }

    // Everything of a block but its codes, for all rows; what rows beyond the last have is multiplied with codes of zero and never read.
    private static void PackScales<TFormat>(byte* block, long rowBytes, int count, byte* target)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var panel = TFormat.Panel;
        var bits = stackalloc int[2 * Rows];
        var scales = stackalloc short[2 * Rows];
        for (var r = 0; r < count; r++, block += rowBytes)
        {
            bits[r] = TFormat.ScaleBits(block);
            if (panel.HasMinimum)
                bits[Rows + r] = TFormat.MinimumBits(block);
            if (panel.Scales == 0)
                continue;
            TFormat.UnpackScales(block, scales, scales + Rows);
            for (var s = 0; s < panel.Scales; s++)
                ((int*)(target + panel.WeightScales))[(s * Rows) + r] = scales[s];
            for (var pair = 0; panel.HasMinimum && pair < panel.Scales / 2; pair++)
                ((int*)(target + panel.WeightMinima))[(pair * Rows) + r] = ((int*)(scales + Rows))[pair];
        }

        for (var r = 0; r < Rows; r += 4)
        {
            IntegerDot.HalfToSingle(Vector128.Load(bits + r)).Store((float*)(target + panel.WeightSuperScale) + r);
            if (panel.HasMinimum)
                IntegerDot.HalfToSingle(Vector128.Load(bits + Rows + r)).Store((float*)(target + panel.WeightSuperMinimum) + r);
        }
    }

    /// <summary>One panel times one tile, all blocks: y[t, r] for the first <paramref name="rows"/> rows and <paramref name="tokens"/> tokens.</summary>
    public static void Multiply(
        IntegerPanel panel, delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, void> kernel, byte* weights, byte* x, int blocks, int tileTokens,
        float* y, long yStride, int rows, int tokens)
    {
        var chains = stackalloc float[Chains * IntegerPanel.MaxTokens * Rows];
        new Span<float>(chains, Chains * IntegerPanel.MaxTokens * Rows).Clear();
        var plane = tileTokens * Rows;
        var tokenBytes = panel.TokenBytes(tileTokens);
        for (var b = 0; b < blocks; b++)
            kernel(weights + ((long)b * panel.WeightBytes), x + ((long)b * tokenBytes), chains + (b % Chains * plane));
        for (var t = 0; t < tokens; t++)
        {
            var c = chains + (t * Rows);
            var sum = (Vector512.Load(c) + Vector512.Load(c + (2 * plane))) + (Vector512.Load(c + plane) + Vector512.Load(c + (3 * plane)));
            var target = y + (t * yStride);
            if (rows == Rows)
            {
                sum.Store(target);
                continue;
            }

            for (var r = 0; r < rows; r++)
                target[r] = sum.GetElement(r);
        }
    }
}
