using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Products of FP8 activations with FP8 weights (W8A8): y[t, m] = sum_b (sum_{k in b} a[t, k] w[m, k]) * sa[t, b] * sw[m / 128, b] with blocks b of 128
/// columns. The inner sums are those of <see cref="DotProduct"/> (e4m3 x e4m3 products are exact in float32); blocks are added in rising order.
/// Source: <c>fp8_gemm</c> of deepseek-ai/DeepSeek-V3 inference/kernel.py; DeepSeek-V3 report section 3.3.2.
/// </summary>
public static unsafe class Fp8MatMul
{
    /// <summary>Multiplies quantised activations with an E4M3 matrix.</summary>
    /// <param name="weight">W [M, K], stored as <see cref="WeightFormat.F8_E4M3"/>.</param>
    /// <param name="codes">Activations [T, K] as the float32 values of their E4M3 codes, without scale.</param>
    /// <param name="scales">Activation scales [T, ceil(K/128)].</param>
    /// <param name="y">[T, M], overwritten.</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The weight is not E4M3, or the lengths do not fit the shapes.</exception>
    public static void Multiply(WeightMatrix weight, ReadOnlySpan<float> codes, ReadOnlySpan<float> scales, Span<float> y, int tokens, KernelThreads threads)
    {
        CheckFormat(weight);
        if (tokens <= 0 || codes.Length != (long)tokens * weight.Cols || scales.Length != (long)tokens * weight.ScaleColumns || y.Length != (long)tokens * weight.Rows)
            throw new ArgumentException($"{tokens} tokens x W [{weight.Rows}, {weight.Cols}] with {weight.ScaleColumns} scale blocks do not fit {codes.Length} codes, {scales.Length} scales, {y.Length} outputs");
        fixed (float* pc = codes, ps = scales, py = y)
            threads.Run(weight.Rows, 8, new RowsJob(weight, pc, weight.Cols, ps, weight.ScaleColumns, py, weight.Rows, tokens, threads));
    }

    /// <summary>As <see cref="Multiply"/> on the calling worker alone, strided, for use inside a job.</summary>
    /// <param name="weight">W [M, K], stored as <see cref="WeightFormat.F8_E4M3"/>.</param>
    /// <param name="codes">[T, K] values of codes, rows <paramref name="codeStride"/> apart.</param>
    /// <param name="codeStride">Values from one token's codes to the next.</param>
    /// <param name="scales">[T, ceil(K/128)], rows <paramref name="scaleStride"/> apart.</param>
    /// <param name="scaleStride">Values from one token's scales to the next.</param>
    /// <param name="y">[T, M], rows <paramref name="yStride"/> apart.</param>
    /// <param name="yStride">Values from one token's output to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <exception cref="ArgumentException">The weight is not E4M3.</exception>
    public static void MultiplyOnWorker(WeightMatrix weight, float* codes, int codeStride, float* scales, int scaleStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        CheckFormat(weight);
        new RowsJob(weight, codes, codeStride, scales, scaleStride, y, yStride, tokens, threads).Invoke(0, weight.Rows, worker);
    }

    private static void CheckFormat(WeightMatrix weight)
    {
        if (weight.Format != WeightFormat.F8_E4M3)
            throw new ArgumentException($"W8A8 needs F8_E4M3 weights, but they are {weight.Format}");
    }

    private readonly struct RowsJob(WeightMatrix weight, float* codes, int codeStride, float* scales, int scaleStride, float* y, int yStride, int tokens, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var cols = weight.Cols;
            var row = new Span<float>((float*)threads.Scratch(worker, (long)cols * sizeof(float)), cols);
            for (var m = start; m < end; m++)
            {
                WeightFormats.Decode(WeightFormat.F8_E4M3, weight.Row(m), row);
                var rowScales = weight.RowScales(m);
                for (var t = 0; t < tokens; t++)
                {
                    var a = new ReadOnlySpan<float>(codes + ((long)t * codeStride), cols);
                    var sum = 0f;
                    for (var b = 0; b < rowScales.Length; b++)
                    {
                        var k = b * WeightMatrix.ScaleBlock;
                        var length = Math.Min(WeightMatrix.ScaleBlock, cols - k);
                        sum += DotProduct.Dot(a.Slice(k, length), row.Slice(k, length)) * scales[((long)t * scaleStride) + b] * rowScales[b];
                    }

                    y[((long)t * yStride) + m] = sum;
                }
            }
        }
    }
}
