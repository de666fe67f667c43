using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels;

/// <content>The tiles for sixteen vector registers of eight lanes: the same sums, a part of them at a time.</content>
internal static unsafe partial class AttentionTiles
{
    private static bool IsNarrow => !Vector512.IsHardwareAccelerated && Vector256.IsHardwareAccelerated;

    // Two heads with four rows, eight of the sixteen lanes at a time.
    private static void NarrowTile4x4(float* q, float* r0, float* r1, float* r2, float* r3, int width, float* tile)
    {
        const int Lanes = 16;
        var sums = stackalloc float[8 * Lanes];
        for (var head = 0; head < 4; head += 2, q += 2L * width, tile += 8)
        {
            for (var half = 0; half < Lanes; half += 8)
            {
                Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
                for (nint k = half; k < width; k += Lanes)
                {
                    var x = Vector256.Load(q + k);
                    var y = Vector256.Load(q + width + k);
                    var w = Vector256.Load(r0 + k);
                    a0 = Vector256.FusedMultiplyAdd(x, w, a0);
                    b0 = Vector256.FusedMultiplyAdd(y, w, b0);
                    w = Vector256.Load(r1 + k);
                    a1 = Vector256.FusedMultiplyAdd(x, w, a1);
                    b1 = Vector256.FusedMultiplyAdd(y, w, b1);
                    w = Vector256.Load(r2 + k);
                    a2 = Vector256.FusedMultiplyAdd(x, w, a2);
                    b2 = Vector256.FusedMultiplyAdd(y, w, b2);
                    w = Vector256.Load(r3 + k);
                    a3 = Vector256.FusedMultiplyAdd(x, w, a3);
                    b3 = Vector256.FusedMultiplyAdd(y, w, b3);
                }

                var target = sums + half;
                a0.Store(target);
                a1.Store(target + Lanes);
                a2.Store(target + (2 * Lanes));
                a3.Store(target + (3 * Lanes));
                b0.Store(target + (4 * Lanes));
                b1.Store(target + (5 * Lanes));
                b2.Store(target + (6 * Lanes));
                b3.Store(target + (7 * Lanes));
            }

            for (var i = 0; i < 8; i++)
            {
                var s8 = Vector256.Load(sums + (i * Lanes)) + Vector256.Load(sums + (i * Lanes) + 8);
                var s4 = s8.GetLower() + s8.GetUpper();
                tile[i] = (s4[0] + s4[2]) + (s4[1] + s4[3]);
            }
        }
    }

    // Four heads, sixteen of the 64 columns at a time.
    private static void NarrowValues4x64(float* p, int pStride, float* rows, int rowStride, int count, float* o, int oStride)
    {
        var (p1, p2, p3) = ((nint)pStride, 2 * (nint)pStride, 3 * (nint)pStride);
        for (var column = 0; column < 64; column += 16)
        {
            var row = rows + column;
            float* o0 = o + column, o1 = o0 + oStride, o2 = o1 + oStride, o3 = o2 + oStride;
            Vector256<float> a0 = Vector256.Load(o0), a1 = Vector256.Load(o0 + 8), b0 = Vector256.Load(o1), b1 = Vector256.Load(o1 + 8);
            Vector256<float> c0 = Vector256.Load(o2), c1 = Vector256.Load(o2 + 8), d0 = Vector256.Load(o3), d1 = Vector256.Load(o3 + 8);
            for (nint l = 0; l < count; l++, row += rowStride)
            {
                var v0 = Vector256.Load(row);
                var v1 = Vector256.Load(row + 8);
                var f = Vector256.Create(p[l]);
                a0 = Vector256.FusedMultiplyAdd(v0, f, a0);
                a1 = Vector256.FusedMultiplyAdd(v1, f, a1);
                f = Vector256.Create(p[p1 + l]);
                b0 = Vector256.FusedMultiplyAdd(v0, f, b0);
                b1 = Vector256.FusedMultiplyAdd(v1, f, b1);
                f = Vector256.Create(p[p2 + l]);
                c0 = Vector256.FusedMultiplyAdd(v0, f, c0);
                c1 = Vector256.FusedMultiplyAdd(v1, f, c1);
                f = Vector256.Create(p[p3 + l]);
                d0 = Vector256.FusedMultiplyAdd(v0, f, d0);
                d1 = Vector256.FusedMultiplyAdd(v1, f, d1);
            }

            a0.Store(o0);
            a1.Store(o0 + 8);
            b0.Store(o1);
            b1.Store(o1 + 8);
            c0.Store(o2);
            c1.Store(o2 + 8);
            d0.Store(o3);
            d1.Store(o3 + 8);
        }
    }
}
