using System.Numerics.Tensors;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels;

/// <summary>Softmax that neither overflows nor depends on anything but its input.</summary>
public static class Softmax
{
    /// <summary>x = exp(x - max) / sum(exp(x - max)), in place. Infinite inputs of negative sign become 0; at least one must be finite.</summary>
    public static void InPlace(Span<float> x)
    {
        if (x.IsEmpty)
            return;
        var sum = ExpInPlace(x);
        TensorPrimitives.Divide(x, sum, x);
    }

    /// <summary>x = exp(x - max), in place; returns the sum, added in the order of <see cref="DotProduct"/>.</summary>
    internal static float ExpInPlace(Span<float> x)
    {
        TensorPrimitives.Subtract(x, TensorPrimitives.Max<float>(x), x);
        TensorPrimitives.Exp(x, x);
        return Sum(x);
    }

    /// <summary>The sum in the order of <see cref="DotProduct"/>.</summary>
    internal static float Sum(ReadOnlySpan<float> x)
    {
        Vector512<float> a = default, b = default, c = default, d = default;
        var k = 0;
        for (; k <= x.Length - DotProduct.Lanes; k += DotProduct.Lanes)
        {
            a += Vector512.Create(x.Slice(k, 16));
            b += Vector512.Create(x.Slice(k + 16, 16));
            c += Vector512.Create(x.Slice(k + 32, 16));
            d += Vector512.Create(x.Slice(k + 48, 16));
        }

        if (k < x.Length)
        {
            Span<float> tail = stackalloc float[DotProduct.Lanes];
            tail.Clear();
            x[k..].CopyTo(tail);
            a += Vector512.Create<float>(tail);
            b += Vector512.Create<float>(tail[16..]);
            c += Vector512.Create<float>(tail[32..]);
            d += Vector512.Create<float>(tail[48..]);
        }

        return DotProduct.Sum(a, b, c, d);
    }
}
