using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Activations of one token as kernels read them that take several values out of each 32-bit lane of weights: of 64 values, vector i holds those that lie in the
/// lanes' i-th part.
/// </summary>
internal static unsafe class ArrangedTokens
{
    /// <summary>For E4M3 codes, the scaled activations have to be less than this.</summary>
    private const float Limit = 1 << (128 - F8_E4M3.UnitExponent);

    /// <summary>For pairs of 16-bit values: of each 32 values, the even ones, then the odd ones.</summary>
    /// <param name="x">[K], K a multiple of 64.</param>
    /// <param name="count">K.</param>
    /// <param name="target">[K].</param>
    public static void ForPairs(float* x, int count, float* target)
    {
        for (var k = 0; k < count; k += 32)
        {
            var (even, odd) = EvenOdd(Vector512.Load(x + k), Vector512.Load(x + k + 16));
            even.Store(target + k);
            odd.Store(target + k + 16);
        }
    }

    /// <summary>
    /// For four codes a lane: of each 64 values, every fourth one, from the first, second, third and fourth on, times the weights' scale, and 2^<see cref="F8_E4M3.UnitExponent"/>
    /// times as large, as <see cref="F8_E4M3.Units"/> are too small by.
    /// </summary>
    /// <param name="x">[K], K a multiple of 64.</param>
    /// <param name="count">K.</param>
    /// <param name="scales">The weights' scales, one for each 128 columns.</param>
    /// <param name="target">[K].</param>
    /// <returns>Whether none is too large for that (2^8 in size, or no number).</returns>
    public static bool TryForFours(float* x, int count, ReadOnlySpan<float> scales, float* target)
    {
        var isSmall = Vector512<float>.AllBitsSet;
        for (var k = 0; k < count; k += DotProduct.Lanes)
        {
            var scale = scales[k / WeightMatrix.ScaleBlock];
            if (!Avx512F.IsSupported)
            {
                if (!TryFours(x + k, scale, target + k))
                    return false;
                continue;
            }

            var (even, odd) = EvenOdd(Scaled(x + k, scale, ref isSmall), Scaled(x + k + 16, scale, ref isSmall));
            var (laterEven, laterOdd) = EvenOdd(Scaled(x + k + 32, scale, ref isSmall), Scaled(x + k + 48, scale, ref isSmall));
            var (x0, x2) = EvenOdd(even, laterEven);
            var (x1, x3) = EvenOdd(odd, laterOdd);
            x0.Store(target + k);
            x1.Store(target + k + 16);
            x2.Store(target + k + 32);
            x3.Store(target + k + 48);
        }

        return isSmall.AsInt32() == Vector512<int>.AllBitsSet;
    }

    // Eight values hold two of each vector, side by side there.
    private static bool TryFours(float* x, float scale, float* target)
    {
        var isSmall = Vector256<float>.AllBitsSet;
        for (var i = 0; i < DotProduct.Lanes / Vector256<float>.Count; i++)
        {
            var scaled = Vector256.Load(x + (i * Vector256<float>.Count)) * scale;
            isSmall &= Vector256.LessThan(Vector256.Abs(scaled), Vector256.Create(Limit));
            var pairs = Vector256.Shuffle(scaled * F8_E4M3.Rebias, Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7)).AsDouble();
            for (var j = 0; j < Vector256<double>.Count; j++)
                ((double*)(target + (16 * j)))[i] = pairs[j];
        }

        return isSmall.AsInt32() == Vector256<int>.AllBitsSet;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Scaled(float* x, float scale, ref Vector512<float> isSmall)
    {
        var scaled = Vector512.Load(x) * scale;
        isSmall &= Vector512.LessThan(Vector512.Abs(scaled), Vector512.Create(Limit));
        return scaled * F8_E4M3.Rebias;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector512<float> Even, Vector512<float> Odd) EvenOdd(Vector512<float> a, Vector512<float> b)
    {
        var even = Vector512.Create(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        return (Avx512F.PermuteVar16x32x2(a, even, b), Avx512F.PermuteVar16x32x2(a, even + Vector512<int>.One, b));
    }
}
