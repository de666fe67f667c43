using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Kernels;

/// <content>The tiles for sixteen vector registers of eight lanes: the same sums, up to twelve vectors of them at a time. Each size is written out, because the JIT keeps named locals in registers and arrays not.</content>
internal static unsafe partial class AttentionTiles
{
    // Rows that stay in the first-level cache while all heads pass them.
    private const int NarrowRows = 8;

    private static bool IsNarrow => !Vector512.IsHardwareAccelerated && Fma.IsSupported;

    private static void NarrowScores(float* q, int heads, float* rows, int width, int count, float* scores, int scoreStride, ReadAhead ahead)
    {
        var share = ahead.Share((count + NarrowRows - 1) / NarrowRows * ((heads + 2) / 3));
        var fetched = 0L;
        for (var l = 0; l < count; l += NarrowRows)
        {
            var few = Math.Min(NarrowRows, count - l);
            for (int g = 0, many; g < heads; g += many, fetched += share)
            {
                ahead.Fetch(fetched, share);
                var left = heads - g;
                many = left == 3 || left > 4 ? 3 : Math.Min(left, 2);
                float* queries = q + ((long)g * width), row = rows + ((long)l * width), target = scores + ((long)g * scoreStride) + l;
                if (many == 3)
                    NarrowTile3x2(queries, row, width, few, target, scoreStride);
                else
                    NarrowTile2x2(queries, many == 2 ? width : 0, row, width, few, target, many == 2 ? scoreStride : 0);
            }
        }
    }

    // Three heads, [3, W], with two rows after two rows. A row beyond the end is the last one again, and its score is dropped.
    private static void NarrowTile3x2(float* queries, float* rows, int width, int count, float* scores, int scoreStride)
    {
        var (w1, w2) = ((nint)width, 2 * (nint)width);
        for (var l = 0; l < count; l += 2)
        {
            var both = l + 1 < count;
            Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default;
            Vector256<float> d0 = default, d1 = default, e0 = default, e1 = default, f0 = default, f1 = default;
            float* q = queries, r0 = rows + ((long)l * width), r1 = both ? r0 + width : r0;
            for (var end = q + width; q < end; q += 16, r0 += 16, r1 += 16)
            {
                var (v, w) = (Vector256.Load(r0), Vector256.Load(r1));
                var x = Vector256.Load(q);
                a0 = Vector256.FusedMultiplyAdd(x, v, a0);
                b0 = Vector256.FusedMultiplyAdd(x, w, b0);
                x = Vector256.Load(q + w1);
                c0 = Vector256.FusedMultiplyAdd(x, v, c0);
                d0 = Vector256.FusedMultiplyAdd(x, w, d0);
                x = Vector256.Load(q + w2);
                e0 = Vector256.FusedMultiplyAdd(x, v, e0);
                f0 = Vector256.FusedMultiplyAdd(x, w, f0);
                (v, w) = (Vector256.Load(r0 + 8), Vector256.Load(r1 + 8));
                x = Vector256.Load(q + 8);
                a1 = Vector256.FusedMultiplyAdd(x, v, a1);
                b1 = Vector256.FusedMultiplyAdd(x, w, b1);
                x = Vector256.Load(q + w1 + 8);
                c1 = Vector256.FusedMultiplyAdd(x, v, c1);
                d1 = Vector256.FusedMultiplyAdd(x, w, d1);
                x = Vector256.Load(q + w2 + 8);
                e1 = Vector256.FusedMultiplyAdd(x, v, e1);
                f1 = Vector256.FusedMultiplyAdd(x, w, f1);
            }

            Store(scores + l, Sums(a0 + a1, b0 + b1), both);
            Store(scores + scoreStride + l, Sums(c0 + c1, d0 + d1), both);
            Store(scores + (2L * scoreStride) + l, Sums(e0 + e1, f0 + f1), both);
        }
    }

    // Two heads with two rows after two rows; with strides of 0, one head twice.
    private static void NarrowTile2x2(float* queries, int queryStride, float* rows, int width, int count, float* scores, int scoreStride)
    {
        var w1 = (nint)queryStride;
        for (var l = 0; l < count; l += 2)
        {
            var both = l + 1 < count;
            Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default, d0 = default, d1 = default;
            float* q = queries, r0 = rows + ((long)l * width), r1 = both ? r0 + width : r0;
            for (var end = q + width; q < end; q += 16, r0 += 16, r1 += 16)
            {
                var (v, w) = (Vector256.Load(r0), Vector256.Load(r1));
                var x = Vector256.Load(q);
                a0 = Vector256.FusedMultiplyAdd(x, v, a0);
                b0 = Vector256.FusedMultiplyAdd(x, w, b0);
                x = Vector256.Load(q + w1);
                c0 = Vector256.FusedMultiplyAdd(x, v, c0);
                d0 = Vector256.FusedMultiplyAdd(x, w, d0);
                (v, w) = (Vector256.Load(r0 + 8), Vector256.Load(r1 + 8));
                x = Vector256.Load(q + 8);
                a1 = Vector256.FusedMultiplyAdd(x, v, a1);
                b1 = Vector256.FusedMultiplyAdd(x, w, b1);
                x = Vector256.Load(q + w1 + 8);
                c1 = Vector256.FusedMultiplyAdd(x, v, c1);
                d1 = Vector256.FusedMultiplyAdd(x, w, d1);
            }

            Store(scores + l, Sums(a0 + a1, b0 + b1), both);
            Store(scores + scoreStride + l, Sums(c0 + c1, d0 + d1), both);
        }
    }

    // The rest of the tree, halves of 4, 2 and 1, of two sums: in the first two lanes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Sums(Vector256<float> a, Vector256<float> b)
    {
        var (a4, b4) = (a.GetLower() + a.GetUpper(), b.GetLower() + b.GetUpper());
        var two = Sse.MoveLowToHigh(a4, b4) + Sse.MoveHighToLow(b4, a4);
        return Sse.Shuffle(two, two, 0x88) + Sse.Shuffle(two, two, 0xDD);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* scores, Vector128<float> two, bool both)
    {
        if (both)
            Sse.StoreLow(scores, two);
        else
            *scores = two.ToScalar();
    }

    private static void NarrowValues(float* p, int pStride, int heads, float* rows, int rowStride, int count, int width, float* o, int oStride, bool isFirst, ReadAhead ahead)
    {
        var share = ahead.Share(width / 16 * ((heads + 5) / 6));
        var fetched = 0L;
        for (var v = 0; v < width; v += 16)
        {
            for (int g = 0, many; g < heads; g += many, fetched += share)
            {
                ahead.Fetch(fetched, share);
                var left = heads - g;
                many = left is 6 or 7 or >= 10 ? 6 : left >= 4 ? 4 : 1;
                float* weights = p + ((long)g * pStride), sums = o + ((long)g * oStride) + v;
                if (isFirst)
                    Clear(sums, many, oStride, 16);
                if (many == 6)
                    NarrowValues6x16(weights, pStride, rows + v, rowStride, count, sums, oStride);
                else if (many == 4)
                    NarrowValues4x16(weights, pStride, rows + v, rowStride, count, sums, oStride);
                else
                    Values1x16(weights, rows + v, rowStride, count, sums);
            }
        }
    }

    private static void NarrowValues6x16(float* p, int pStride, float* row, int rowStride, int count, float* o, int oStride)
    {
        var (p1, p2, stride) = ((nint)pStride, 2 * (nint)pStride, (nint)rowStride);
        float* o1 = o + oStride, o2 = o1 + oStride, o3 = o2 + oStride, o4 = o3 + oStride, o5 = o4 + oStride;
        Vector256<float> a0 = Vector256.Load(o), a1 = Vector256.Load(o + 8), b0 = Vector256.Load(o1), b1 = Vector256.Load(o1 + 8);
        Vector256<float> c0 = Vector256.Load(o2), c1 = Vector256.Load(o2 + 8), d0 = Vector256.Load(o3), d1 = Vector256.Load(o3 + 8);
        Vector256<float> e0 = Vector256.Load(o4), e1 = Vector256.Load(o4 + 8), f0 = Vector256.Load(o5), f1 = Vector256.Load(o5 + 8);
        var later = p + (3 * (nint)pStride);
        for (var end = p + count; p < end; p++, later++, row += stride)
        {
            var (v, w) = (Vector256.Load(row), Vector256.Load(row + 8));
            var x = Vector256.Create(*p);
            a0 = Vector256.FusedMultiplyAdd(v, x, a0);
            a1 = Vector256.FusedMultiplyAdd(w, x, a1);
            x = Vector256.Create(p[p1]);
            b0 = Vector256.FusedMultiplyAdd(v, x, b0);
            b1 = Vector256.FusedMultiplyAdd(w, x, b1);
            x = Vector256.Create(p[p2]);
            c0 = Vector256.FusedMultiplyAdd(v, x, c0);
            c1 = Vector256.FusedMultiplyAdd(w, x, c1);
            x = Vector256.Create(*later);
            d0 = Vector256.FusedMultiplyAdd(v, x, d0);
            d1 = Vector256.FusedMultiplyAdd(w, x, d1);
            x = Vector256.Create(later[p1]);
            e0 = Vector256.FusedMultiplyAdd(v, x, e0);
            e1 = Vector256.FusedMultiplyAdd(w, x, e1);
            x = Vector256.Create(later[p2]);
            f0 = Vector256.FusedMultiplyAdd(v, x, f0);
            f1 = Vector256.FusedMultiplyAdd(w, x, f1);
        }

        Store(o, a0, a1);
        Store(o1, b0, b1);
        Store(o2, c0, c1);
        Store(o3, d0, d1);
        Store(o4, e0, e1);
        Store(o5, f0, f1);
    }

    private static void NarrowValues4x16(float* p, int pStride, float* row, int rowStride, int count, float* o, int oStride)
    {
        var (p1, p2, p3, stride) = ((nint)pStride, 2 * (nint)pStride, 3 * (nint)pStride, (nint)rowStride);
        float* o1 = o + oStride, o2 = o1 + oStride, o3 = o2 + oStride;
        Vector256<float> a0 = Vector256.Load(o), a1 = Vector256.Load(o + 8), b0 = Vector256.Load(o1), b1 = Vector256.Load(o1 + 8);
        Vector256<float> c0 = Vector256.Load(o2), c1 = Vector256.Load(o2 + 8), d0 = Vector256.Load(o3), d1 = Vector256.Load(o3 + 8);
        for (var end = p + count; p < end; p++, row += stride)
        {
            var (v, w) = (Vector256.Load(row), Vector256.Load(row + 8));
            var x = Vector256.Create(*p);
            a0 = Vector256.FusedMultiplyAdd(v, x, a0);
            a1 = Vector256.FusedMultiplyAdd(w, x, a1);
            x = Vector256.Create(p[p1]);
            b0 = Vector256.FusedMultiplyAdd(v, x, b0);
            b1 = Vector256.FusedMultiplyAdd(w, x, b1);
            x = Vector256.Create(p[p2]);
            c0 = Vector256.FusedMultiplyAdd(v, x, c0);
            c1 = Vector256.FusedMultiplyAdd(w, x, c1);
            x = Vector256.Create(p[p3]);
            d0 = Vector256.FusedMultiplyAdd(v, x, d0);
            d1 = Vector256.FusedMultiplyAdd(w, x, d1);
        }

        Store(o, a0, a1);
        Store(o1, b0, b1);
        Store(o2, c0, c1);
        Store(o3, d0, d1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* o, Vector256<float> first, Vector256<float> second)
    {
        first.Store(o);
        second.Store(o + 8);
    }
}
