using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Threading;

namespace Hadal.Training.Runs;

/// <summary>What a machine can compute: utilisation is relative to it.</summary>
internal static class PeakFlops
{
    /// <summary>
    /// Float32 operations a second that fused multiply-adds in registers reach on all threads, measured in about 20 ms. Processors that multiply bfloat16 faster can go beyond.
    /// </summary>
    public static double Measure(KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var sums = new float[threads.Count];
        var best = 0.0;
        for (var round = 0; round < 5; round++)
        {
            var start = TimeProvider.System.GetTimestamp();
            threads.Run(threads.Count, 1, new Multiply(sums));
            best = Math.Max(best, threads.Count * Multiply.Operations / TimeProvider.System.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    private readonly struct Multiply(float[] sums) : IKernelJob
    {
        private const int Rounds = 1_000_000;

        // Eight sums of 16 lanes, each added to and multiplied.
        public const double Operations = 2.0 * 8 * 16 * Rounds;

        public void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
                sums[item] = One(item);
        }

        // Optimised from the first call on, or most of the time would go by in code that is not.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float One(int item)
        {
            var factor = Vector512.Create(1 - (1e-7f * item));
            Vector512<float> a = factor, b = factor, c = factor, d = factor, e = factor, f = factor, g = factor, h = factor;
            for (var i = 0; i < Rounds; i++)
            {
                a = Vector512.FusedMultiplyAdd(a, factor, factor);
                b = Vector512.FusedMultiplyAdd(b, factor, factor);
                c = Vector512.FusedMultiplyAdd(c, factor, factor);
                d = Vector512.FusedMultiplyAdd(d, factor, factor);
                e = Vector512.FusedMultiplyAdd(e, factor, factor);
                f = Vector512.FusedMultiplyAdd(f, factor, factor);
                g = Vector512.FusedMultiplyAdd(g, factor, factor);
                h = Vector512.FusedMultiplyAdd(h, factor, factor);
            }

            return Vector512.Sum(a + b + c + d + e + f + g + h);
        }
    }
}
