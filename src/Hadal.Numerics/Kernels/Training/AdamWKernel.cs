using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>Factors of one AdamW step, the same for all values of a tensor.</summary>
/// <param name="Clip">What gradients are multiplied with first.</param>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Keep">1 - lr * weight decay.</param>
/// <param name="Rate">lr / (1 - beta1^s).</param>
/// <param name="RootScale">1 / sqrt(1 - beta2^s).</param>
/// <param name="Epsilon">Added to the root.</param>
public readonly record struct AdamWFactors(float Clip, float Beta1, float Beta2, float Keep, float Rate, float RootScale, float Epsilon);

/// <summary>AdamW on contiguous values, and sums of squares; each value on its own.</summary>
public static unsafe class AdamWKernel
{
    private const int Piece = 1 << 14;

    /// <summary>w = w keep - rate m / (sqrt(v) root scale + eps), after m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2 with g = clip * gradient.</summary>
    /// <param name="weights">F32 [n].</param>
    /// <param name="gradients">F32 [n].</param>
    /// <param name="firstMoments">[n], F32 or BF16.</param>
    /// <param name="secondMoments">[n], as the first.</param>
    /// <param name="moments">F32 or BF16; BF16 is rounded to nearest even.</param>
    /// <param name="factors">This step's.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Step(
        Span<float> weights, ReadOnlySpan<float> gradients, Span<byte> firstMoments, Span<byte> secondMoments, WeightFormat moments, AdamWFactors factors, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var bytes = weights.Length * (moments == WeightFormat.F32 ? 4L : 2L);
        if (gradients.Length != weights.Length || firstMoments.Length != bytes || secondMoments.Length != bytes)
            throw new ArgumentException($"{weights.Length} weights, {gradients.Length} gradients, {firstMoments.Length} and {secondMoments.Length} bytes of {moments} moments");
        fixed (float* w = weights, g = gradients)
        fixed (byte* m = firstMoments, v = secondMoments)
            threads.Run((weights.Length + Piece - 1) / Piece, 2, new StepJob(w, g, m, v, moments, weights.Length, factors));
    }

    /// <summary>Sum of squares in double precision, in pieces of fixed length added in order.</summary>
    /// <param name="values">[n].</param>
    /// <param name="pieces">Scratch of at least n / 16384 + 1.</param>
    /// <param name="threads">Pool to run on.</param>
    public static double SumOfSquares(ReadOnlySpan<float> values, Span<double> pieces, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var count = (values.Length + Piece - 1) / Piece;
        if (pieces.Length < count)
            throw new ArgumentException($"{pieces.Length} pieces for {values.Length} values");
        fixed (float* v = values)
        fixed (double* p = pieces)
            threads.Run(count, 2, new SquareJob(v, values.Length, p));
        var sum = 0.0;
        for (var i = 0; i < count; i++)
            sum += pieces[i];
        return sum;
    }

    private readonly struct SquareJob(float* values, int count, double* pieces) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var piece = start; piece < end; piece++)
            {
                var k = piece * Piece;
                var last = Math.Min(k + Piece, count);
                Vector512<double> a = default, b = default;
                for (; k <= last - 16; k += 16)
                {
                    var (low, high) = Vector512.Widen(Vector512.Load(values + k));
                    a += low * low;
                    b += high * high;
                }

                var sum = Vector512.Sum(a + b);
                for (; k < last; k++)
                    sum += (double)values[k] * values[k];
                pieces[piece] = sum;
            }
        }
    }

    private readonly struct StepJob(float* weights, float* gradients, byte* first, byte* second, WeightFormat format, int count, AdamWFactors f) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var last = (int)Math.Min((long)end * Piece, count);
            var k = start * Piece;
            var tail = stackalloc float[64];
            for (; k < last; k += 16)
            {
                if (last - k >= 16 && format == WeightFormat.F32)
                {
                    Update(weights + k, gradients + k, (float*)first + k, (float*)second + k);
                    continue;
                }

                // Through a whole vector: BF16 moments, or the end.
                var n = Math.Min(16, last - k);
                new Span<float>(tail, 64).Clear();
                new ReadOnlySpan<float>(weights + k, n).CopyTo(new Span<float>(tail, n));
                new ReadOnlySpan<float>(gradients + k, n).CopyTo(new Span<float>(tail + 16, n));
                var size = format == WeightFormat.F32 ? 4 : 2;
                RowKernels.CopyRow(format, first + ((long)k * size), WeightFormat.F32, (byte*)(tail + 32), n);
                RowKernels.CopyRow(format, second + ((long)k * size), WeightFormat.F32, (byte*)(tail + 48), n);
                Update(tail, tail + 16, tail + 32, tail + 48);
                new ReadOnlySpan<float>(tail, n).CopyTo(new Span<float>(weights + k, n));
                RowKernels.CopyRow(WeightFormat.F32, (byte*)(tail + 32), format, first + ((long)k * size), n);
                RowKernels.CopyRow(WeightFormat.F32, (byte*)(tail + 48), format, second + ((long)k * size), n);
            }
        }

        private void Update(float* weight, float* gradient, float* firstMoment, float* secondMoment)
        {
            var g = Vector512.Load(gradient) * f.Clip;
            var m = (Vector512.Load(firstMoment) * f.Beta1) + (g * (1 - f.Beta1));
            var v = (Vector512.Load(secondMoment) * f.Beta2) + (g * g * (1 - f.Beta2));
            m.Store(firstMoment);
            v.Store(secondMoment);
            var step = m * f.Rate / ((Vector512.Sqrt(v) * f.RootScale) + Vector512.Create(f.Epsilon));
            ((Vector512.Load(weight) * f.Keep) - step).Store(weight);
        }
    }
}
