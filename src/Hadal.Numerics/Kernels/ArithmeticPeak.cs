using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>How fast all workers together multiply and add float32 values: the wall of attention over long contexts and of prefill in float32.</summary>
public static unsafe class ArithmeticPeak
{
    private const int Rounds = 400_000;
    private const int Chains = 12;

    private static int Lanes => Vector512.IsHardwareAccelerated ? Vector512<float>.Count : Vector<float>.Count;

    /// <summary>Runs fused multiply-adds that depend on nothing but registers, several times, and reports the fastest pass.</summary>
    /// <param name="threads">Workers to compute with.</param>
    /// <param name="passes">Times to compute.</param>
    /// <returns>Floating-point operations per second, two for each multiply-add.</returns>
    public static double Measure(KernelThreads threads, int passes = 5)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var sums = new float[threads.Count];
        var items = 4 * threads.Count;
        var best = 0.0;
        fixed (float* s = sums)
        {
            // Once more than counted: the first pass is compiled.
            for (var pass = 0; pass <= passes; pass++)
            {
                var start = Stopwatch.GetTimestamp();
                threads.Run(items, 1, new MultiplyJob(s));
                var rate = 2.0 * Lanes * Chains * Rounds * items / Stopwatch.GetElapsedTime(start).TotalSeconds;
                best = pass == 0 ? 0 : Math.Max(best, rate);
            }
        }

        return best;
    }

    private readonly struct MultiplyJob(float* sums) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
                sums[worker] += Vector512.IsHardwareAccelerated ? Wide() : Narrow();
        }

        // Optimised from the first call on, or much of the time would go by in code that is not.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float Wide()
        {
            var factor = Vector512.Create(0.999f);
            Vector512<float> a = factor, b = factor, c = factor, d = factor, e = factor, f = factor, g = factor, h = factor, i = factor, j = factor, k = factor, l = factor;
            for (var round = 0; round < Rounds; round++)
            {
                a = Vector512.FusedMultiplyAdd(a, factor, factor);
                b = Vector512.FusedMultiplyAdd(b, factor, factor);
                c = Vector512.FusedMultiplyAdd(c, factor, factor);
                d = Vector512.FusedMultiplyAdd(d, factor, factor);
                e = Vector512.FusedMultiplyAdd(e, factor, factor);
                f = Vector512.FusedMultiplyAdd(f, factor, factor);
                g = Vector512.FusedMultiplyAdd(g, factor, factor);
                h = Vector512.FusedMultiplyAdd(h, factor, factor);
                i = Vector512.FusedMultiplyAdd(i, factor, factor);
                j = Vector512.FusedMultiplyAdd(j, factor, factor);
                k = Vector512.FusedMultiplyAdd(k, factor, factor);
                l = Vector512.FusedMultiplyAdd(l, factor, factor);
            }

            return Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float Narrow()
        {
            var factor = Vector.Create(0.999f);
            Vector<float> a = factor, b = factor, c = factor, d = factor, e = factor, f = factor, g = factor, h = factor, i = factor, j = factor, k = factor, l = factor;
            for (var round = 0; round < Rounds; round++)
            {
                a = Vector.FusedMultiplyAdd(a, factor, factor);
                b = Vector.FusedMultiplyAdd(b, factor, factor);
                c = Vector.FusedMultiplyAdd(c, factor, factor);
                d = Vector.FusedMultiplyAdd(d, factor, factor);
                e = Vector.FusedMultiplyAdd(e, factor, factor);
                f = Vector.FusedMultiplyAdd(f, factor, factor);
                g = Vector.FusedMultiplyAdd(g, factor, factor);
                h = Vector.FusedMultiplyAdd(h, factor, factor);
                i = Vector.FusedMultiplyAdd(i, factor, factor);
                j = Vector.FusedMultiplyAdd(j, factor, factor);
                k = Vector.FusedMultiplyAdd(k, factor, factor);
                l = Vector.FusedMultiplyAdd(l, factor, factor);
            }

            return Vector.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }
    }
}
