using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// One token or a few times F32, F16, BF16 or E4M3 weights, decoded in registers on their way from memory: the bits of <see cref="DotProduct.Dot"/> with the decoded row,
/// E4M3 codes with activations that are scaled instead, without writing the row anywhere. One sequential stream for each worker, by assembled kernels where there are.
/// </summary>
internal static unsafe class DirectDot
{
    private const int PrefetchBytes = 8192;
    private const int TogetherBytes = 64 << 10;

    /// <summary>With how many tokens this is faster than decoding rows into memory first; measured, docs/LOG.md.</summary>
    public static int MostTokens(WeightFormat format)
    {
        var isAssembled = FloatRowKernels.Find(format) != null;
        return format switch
        {
            WeightFormat.F32 => isAssembled ? 4 : 6,
            WeightFormat.BF16 => isAssembled ? 8 : 6,
            WeightFormat.F16 => isAssembled ? 16 : 0,
            WeightFormat.F8_E4M3 => isAssembled ? 20 : 8,
            _ => 0,
        };
    }

    /// <summary>y[t, m] = W[m] . x[t] for rows [start, end), which have the same scales if any: codes are multiplied with scaled activations.</summary>
    /// <param name="weight">W [M, K], K a multiple of 64.</param>
    /// <param name="start">First row.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">[T, K], tokens <paramref name="xStride"/> apart.</param>
    /// <param name="xStride">Values from one token to the next.</param>
    /// <param name="y">[T, M], tokens <paramref name="yStride"/> apart.</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <returns>Whether this can be done with the format and these activations.</returns>
    public static bool TryRows(WeightMatrix weight, int start, int end, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        var kernel = FloatRowKernels.Find(weight.Format);
        if (weight.Format == WeightFormat.F8_E4M3 || (weight.Format == WeightFormat.BF16 && kernel != null))
        {
            var arranged = (float*)threads.Scratch(worker, (long)tokens * weight.Cols * sizeof(float));
            for (var t = 0; t < tokens; t++)
            {
                var (from, to) = ((nint)(x + ((long)t * xStride)), (nint)(arranged + ((long)t * weight.Cols)));
                if (weight.Format == WeightFormat.BF16)
                    ArrangedTokens.ForPairs((float*)from, weight.Cols, (float*)to);
                else if (!ArrangedTokens.TryForFours((float*)from, weight.Cols, weight.RowScales(start), (float*)to))
                    return false;
            }

            x = arranged;
            xStride = weight.Cols;
        }

        if (kernel != null && StreamHints.EveryLine)
            StreamHints.AskForStart(weight.Data + ((start + ((end - start) / 2)) * weight.RowBytes), RowStream.PairAhead);

        // Several tokens: rows that stay in the second cache while all of them pass.
        var together = tokens == 1 ? end - start : (int)Math.Max(2, TogetherBytes / weight.RowBytes / 2 * 2);
        for (int stop; start < end; start = stop)
        {
            stop = Math.Min(end, start + together);
            for (var t = 0; t < tokens; t++)
            {
                if (!TryOne(kernel, weight, start, stop, x + ((long)t * xStride), y + ((long)t * yStride)))
                    return false;
            }
        }

        return true;
    }

    private static bool TryOne(
        delegate* unmanaged[SuppressGCTransition]<byte*, float*, float*, RowStreamArguments*, void> kernel, WeightMatrix weight, int start, int end, float* x, float* y)
    {
        if (kernel != null)
        {
            Assembled(kernel, weight, start, end, x, y);
            return true;
        }

        switch (weight.Format)
        {
            case WeightFormat.F32:
                Rows<F32Values>(weight, start, end, x, y);
                return true;
            case WeightFormat.BF16:
                Rows<BF16Values>(weight, start, end, x, y);
                return true;
            case WeightFormat.F8_E4M3:
                for (var m = start; m < end; m++)
                    y[m] = CodesRow(weight.Data + (m * weight.RowBytes), x, weight.Cols);
                return true;
            default:
                return false;
        }
    }

    private static void Assembled(
        delegate* unmanaged[SuppressGCTransition]<byte*, float*, float*, RowStreamArguments*, void> kernel, WeightMatrix weight, int start, int end, float* x, float* y)
    {
        var arguments = new RowStreamArguments { Rows = end - start, RowStride = weight.RowBytes, Steps = weight.Cols / DotProduct.Lanes };
        kernel(weight.Data + (start * weight.RowBytes), x, y + start, &arguments);
    }

    private static void Rows<TValues>(WeightMatrix weight, int start, int end, float* x, float* y)
        where TValues : struct, IStoredValues
    {
        for (var m = start; m < end; m++)
        {
            var w = weight.Data + (m * weight.RowBytes);
            Vector512<float> a = default, b = default, c = default, d = default;
            for (var k = 0; k < weight.Cols; k += DotProduct.Lanes)
            {
                Prefetch(w, DotProduct.Lanes * TValues.ValueBytes);
                a = Vector512.FusedMultiplyAdd(TValues.Load(w, 0, 0), Vector512.Load(x + k), a);
                b = Vector512.FusedMultiplyAdd(TValues.Load(w, 16, 0), Vector512.Load(x + k + 16), b);
                c = Vector512.FusedMultiplyAdd(TValues.Load(w, 32, 0), Vector512.Load(x + k + 32), c);
                d = Vector512.FusedMultiplyAdd(TValues.Load(w, 48, 0), Vector512.Load(x + k + 48), d);
                w += DotProduct.Lanes * TValues.ValueBytes;
            }

            y[m] = DotProduct.Sum(a, b, c, d);
        }
    }

    // Codes are taken apart as they lie in 32-bit lanes, each byte by shifts: running sum j holds in lane l what element 4l + j of each 64 adds up to; in halves, since
    // vectors of 512 bits that the compiler has to cut become half as many instructions again. Sums are added in the order of DotProduct.Sum.
    private static float CodesRow(byte* w, float* x, int cols)
    {
        Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default, d0 = default, d1 = default;
        for (var end = w + cols; w < end; w += DotProduct.Lanes, x += DotProduct.Lanes)
        {
            Prefetch(w, DotProduct.Lanes);
            var (low, high) = (Vector256.Load((int*)w), Vector256.Load((int*)w + 8));
            a0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low << 24), Vector256.Load(x), a0);
            a1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high << 24), Vector256.Load(x + 8), a1);
            b0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low << 16), Vector256.Load(x + 16), b0);
            b1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high << 16), Vector256.Load(x + 24), b1);
            c0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low << 8), Vector256.Load(x + 32), c0);
            c1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high << 8), Vector256.Load(x + 40), c1);
            d0 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(low), Vector256.Load(x + 48), d0);
            d1 = Vector256.FusedMultiplyAdd(F8_E4M3.Units(high), Vector256.Load(x + 56), d1);
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
}
