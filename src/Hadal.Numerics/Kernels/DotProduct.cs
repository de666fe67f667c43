using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// The one order in which float32 products are summed. Every matrix kernel gives, for each output, the bits of <see cref="Dot"/>: so a result depends
/// neither on the number of tokens in a batch nor on threads, tiling or the width of the machine's vectors.
/// </summary>
/// <remarks>
/// Element k goes, by fused multiply-add and in rising k, to lane k mod 64 of 64 running sums. The sums are then added as
/// (a + b) + (c + d) of their four groups of 16, and the 16 lanes of that by halves: 8, 4, 2, 1. Missing elements at the end count as zero.
/// </remarks>
public static class DotProduct
{
    /// <summary>Running sums; a panel padded with zeros to a multiple of this gives the same bits as one that is not.</summary>
    internal const int Lanes = 64;

    /// <summary>sum of x[k] * y[k] in the canonical order.</summary>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static float Dot(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        if (x.Length != y.Length)
            throw new ArgumentException($"vectors of {x.Length} and {y.Length} values");
        Vector512<float> a = default, b = default, c = default, d = default;
        var k = 0;
        for (; k <= x.Length - Lanes; k += Lanes)
        {
            a = Vector512.FusedMultiplyAdd(Vector512.Create(x.Slice(k, 16)), Vector512.Create(y.Slice(k, 16)), a);
            b = Vector512.FusedMultiplyAdd(Vector512.Create(x.Slice(k + 16, 16)), Vector512.Create(y.Slice(k + 16, 16)), b);
            c = Vector512.FusedMultiplyAdd(Vector512.Create(x.Slice(k + 32, 16)), Vector512.Create(y.Slice(k + 32, 16)), c);
            d = Vector512.FusedMultiplyAdd(Vector512.Create(x.Slice(k + 48, 16)), Vector512.Create(y.Slice(k + 48, 16)), d);
        }

        if (k < x.Length)
        {
            Span<float> xTail = stackalloc float[Lanes], yTail = stackalloc float[Lanes];
            xTail.Clear();
            yTail.Clear();
            x[k..].CopyTo(xTail);
            y[k..].CopyTo(yTail);
            a = Vector512.FusedMultiplyAdd(Vector512.Create<float>(xTail), Vector512.Create<float>(yTail), a);
            b = Vector512.FusedMultiplyAdd(Vector512.Create<float>(xTail[16..]), Vector512.Create<float>(yTail[16..]), b);
            c = Vector512.FusedMultiplyAdd(Vector512.Create<float>(xTail[32..]), Vector512.Create<float>(yTail[32..]), c);
            d = Vector512.FusedMultiplyAdd(Vector512.Create<float>(xTail[48..]), Vector512.Create<float>(yTail[48..]), d);
        }

        return Sum(a, b, c, d);
    }

    /// <summary>The canonical order in plain loops: the specification of <see cref="Dot"/>.</summary>
    public static float DotReference(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        var lanes = new float[Lanes];
        for (var k = 0; k < (x.Length + Lanes - 1) / Lanes * Lanes; k++)
            lanes[k % Lanes] = MathF.FusedMultiplyAdd(k < x.Length ? x[k] : 0, k < x.Length ? y[k] : 0, lanes[k % Lanes]);
        var sums = new float[16];
        for (var i = 0; i < 16; i++)
            sums[i] = (lanes[i] + lanes[i + 16]) + (lanes[i + 32] + lanes[i + 48]);
        for (var width = 8; width >= 1; width /= 2)
        {
            for (var i = 0; i < width; i++)
                sums[i] += sums[i + width];
        }

        return sums[0];
    }

    /// <summary>Adds up 64 running sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Sum(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        var s = (a + b) + (c + d);
        var s8 = s.GetLower() + s.GetUpper();
        var s4 = s8.GetLower() + s8.GetUpper();
        return (s4[0] + s4[2]) + (s4[1] + s4[3]);
    }
}
