using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// One token times BF16, E4M3 or F32 weights, decoded in registers on their way from memory: the bits of <see cref="DotProduct.Dot"/> with the decoded row,
/// without writing the row anywhere. One sequential stream for each worker.
/// </summary>
internal static unsafe class DirectDot
{
    private const int PrefetchBytes = 4096;

    // Exact: a power of two, so the product with a scale and then with a code rounds once, as scale times value does.
    private static readonly float Unit = MathF.ScaleB(1, F8_E4M3.UnitExponent);

    /// <summary>y[m] = W[m] . x for rows [start, end).</summary>
    /// <param name="weight">W [M, K], K a multiple of 64.</param>
    /// <param name="start">First row.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">[K].</param>
    /// <param name="y">[M].</param>
    /// <returns>Whether the format is one of these.</returns>
    public static bool TryRows(WeightMatrix weight, int start, int end, float* x, float* y)
    {
        switch (weight.Format)
        {
            case WeightFormat.F32:
                Rows<F32Loader>(weight, start, end, x, y);
                return true;
            case WeightFormat.BF16:
                Rows<BF16Loader>(weight, start, end, x, y);
                return true;
            case WeightFormat.F8_E4M3 when ScalesFold(weight, start, end):
                ScaledRows(weight, start, end, x, y);
                return true;
            default:
                return false;
        }
    }

    private static void Rows<TLoader>(WeightMatrix weight, int start, int end, float* x, float* y)
        where TLoader : struct, ILoader
    {
        for (var m = start; m < end; m++)
        {
            var w = weight.Data + (m * weight.RowBytes);
            Vector512<float> a = default, b = default, c = default, d = default;
            for (var k = 0; k < weight.Cols; k += DotProduct.Lanes)
            {
                Prefetch(w, DotProduct.Lanes * TLoader.Bytes);
                a = Vector512.FusedMultiplyAdd(TLoader.Load(w), Vector512.Load(x + k), a);
                b = Vector512.FusedMultiplyAdd(TLoader.Load(w + (16 * TLoader.Bytes)), Vector512.Load(x + k + 16), b);
                c = Vector512.FusedMultiplyAdd(TLoader.Load(w + (32 * TLoader.Bytes)), Vector512.Load(x + k + 32), c);
                d = Vector512.FusedMultiplyAdd(TLoader.Load(w + (48 * TLoader.Bytes)), Vector512.Load(x + k + 48), d);
                w += DotProduct.Lanes * TLoader.Bytes;
            }

            y[m] = DotProduct.Sum(a, b, c, d);
        }
    }

    // The exponent that decoding leaves out goes into the scale, which has to have room for it; scales of real models are far below.
    private static bool ScalesFold(WeightMatrix weight, int start, int end)
    {
        for (var m = start; m < end; m++)
        {
            foreach (var scale in weight.RowScales(m))
            {
                if (!(scale < 256))
                    return false;
            }
        }

        return true;
    }

    private static void ScaledRows(WeightMatrix weight, int start, int end, float* x, float* y)
    {
        for (var m = start; m < end; m++)
        {
            var w = weight.Data + (m * weight.RowBytes);
            var scales = weight.RowScales(m);
            Vector512<float> a = default, b = default, c = default, d = default;
            for (var k = 0; k < weight.Cols; k += DotProduct.Lanes)
            {
                Prefetch(w, DotProduct.Lanes);
                var scale = Vector512.Create(scales[k / WeightMatrix.ScaleBlock] * Unit);
                a = Vector512.FusedMultiplyAdd(F8_E4M3.LoadUnits16(w) * scale, Vector512.Load(x + k), a);
                b = Vector512.FusedMultiplyAdd(F8_E4M3.LoadUnits16(w + 16) * scale, Vector512.Load(x + k + 16), b);
                c = Vector512.FusedMultiplyAdd(F8_E4M3.LoadUnits16(w + 32) * scale, Vector512.Load(x + k + 32), c);
                d = Vector512.FusedMultiplyAdd(F8_E4M3.LoadUnits16(w + 48) * scale, Vector512.Load(x + k + 48), d);
                w += DotProduct.Lanes;
            }

            y[m] = DotProduct.Sum(a, b, c, d);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* w, int bytes)
    {
        if (!Sse.IsSupported)
            return;
        for (var line = 0; line < bytes; line += 64)
            Sse.Prefetch0(w + PrefetchBytes + line);
    }

    private interface ILoader
    {
        static abstract int Bytes { get; }

        static abstract Vector512<float> Load(byte* w);
    }

    private struct F32Loader : ILoader
    {
        public static int Bytes => sizeof(float);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Load(byte* w) => Vector512.Load((float*)w);
    }

    private struct BF16Loader : ILoader
    {
        public static int Bytes => sizeof(ushort);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Load(byte* w) => BF16.Load16(w);
    }
}
