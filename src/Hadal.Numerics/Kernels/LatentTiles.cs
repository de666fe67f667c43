using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// The two inner products of absorbed latent attention, in register tiles: a few heads share each row of the cache. Every output has the bits of the plain
/// form: scores those of <see cref="DotProduct.Dot"/>, values fused multiply-adds in rising row order.
/// </summary>
/// <remarks>Shape letters: G heads of a group, L rows of a run, W row width (a multiple of 64), C latent.</remarks>
internal static unsafe class LatentTiles
{
    /// <summary>scores[g, l] = q[g] . row[l].</summary>
    /// <param name="q">[G, W].</param>
    /// <param name="heads">G.</param>
    /// <param name="rows">[L, W], contiguous.</param>
    /// <param name="count">L.</param>
    /// <param name="width">W.</param>
    /// <param name="scores">[G, L], rows <paramref name="scoreStride"/> apart.</param>
    /// <param name="scoreStride">Values from one head's scores to the next.</param>
    public static void Scores(float* q, int heads, float* rows, int count, int width, float* scores, int scoreStride)
    {
        var g = 0;
        for (; g <= heads - 2; g += 2)
        {
            var q0 = q + ((long)g * width);
            var s = scores + ((long)g * scoreStride);
            var l = 0;
            for (; l <= count - 3; l += 3)
                MatMul.Tile2x3(q0, q0 + width, rows + ((long)l * width), width, width, s + l, scoreStride, 1);
            for (; l < count; l++)
            {
                s[l] = MatMul.Tile1x1(q0, rows + ((long)l * width), width);
                s[scoreStride + l] = MatMul.Tile1x1(q0 + width, rows + ((long)l * width), width);
            }
        }

        for (; g < heads; g++)
        {
            for (var l = 0; l < count; l++)
                scores[((long)g * scoreStride) + l] = MatMul.Tile1x1(q + ((long)g * width), rows + ((long)l * width), width);
        }
    }

    /// <summary>o[g] += sum_l p[g, l] row[l, ..C], in rising l.</summary>
    /// <param name="p">[G, L], rows <paramref name="pStride"/> apart.</param>
    /// <param name="pStride">Values from one head's weights to the next.</param>
    /// <param name="heads">G.</param>
    /// <param name="rows">[L, W], contiguous.</param>
    /// <param name="count">L.</param>
    /// <param name="width">W.</param>
    /// <param name="latent">C.</param>
    /// <param name="o">[G, C].</param>
    public static void AddValues(float* p, int pStride, int heads, float* rows, int count, int width, int latent, float* o)
    {
        var g = 0;
        for (; g <= heads - 4; g += 4)
        {
            var pg = p + ((long)g * pStride);
            var og = o + ((long)g * latent);
            var c = 0;
            for (; c <= latent - 64; c += 64)
                Values4x64(pg, pStride, rows + c, count, width, og + c, latent);
            for (; c < latent; c += 16)
            {
                for (var i = 0; i < 4; i++)
                    Values1(pg + ((long)i * pStride), rows + c, count, width, og + ((long)i * latent) + c, Math.Min(16, latent - c));
            }
        }

        for (; g < heads; g++)
        {
            for (var c = 0; c < latent; c += 16)
                Values1(p + ((long)g * pStride), rows + c, count, width, o + ((long)g * latent) + c, Math.Min(16, latent - c));
        }
    }

    private static void Values1(float* p, float* rows, int count, int width, float* o, int lanes)
    {
        if (lanes == 16)
        {
            var sum = Vector512.Load(o);
            for (var l = 0; l < count; l++)
                sum = Vector512.FusedMultiplyAdd(Vector512.Load(rows + ((long)l * width)), Vector512.Create(p[l]), sum);
            sum.Store(o);
            return;
        }

        for (var i = 0; i < lanes; i++)
        {
            for (var l = 0; l < count; l++)
                o[i] = MathF.FusedMultiplyAdd(rows[((long)l * width) + i], p[l], o[i]);
        }
    }

    private static void Values4x64(float* p, int pStride, float* row, int count, int width, float* o, int oStride)
    {
        var o1 = o + oStride;
        var o2 = o1 + oStride;
        var o3 = o2 + oStride;
        Vector512<float> a0 = Vector512.Load(o), a1 = Vector512.Load(o + 16), a2 = Vector512.Load(o + 32), a3 = Vector512.Load(o + 48);
        Vector512<float> b0 = Vector512.Load(o1), b1 = Vector512.Load(o1 + 16), b2 = Vector512.Load(o1 + 32), b3 = Vector512.Load(o1 + 48);
        Vector512<float> c0 = Vector512.Load(o2), c1 = Vector512.Load(o2 + 16), c2 = Vector512.Load(o2 + 32), c3 = Vector512.Load(o2 + 48);
        Vector512<float> d0 = Vector512.Load(o3), d1 = Vector512.Load(o3 + 16), d2 = Vector512.Load(o3 + 32), d3 = Vector512.Load(o3 + 48);
        for (var l = 0; l < count; l++, row += width)
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
        }

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
