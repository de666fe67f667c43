using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <content>
/// With vectors of 512 bits: four rows and six tokens at once, of whose 64 running sums sixteen at a time are kept in registers: 24 products for ten vectors loaded, where all 64 sums
/// at once leave room for two rows and three tokens, six products for five. Rows and tokens are laid out for that: first what goes to the sums 0 to 15 of a tile, step by step and row by
/// row, then what goes to the next sixteen. The same sums. Each size of tile is written out, because the JIT keeps named locals in registers and arrays not.
/// </content>
public static unsafe partial class MatMul
{
    private const int LaneRows = 4;
    private const int LaneTokens = 6;

    // Tokens whose sums are kept between the four passes.
    private const int LaneBlock = 2 * LaneTokens;

    // Groups of sixteen running sums.
    private const int LaneGroups = DotProduct.Lanes / 16;

    // Rows that are decoded before tokens pass them, so that tokens come from further away less often.
    private const int LaneUnit = 4 * LaneRows;

    private const long LaneSums = (long)LaneBlock * LaneUnit * DotProduct.Lanes;

    // Bytes of arranged tokens, which lie in the third cache where they are many.
    private const int LaneTokenBytes = 4 << 20;

    private const int Line = 64;

    // Rows with the same scales, if they have any, four and more.
    private static void ArrangedRows(WeightMatrix weight, int start, int end, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        var cols = weight.Cols;
        var padded = (cols + DotProduct.Lanes - 1) / DotProduct.Lanes * DotProduct.Lanes;
        var tokenBlock = Math.Min(tokens, Math.Max(LaneBlock, LaneTokenBytes / sizeof(float) / padded / LaneBlock * LaneBlock));
        var scales = weight.RowScales(start);

        // Scratch: four rows or six tokens on their way, the decoded rows, sums, tokens.
        var few = (float*)threads.Scratch(worker, (((LaneTokens + LaneUnit + (long)tokenBlock) * padded) + LaneSums) * sizeof(float));
        var rows = few + ((long)LaneTokens * padded);
        var sums = rows + ((long)LaneUnit * padded);
        var x_TK = sums + LaneSums;
        for (var t0 = 0; t0 < tokens; t0 += tokenBlock)
        {
            var count = Math.Min(tokenBlock, tokens - t0);
            for (int t = 0, together; t < count; t += together)
            {
                together = TileTokens(t, count);
                ScaledTokens(x + ((long)(t0 + t) * xStride), xStride, together, cols, scales, few, padded);
                Arrange(few, together, padded, x_TK + ((long)t * padded));
            }

            for (var m = start; m < end; m += LaneUnit)
            {
                var height = Math.Min(LaneUnit, end - m);
                for (var r = 0; r < height; r += LaneRows)
                    DecodeArranged(weight, m + r, padded, few, rows + ((long)r * padded));
                for (var t = 0; t < count; t += LaneBlock)
                    Unit(rows, height, padded, x_TK + ((long)t * padded), Math.Min(LaneBlock, count - t), y + ((long)(t0 + t) * yStride) + m, yStride, sums);
            }
        }
    }

    // Four rows in a tile's layout.
    private static void DecodeArranged(WeightMatrix weight, int row, int padded, float* few, float* tile)
    {
        if (padded == weight.Cols && weight.Format == WeightFormat.BF16)
        {
            ArrangeStored<BF16Values>(weight.Data + (row * weight.RowBytes), padded, tile);
            return;
        }

        if (padded == weight.Cols && weight.Format == WeightFormat.F32)
        {
            ArrangeStored<F32Values>(weight.Data + (row * weight.RowBytes), padded, tile);
            return;
        }

        for (var r = 0; r < LaneRows; r++)
        {
            var target = new Span<float>(few + ((long)r * padded), padded);
            WeightFormats.Decode(weight.Format, weight.Row(row + r), target[..weight.Cols]);
            target[weight.Cols..].Clear();
        }

        Arrange(few, LaneRows, padded, tile);
    }

    private static void ArrangeStored<TValues>(byte* rows, int cols, float* tile)
        where TValues : struct, IStoredValues
    {
        var rowBytes = (nint)cols * TValues.ValueBytes;
        var (r1, r2, r3) = ((nint)(rows + rowBytes), (nint)(rows + (2 * rowBytes)), (nint)(rows + (3 * rowBytes)));
        var (g1, g2, g3) = ((nint)cols / LaneGroups * LaneRows, (nint)cols / LaneGroups * LaneRows * 2, (nint)cols / LaneGroups * LaneRows * 3);
        for (nint k = 0; k < rowBytes; k += DotProduct.Lanes * TValues.ValueBytes, tile += LaneRows * 16)
        {
            Arrange<TValues>(rows + k, rowBytes, tile, g1, g2, g3);
            Arrange<TValues>((byte*)r1 + k, rowBytes, tile + 16, g1, g2, g3);
            Arrange<TValues>((byte*)r2 + k, rowBytes, tile + 32, g1, g2, g3);
            Arrange<TValues>((byte*)r3 + k, rowBytes, tile + 48, g1, g2, g3);
        }
    }

    // A step of a row; the same place four rows on is asked for.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Arrange<TValues>(byte* row, nint rowBytes, float* target, nint g1, nint g2, nint g3)
        where TValues : struct, IStoredValues
    {
        TValues.Load(row, 0, 0).Store(target);
        TValues.Load(row, 16, 0).Store(target + g1);
        TValues.Load(row, 32, 0).Store(target + g2);
        TValues.Load(row, 48, 0).Store(target + g3);
        if (StreamHints.EveryLine)
        {
            Sse.Prefetch1(row + (LaneRows * rowBytes));
            Sse.Prefetch1(row + (LaneRows * rowBytes) + Line);
        }
    }

    // Rows [count, cols], one after the other, in a tile's layout.
    private static void Arrange(float* rows, int count, int cols, float* tile)
    {
        for (var group = 0; group < LaneGroups; group++)
        {
            for (var k = 16 * group; k < cols; k += DotProduct.Lanes)
            {
                for (var r = 0; r < count; r++, tile += 16)
                    Vector512.Load(rows + ((long)r * cols) + k).Store(tile);
            }
        }
    }

    // How many tokens make the tile that begins with token t of some.
    private static int TileTokens(int t, int tokens) => tokens - t >= LaneTokens ? LaneTokens : Math.Min(2, tokens - t);

    // y[t, r] of some rows and a block of tokens, both arranged: what a pass reads of the tokens stays in the first cache.
    private static void Unit(float* w, int rows, int cols, float* x, int tokens, float* y, int yStride, float* sums)
    {
        var steps = cols / DotProduct.Lanes;
        for (var group = 0; group < LaneGroups; group++)
        {
            for (var r = 0; r < rows; r += LaneRows)
            {
                var tileRows = w + ((long)r * cols) + ((long)group * steps * LaneRows * 16);
                for (int t = 0, together; t < tokens; t += together)
                {
                    together = TileTokens(t, tokens);
                    var tile = x + ((long)t * cols) + ((long)group * steps * together * 16);
                    var sum = sums + (16 * group) + ((((long)r * tokens) + (t * LaneRows)) * DotProduct.Lanes);
                    if (together == LaneTokens)
                        Lanes4x6(tileRows, tile, steps, sum);
                    else if (together == 2)
                        Lanes4x2(tileRows, tile, steps, sum);
                    else
                        Lanes4x1(tileRows, tile, steps, sum);
                }
            }
        }

        for (var r0 = 0; r0 < rows; r0 += LaneRows)
        {
            for (var t = 0; t < tokens; t++)
            {
                for (var r = r0; r < r0 + LaneRows; r++, sums += DotProduct.Lanes)
                    y[((long)t * yStride) + r] = DotProduct.Sum(Vector512.Load(sums), Vector512.Load(sums + 16), Vector512.Load(sums + 32), Vector512.Load(sums + 48));
            }
        }
    }

    private static void Lanes4x6(float* w, float* x, nint steps, float* sums)
    {
        Vector512<float> s00 = default, s10 = default, s20 = default, s30 = default;
        Vector512<float> s01 = default, s11 = default, s21 = default, s31 = default;
        Vector512<float> s02 = default, s12 = default, s22 = default, s32 = default;
        Vector512<float> s03 = default, s13 = default, s23 = default, s33 = default;
        Vector512<float> s04 = default, s14 = default, s24 = default, s34 = default;
        Vector512<float> s05 = default, s15 = default, s25 = default, s35 = default;
        for (; steps > 0; steps--, w += 64, x += 96)
        {
            var (u0, u1, u2, u3) = (Vector512.Load(w), Vector512.Load(w + 16), Vector512.Load(w + 32), Vector512.Load(w + 48));
            var v = Vector512.Load(x);
            s00 = Vector512.FusedMultiplyAdd(u0, v, s00);
            s10 = Vector512.FusedMultiplyAdd(u1, v, s10);
            s20 = Vector512.FusedMultiplyAdd(u2, v, s20);
            s30 = Vector512.FusedMultiplyAdd(u3, v, s30);
            v = Vector512.Load(x + 16);
            s01 = Vector512.FusedMultiplyAdd(u0, v, s01);
            s11 = Vector512.FusedMultiplyAdd(u1, v, s11);
            s21 = Vector512.FusedMultiplyAdd(u2, v, s21);
            s31 = Vector512.FusedMultiplyAdd(u3, v, s31);
            v = Vector512.Load(x + 32);
            s02 = Vector512.FusedMultiplyAdd(u0, v, s02);
            s12 = Vector512.FusedMultiplyAdd(u1, v, s12);
            s22 = Vector512.FusedMultiplyAdd(u2, v, s22);
            s32 = Vector512.FusedMultiplyAdd(u3, v, s32);
            v = Vector512.Load(x + 48);
            s03 = Vector512.FusedMultiplyAdd(u0, v, s03);
            s13 = Vector512.FusedMultiplyAdd(u1, v, s13);
            s23 = Vector512.FusedMultiplyAdd(u2, v, s23);
            s33 = Vector512.FusedMultiplyAdd(u3, v, s33);
            v = Vector512.Load(x + 64);
            s04 = Vector512.FusedMultiplyAdd(u0, v, s04);
            s14 = Vector512.FusedMultiplyAdd(u1, v, s14);
            s24 = Vector512.FusedMultiplyAdd(u2, v, s24);
            s34 = Vector512.FusedMultiplyAdd(u3, v, s34);
            v = Vector512.Load(x + 80);
            s05 = Vector512.FusedMultiplyAdd(u0, v, s05);
            s15 = Vector512.FusedMultiplyAdd(u1, v, s15);
            s25 = Vector512.FusedMultiplyAdd(u2, v, s25);
            s35 = Vector512.FusedMultiplyAdd(u3, v, s35);
        }

        s00.Store(sums);
        s10.Store(sums + 64);
        s20.Store(sums + 128);
        s30.Store(sums + 192);
        s01.Store(sums + 256);
        s11.Store(sums + 320);
        s21.Store(sums + 384);
        s31.Store(sums + 448);
        s02.Store(sums + 512);
        s12.Store(sums + 576);
        s22.Store(sums + 640);
        s32.Store(sums + 704);
        s03.Store(sums + 768);
        s13.Store(sums + 832);
        s23.Store(sums + 896);
        s33.Store(sums + 960);
        s04.Store(sums + 1024);
        s14.Store(sums + 1088);
        s24.Store(sums + 1152);
        s34.Store(sums + 1216);
        s05.Store(sums + 1280);
        s15.Store(sums + 1344);
        s25.Store(sums + 1408);
        s35.Store(sums + 1472);
    }

    private static void Lanes4x2(float* w, float* x, nint steps, float* sums)
    {
        Vector512<float> s00 = default, s10 = default, s20 = default, s30 = default;
        Vector512<float> s01 = default, s11 = default, s21 = default, s31 = default;
        for (; steps > 0; steps--, w += 64, x += 32)
        {
            var (u0, u1, u2, u3) = (Vector512.Load(w), Vector512.Load(w + 16), Vector512.Load(w + 32), Vector512.Load(w + 48));
            var v = Vector512.Load(x);
            s00 = Vector512.FusedMultiplyAdd(u0, v, s00);
            s10 = Vector512.FusedMultiplyAdd(u1, v, s10);
            s20 = Vector512.FusedMultiplyAdd(u2, v, s20);
            s30 = Vector512.FusedMultiplyAdd(u3, v, s30);
            v = Vector512.Load(x + 16);
            s01 = Vector512.FusedMultiplyAdd(u0, v, s01);
            s11 = Vector512.FusedMultiplyAdd(u1, v, s11);
            s21 = Vector512.FusedMultiplyAdd(u2, v, s21);
            s31 = Vector512.FusedMultiplyAdd(u3, v, s31);
        }

        s00.Store(sums);
        s10.Store(sums + 64);
        s20.Store(sums + 128);
        s30.Store(sums + 192);
        s01.Store(sums + 256);
        s11.Store(sums + 320);
        s21.Store(sums + 384);
        s31.Store(sums + 448);
    }

    private static void Lanes4x1(float* w, float* x, nint steps, float* sums)
    {
        Vector512<float> s00 = default, s10 = default, s20 = default, s30 = default;
        for (; steps > 0; steps--, w += 64, x += 16)
        {
            var (u0, u1, u2, u3) = (Vector512.Load(w), Vector512.Load(w + 16), Vector512.Load(w + 32), Vector512.Load(w + 48));
            var v = Vector512.Load(x);
            s00 = Vector512.FusedMultiplyAdd(u0, v, s00);
            s10 = Vector512.FusedMultiplyAdd(u1, v, s10);
            s20 = Vector512.FusedMultiplyAdd(u2, v, s20);
            s30 = Vector512.FusedMultiplyAdd(u3, v, s30);
        }

        s00.Store(sums);
        s10.Store(sums + 64);
        s20.Store(sums + 128);
        s30.Store(sums + 192);
    }
}
