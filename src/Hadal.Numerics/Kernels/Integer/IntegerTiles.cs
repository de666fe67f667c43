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
        var panel = TFormat.Panel;
        var codes = stackalloc byte[Rows * 256];
        var scales = stackalloc short[16];
        var minima = stackalloc short[16];
        for (var b = 0; b < blocks; b++, target += panel.WeightBytes)
        {
            for (var r = 0; r < Rows; r++)
            {
                var to = codes + (r * panel.BlockLength);
                var superScale = (float*)(target + panel.WeightSuperScale) + r;
                if (r >= count)
                {
                    new Span<byte>(to, panel.BlockLength).Clear();
                    *superScale = 0;
                    continue;
                }

                var block = rows + (r * rowBytes) + ((long)b * TFormat.BlockBytes);
                TFormat.UnpackUnsigned(block, to);
                *superScale = IntegerDot.HalfToSingle(TFormat.ScaleBits(block));
                if (panel.HasMinimum)
                    ((float*)(target + panel.WeightSuperMinimum))[r] = IntegerDot.HalfToSingle(TFormat.MinimumBits(block));
                if (panel.Scales == 0)
                    continue;
                TFormat.UnpackScales(block, scales, minima);
                for (var s = 0; s < panel.Scales; s++)
                    ((int*)(target + panel.WeightScales))[(s * Rows) + r] = scales[s];
                for (var pair = 0; panel.HasMinimum && pair < panel.Scales / 2; pair++)
                    ((int*)(target + panel.WeightMinima))[(pair * Rows) + r] = (ushort)minima[2 * pair] | (minima[(2 * pair) + 1] << 16);
            }

            var part = 0;
            for (; part <= panel.BlockLength - 64; part += 64)
                Transpose.Rows16(codes + part, panel.BlockLength, target + (part * Rows));
            if (part < panel.BlockLength)
                Half(codes + part, panel.BlockLength, target + (part * Rows));
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

    // A last run of 32 codes: the transpose reads 64 bytes a row, so it works on a copy.
    private static void Half(byte* codes, int stride, byte* target)
    {
        var copy = stackalloc byte[Rows * 64];
        var turned = stackalloc byte[Rows * 64];
        for (var r = 0; r < Rows; r++)
            Vector256.Load(codes + (r * stride)).Store(copy + (r * 64));
        Transpose.Rows16(copy, 64, turned);
        new Span<byte>(turned, Rows * 32).CopyTo(new Span<byte>(target, Rows * 32));
    }
}
