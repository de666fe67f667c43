using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// One token times BF16, E4M3 or F32 weights, decoded in registers on their way from memory: the bits of <see cref="DotProduct.Dot"/> with the decoded row,
/// without writing the row anywhere. One sequential stream for each worker.
/// </summary>
internal static unsafe class DirectDot
{
    private const int PrefetchBytes = 8192;

    // 2^F8_E4M3.UnitExponent. Exact: a power of two, so the product with a scale and then with a code rounds once, as scale times value does. A constant: a
    // static field would be checked for in the loop, and the sums kept in memory around the check.
    private const float Unit = 1.329227995784916e36f;

    /// <summary>y[m] = W[m] . x for rows [start, end).</summary>
    /// <param name="weight">W [M, K], K a multiple of 64.</param>
    /// <param name="start">First row.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">[K].</param>
    /// <param name="y">[M].</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <returns>Whether the format is one of these.</returns>
    public static bool TryRows(WeightMatrix weight, int start, int end, float* x, float* y, KernelThreads threads, int worker)
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
                ScaledRows(weight, start, end, x, y, (float*)threads.Scratch(worker, (long)weight.Cols * sizeof(float)));
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
        for (var m = start; m < end; m += WeightMatrix.ScaleBlock)
        {
            if (!Fold(weight.RowScales(m)))
                return false;
        }

        // The last row may lie in a block that the steps passed over.
        return Fold(weight.RowScales(end - 1));

        static bool Fold(ReadOnlySpan<float> scales)
        {
            foreach (var scale in scales)
            {
                if (!(scale < 256))
                    return false;
            }

            return true;
        }
    }

    // Codes are taken apart as they lie in 32-bit lanes, each byte by shifts: running sum j holds in lane l what element 4l + j of each 64 adds up to. The
    // activations are laid out like that beforehand, and the sums are added in the order of DotProduct.Sum.
    private static void ScaledRows(WeightMatrix weight, int start, int end, float* x, float* y, float* work)
    {
        for (var k = 0; k < weight.Cols; k += DotProduct.Lanes)
        {
            for (var l = 0; l < 16; l++)
            {
                for (var j = 0; j < 4; j++)
                    work[k + (16 * j) + l] = x[k + (4 * l) + j];
            }
        }

        for (var m = start; m < end; m++)
        {
            var w = weight.Data + (m * weight.RowBytes);
            y[m] = ScaledRow(w, (float*)Unsafe.AsPointer(ref Unsafe.AsRef(in weight.RowScales(m)[0])), work, weight.Cols);
        }
    }

    private static float ScaledRow(byte* w, float* scales, float* x, int cols)
    {
        if (!Vector512.IsHardwareAccelerated)
            return NarrowScaledRow(w, scales, x, cols);
        Vector512<float> a = default, b = default, c = default, d = default;
        for (var stop = w + cols; w < stop; scales++)
        {
            var scale = Vector512.Create(*scales * Unit);
            for (var end = stop - w > WeightMatrix.ScaleBlock ? w + WeightMatrix.ScaleBlock : stop; w < end; w += DotProduct.Lanes, x += DotProduct.Lanes)
            {
                Prefetch(w, DotProduct.Lanes);
                var codes = Vector512.Load((int*)w);
                a = Vector512.FusedMultiplyAdd(F8_E4M3.Units(codes << 24) * scale, Vector512.Load(x), a);
                b = Vector512.FusedMultiplyAdd(F8_E4M3.Units(codes << 16) * scale, Vector512.Load(x + 16), b);
                c = Vector512.FusedMultiplyAdd(F8_E4M3.Units(codes << 8) * scale, Vector512.Load(x + 32), c);
                d = Vector512.FusedMultiplyAdd(F8_E4M3.Units(codes) * scale, Vector512.Load(x + 48), d);
            }
        }

        return (Sixteen(a.GetLower(), a.GetUpper()) + Sixteen(c.GetLower(), c.GetUpper())) + (Sixteen(b.GetLower(), b.GetUpper()) + Sixteen(d.GetLower(), d.GetUpper()));
    }

    // The same in halves. Left to the compiler, vectors of 512 bits become half as many instructions again.
    private static float NarrowScaledRow(byte* w, float* scales, float* x, int cols)
    {
        Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default, d0 = default, d1 = default;
        for (var stop = w + cols; w < stop; scales++)
        {
            var scale = Vector256.Create(*scales * Unit);
            for (var end = stop - w > WeightMatrix.ScaleBlock ? w + WeightMatrix.ScaleBlock : stop; w < end; w += DotProduct.Lanes, x += DotProduct.Lanes)
            {
                Prefetch(w, DotProduct.Lanes);
                var (low, high) = (Vector256.Load((int*)w), Vector256.Load((int*)w + 8));
                a0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low << 24) * scale, Vector256.Load(x), a0);
                a1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high << 24) * scale, Vector256.Load(x + 8), a1);
                b0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low << 16) * scale, Vector256.Load(x + 16), b0);
                b1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high << 16) * scale, Vector256.Load(x + 24), b1);
                c0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low << 8) * scale, Vector256.Load(x + 32), c0);
                c1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high << 8) * scale, Vector256.Load(x + 40), c1);
                d0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low) * scale, Vector256.Load(x + 48), d0);
                d1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high) * scale, Vector256.Load(x + 56), d1);
            }
        }

        return (Sixteen(a0, a1) + Sixteen(c0, c1)) + (Sixteen(b0, b1) + Sixteen(d0, d1));
    }

    // Elements 16 apart first, then 8, then 4.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Sixteen(Vector256<float> lower, Vector256<float> upper)
    {
        var s = (lower.GetLower() + lower.GetUpper()) + (upper.GetLower() + upper.GetUpper());
        return (s[0] + s[2]) + (s[1] + s[3]);
    }

    // Processors with vectors of 512 bits keep ahead of one stream by themselves, and are slowed down by being asked; docs/LOG.md.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* w, int bytes)
    {
        if (!Sse.IsSupported || Vector512.IsHardwareAccelerated)
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
