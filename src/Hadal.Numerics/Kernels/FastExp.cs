using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// exp of sixteen values to about two units in the last place: x = n ln 2 + r, a polynomial of degree 6 in r (the coefficients of Cephes' expf),
/// and 2^n by way of the exponent. Arguments are held between -87 and 88, so that the result is a normal number; a NaN stays one.
/// </summary>
internal static class FastExp
{
    /// <summary>exp(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp(Vector512<float> x)
    {
        // The bound first: of a NaN and a number these give the second operand.
        x = Vector512.MinNative(Vector512.Create(88f), x);
        x = Vector512.MaxNative(Vector512.Create(-87f), x);
        var n = Vector512.Round(x * Vector512.Create(1.44269504f));
        var r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), r);
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(1.9875691500e-4f), r, Vector512.Create(1.3981999507e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(8.3334519073e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(4.1665795894e-2f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.6666665459e-1f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(5.0000001201e-1f));
        p = Vector512.FusedMultiplyAdd(p, r * r, r) + Vector512<float>.One;
        return (p.AsInt32() + (Vector512.ConvertToInt32Native(n) << 23)).AsSingle();
    }
}
