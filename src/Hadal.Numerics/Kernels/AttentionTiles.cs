using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// The two inner products of attention, in register tiles: a few heads share each row. A score is summed in 16 lanes, element k by fused multiply-add and
/// in rising k in lane k mod 16, and the lanes by halves: 8, 4, 2, 1. Values are fused multiply-adds in rising row order. Neither depends on the tiles.
/// </summary>
/// <remarks>Shape letters: G heads of a group, L rows of a run, W width of a key and V of a value, both whole vectors of 16.</remarks>
internal static unsafe partial class AttentionTiles
{
    // Rows that all heads pass before the next ones: so many and the queries of four heads stay in the first cache.
    private const int RowBlock = 8;

    /// <summary>scores[g, l] = q[g] . row[l].</summary>
    /// <param name="q">[G, W].</param>
    /// <param name="heads">G.</param>
    /// <param name="rows">[L, W].</param>
    /// <param name="width">W.</param>
    /// <param name="count">L.</param>
    /// <param name="scores">[G, L], heads <paramref name="scoreStride"/> apart.</param>
    /// <param name="scoreStride">Values from one head's scores to the next.</param>
    /// <param name="ahead">What to bring into the cache meanwhile.</param>
    public static void Scores(float* q, int heads, float* rows, int width, int count, float* scores, int scoreStride, ReadAhead ahead)
    {
        if (IsNarrow)
        {
            NarrowScores(q, heads, rows, width, count, scores, scoreStride, ahead);
            return;
        }

        var tile = stackalloc float[16];
        var walk = ahead.Steps((count + 3L) / 4 * (heads / 4) * (width / 16), q);
        for (var block = 0; block < count; block += RowBlock)
        {
            var end = Math.Min(count, block + RowBlock);
            for (var g = 0; g < heads;)
            {
                var together = g <= heads - 4 ? 4 : 1;
                for (var l = block; l < end; l += 4)
                {
                    // Rows beyond the end are the last one again, and their scores are dropped.
                    var last = count - l - 1;
                    var r0 = rows + ((long)l * width);
                    var r1 = r0 + ((long)Math.Min(1, last) * width);
                    var r2 = r0 + ((long)Math.Min(2, last) * width);
                    var r3 = r0 + ((long)Math.Min(3, last) * width);
                    if (together == 4)
                        Tile4x4(q + ((long)g * width), r0, r1, r2, r3, width, tile, ref walk);
                    else
                        Tile1x4(q + ((long)g * width), r0, r1, r2, r3, width, tile);
                    for (var i = 0; i < together; i++)
                        Store(tile + (4 * i), scores + ((long)(g + i) * scoreStride) + l, last);
                }

                g += together;
            }
        }
    }

    /// <summary>o[g] = sum_l p[g, l] row[l], in rising l, added to what is there unless these are the first rows.</summary>
    /// <param name="p">[G, L], heads <paramref name="pStride"/> apart.</param>
    /// <param name="pStride">Values from one head's weights to the next.</param>
    /// <param name="heads">G.</param>
    /// <param name="rows">[L, V], rows <paramref name="rowStride"/> apart.</param>
    /// <param name="rowStride">Values from one row to the next.</param>
    /// <param name="count">L.</param>
    /// <param name="width">V.</param>
    /// <param name="o">[G, V], heads <paramref name="oStride"/> apart.</param>
    /// <param name="oStride">Values from one head's sums to the next.</param>
    /// <param name="isFirst">Whether o counts as 0. It is cleared a tile at a time: another core may have its lines, and they arrive while the tile is computed.</param>
    /// <param name="ahead">What to bring into the cache meanwhile.</param>
    public static void AddValues(float* p, int pStride, int heads, float* rows, int rowStride, int count, int width, float* o, int oStride, bool isFirst, ReadAhead ahead)
    {
        if (IsNarrow)
        {
            NarrowValues(p, pStride, heads, rows, rowStride, count, width, o, oStride, isFirst, ahead);
            return;
        }

        var v = 0;
        var walk = ahead.Steps((long)(width / 64) * (heads / 4) * count, p);
        for (; v <= width - 64; v += 64)
        {
            var g = 0;
            for (; g <= heads - 4; g += 4)
            {
                if (isFirst)
                    Clear(o + ((long)g * oStride) + v, 4, oStride, 64);
                Values4x64(p + ((long)g * pStride), pStride, rows + v, rowStride, count, o + ((long)g * oStride) + v, oStride, ref walk);
            }

            for (; g < heads; g++)
            {
                if (isFirst)
                    Clear(o + ((long)g * oStride) + v, 1, oStride, 64);
                Values1x64(p + ((long)g * pStride), rows + v, rowStride, count, o + ((long)g * oStride) + v);
            }
        }

        for (; v < width; v += 16)
        {
            if (isFirst)
                Clear(o + v, heads, oStride, 16);
            for (var g = 0; g < heads; g++)
                Values1x16(p + ((long)g * pStride), rows + v, rowStride, count, o + ((long)g * oStride) + v);
        }
    }

    private static void Clear(float* o, int heads, int oStride, int width)
    {
        for (var g = 0; g < heads; g++, o += oStride)
            new Span<float>(o, width).Clear();
    }

    private static void Store(float* tile, float* scores, int last)
    {
        if (last >= 3)
        {
            Vector128.Load(tile).Store(scores);
            return;
        }

        for (var i = 0; i <= last; i++)
            scores[i] = tile[i];
    }

    // Four heads, [4, W], with four rows: tile [4 heads, 4 rows].
    private static void Tile4x4(float* q, float* r0, float* r1, float* r2, float* r3, int width, float* tile, ref ReadAhead.Walk walk)
    {
        var (next, step) = walk;
        var q1 = q + width;
        var q2 = q1 + width;
        var q3 = q2 + width;
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default, d0 = default, d1 = default, d2 = default, d3 = default;
        for (long k = 0; k < width; k += 16)
        {
            var (w0, w1, w2, w3) = (Vector512.Load(r0 + k), Vector512.Load(r1 + k), Vector512.Load(r2 + k), Vector512.Load(r3 + k));
            var x = Vector512.Load(q + k);
            a0 = Vector512.FusedMultiplyAdd(x, w0, a0);
            a1 = Vector512.FusedMultiplyAdd(x, w1, a1);
            a2 = Vector512.FusedMultiplyAdd(x, w2, a2);
            a3 = Vector512.FusedMultiplyAdd(x, w3, a3);
            x = Vector512.Load(q1 + k);
            b0 = Vector512.FusedMultiplyAdd(x, w0, b0);
            b1 = Vector512.FusedMultiplyAdd(x, w1, b1);
            b2 = Vector512.FusedMultiplyAdd(x, w2, b2);
            b3 = Vector512.FusedMultiplyAdd(x, w3, b3);
            x = Vector512.Load(q2 + k);
            c0 = Vector512.FusedMultiplyAdd(x, w0, c0);
            c1 = Vector512.FusedMultiplyAdd(x, w1, c1);
            c2 = Vector512.FusedMultiplyAdd(x, w2, c2);
            c3 = Vector512.FusedMultiplyAdd(x, w3, c3);
            x = Vector512.Load(q3 + k);
            d0 = Vector512.FusedMultiplyAdd(x, w0, d0);
            d1 = Vector512.FusedMultiplyAdd(x, w1, d1);
            d2 = Vector512.FusedMultiplyAdd(x, w2, d2);
            d3 = Vector512.FusedMultiplyAdd(x, w3, d3);
            if (Sse.IsSupported)
                Sse.Prefetch1((byte*)next);
            next += step;
        }

        walk = new(next, step);
        if (!Avx512F.IsSupported)
        {
            Vector128.Create(Sum(a0), Sum(a1), Sum(a2), Sum(a3)).Store(tile);
            Vector128.Create(Sum(b0), Sum(b1), Sum(b2), Sum(b3)).Store(tile + 4);
            Vector128.Create(Sum(c0), Sum(c1), Sum(c2), Sum(c3)).Store(tile + 8);
            Vector128.Create(Sum(d0), Sum(d1), Sum(d2), Sum(d3)).Store(tile + 12);
            return;
        }

        // The same tree for 16 sums at once: each 128-bit lane is a head, and in it come lanes i + (i + 2), then + 1, of its four rows.
        var s01 = Pairs(Quarters(a0, b0, c0, d0), Quarters(a1, b1, c1, d1));
        var s23 = Pairs(Quarters(a2, b2, c2, d2), Quarters(a3, b3, c3, d3));
        (Avx512F.Shuffle(s01, s23, 0x88) + Avx512F.Shuffle(s01, s23, 0xDD)).Store(tile);
    }

    // One head with four rows.
    private static void Tile1x4(float* q, float* r0, float* r1, float* r2, float* r3, int width, float* tile)
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
        for (long k = 0; k < width; k += 16)
        {
            var x = Vector512.Load(q + k);
            a0 = Vector512.FusedMultiplyAdd(x, Vector512.Load(r0 + k), a0);
            a1 = Vector512.FusedMultiplyAdd(x, Vector512.Load(r1 + k), a1);
            a2 = Vector512.FusedMultiplyAdd(x, Vector512.Load(r2 + k), a2);
            a3 = Vector512.FusedMultiplyAdd(x, Vector512.Load(r3 + k), a3);
        }

        Vector128.Create(Sum(a0), Sum(a1), Sum(a2), Sum(a3)).Store(tile);
    }

    // Lanes i + (i + 8), then i + (i + 4), of four vectors: [x | y | z | w], four values each.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Quarters(Vector512<float> x, Vector512<float> y, Vector512<float> z, Vector512<float> w)
    {
        var xy = Avx512F.Shuffle4x128(x, y, 0x44) + Avx512F.Shuffle4x128(x, y, 0xEE);
        var zw = Avx512F.Shuffle4x128(z, w, 0x44) + Avx512F.Shuffle4x128(z, w, 0xEE);
        return Avx512F.Shuffle4x128(xy, zw, 0x88) + Avx512F.Shuffle4x128(xy, zw, 0xDD);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Pairs(Vector512<float> x, Vector512<float> y) =>
        Avx512F.UnpackLow(x.AsDouble(), y.AsDouble()).AsSingle() + Avx512F.UnpackHigh(x.AsDouble(), y.AsDouble()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Sum(Vector512<float> s)
    {
        var s8 = s.GetLower() + s.GetUpper();
        var s4 = s8.GetLower() + s8.GetUpper();
        return (s4[0] + s4[2]) + (s4[1] + s4[3]);
    }

    private static void Values1x16(float* p, float* row, int rowStride, int count, float* o)
    {
        var sum = Vector512.Load(o);
        for (var l = 0; l < count; l++)
            sum = Vector512.FusedMultiplyAdd(Vector512.Load(row + ((long)l * rowStride)), Vector512.Create(p[l]), sum);
        sum.Store(o);
    }

    private static void Values1x64(float* p, float* row, int rowStride, int count, float* o)
    {
        Vector512<float> a0 = Vector512.Load(o), a1 = Vector512.Load(o + 16), a2 = Vector512.Load(o + 32), a3 = Vector512.Load(o + 48);
        for (var l = 0; l < count; l++, row += rowStride)
        {
            var f = Vector512.Create(p[l]);
            a0 = Vector512.FusedMultiplyAdd(Vector512.Load(row), f, a0);
            a1 = Vector512.FusedMultiplyAdd(Vector512.Load(row + 16), f, a1);
            a2 = Vector512.FusedMultiplyAdd(Vector512.Load(row + 32), f, a2);
            a3 = Vector512.FusedMultiplyAdd(Vector512.Load(row + 48), f, a3);
        }

        Store(o, a0, a1, a2, a3);
    }

    private static void Values4x64(float* p, int pStride, float* row, int rowStride, int count, float* o, int oStride, ref ReadAhead.Walk walk)
    {
        var (next, step) = walk;
        var o1 = o + oStride;
        var o2 = o1 + oStride;
        var o3 = o2 + oStride;
        Vector512<float> a0 = Vector512.Load(o), a1 = Vector512.Load(o + 16), a2 = Vector512.Load(o + 32), a3 = Vector512.Load(o + 48);
        Vector512<float> b0 = Vector512.Load(o1), b1 = Vector512.Load(o1 + 16), b2 = Vector512.Load(o1 + 32), b3 = Vector512.Load(o1 + 48);
        Vector512<float> c0 = Vector512.Load(o2), c1 = Vector512.Load(o2 + 16), c2 = Vector512.Load(o2 + 32), c3 = Vector512.Load(o2 + 48);
        Vector512<float> d0 = Vector512.Load(o3), d1 = Vector512.Load(o3 + 16), d2 = Vector512.Load(o3 + 32), d3 = Vector512.Load(o3 + 48);
        for (var l = 0; l < count; l++, row += rowStride)
        {
            var v0 = Vector512.Load(row);
            var v1 = Vector512.Load(row + 16);
            var v2 = Vector512.Load(row + 32);
            var v3 = Vector512.Load(row + 48);
            var f = Vector512.Create(p[l]);
            a0 = Vector512.FusedMultiplyAdd(v0, f, a0);
            a1 = Vector512.FusedMultiplyAdd(v1, f, a1);
            a2 = Vector512.FusedMultiplyAdd(v2, f, a2);
            a3 = Vector512.FusedMultiplyAdd(v3, f, a3);
            f = Vector512.Create(p[pStride + l]);
            b0 = Vector512.FusedMultiplyAdd(v0, f, b0);
            b1 = Vector512.FusedMultiplyAdd(v1, f, b1);
            b2 = Vector512.FusedMultiplyAdd(v2, f, b2);
            b3 = Vector512.FusedMultiplyAdd(v3, f, b3);
            f = Vector512.Create(p[(2L * pStride) + l]);
            c0 = Vector512.FusedMultiplyAdd(v0, f, c0);
            c1 = Vector512.FusedMultiplyAdd(v1, f, c1);
            c2 = Vector512.FusedMultiplyAdd(v2, f, c2);
            c3 = Vector512.FusedMultiplyAdd(v3, f, c3);
            f = Vector512.Create(p[(3L * pStride) + l]);
            d0 = Vector512.FusedMultiplyAdd(v0, f, d0);
            d1 = Vector512.FusedMultiplyAdd(v1, f, d1);
            d2 = Vector512.FusedMultiplyAdd(v2, f, d2);
            d3 = Vector512.FusedMultiplyAdd(v3, f, d3);
            if (Sse.IsSupported)
                Sse.Prefetch1((byte*)next);
            next += step;
        }

        walk = new(next, step);
        Store(o, a0, a1, a2, a3);
        Store(o1, b0, b1, b2, b3);
        Store(o2, c0, c1, c2, c3);
        Store(o3, d0, d1, d2, d3);
    }

    private static void Store(float* o, Vector512<float> v0, Vector512<float> v1, Vector512<float> v2, Vector512<float> v3)
    {
        v0.Store(o);
        v1.Store(o + 16);
        v2.Store(o + 32);
        v3.Store(o + 48);
    }
}
