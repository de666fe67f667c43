using System.Numerics.Tensors;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>How a mixture of experts brings its experts' outputs together (DeepSeek-V3 report equation 12).</summary>
public static unsafe class WeightedSum
{
    /// <summary>output[t] += sum_k weights[t, k] * x[rows[t, k]], in rising k.</summary>
    /// <param name="x">Rows of <paramref name="width"/> values.</param>
    /// <param name="rows">[T, K]: rows of x.</param>
    /// <param name="weights">[T, K].</param>
    /// <param name="k">K.</param>
    /// <param name="width">D.</param>
    /// <param name="output">[T, D], added to.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Add(ReadOnlySpan<float> x, ReadOnlySpan<int> rows, ReadOnlySpan<float> weights, int k, int width, Span<float> output, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (rows.Length != weights.Length || k <= 0 || rows.Length % k != 0 || output.Length != (long)rows.Length / k * width)
            throw new ArgumentException($"{rows.Length} rows and {weights.Length} weights, {k} a token, do not fit an output of {output.Length} values in rows of {width}");
        foreach (var row in rows)
        {
            if (row < 0 || (row + 1L) * width > x.Length)
                throw new ArgumentException($"row {row} is outside x of {x.Length} values in rows of {width}");
        }

        fixed (float* px = x, w = weights, o = output)
        fixed (int* r = rows)
            threads.Run(rows.Length / k, 4, new Job(px, r, w, k, width, o));
    }

    private readonly struct Job(float* x, int* rows, float* weights, int k, int width, float* output) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var pair = start * k; pair < end * k; pair++)
            {
                var target = new Span<float>(output + ((long)pair / k * width), width);
                TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(x + ((long)rows[pair] * width), width), weights[pair], target, target);
            }
        }
    }
}
