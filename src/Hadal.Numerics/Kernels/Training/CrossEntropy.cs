using System.Numerics.Tensors;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>Cross-entropy over a vocabulary, in place: logits become their own gradient.</summary>
public static unsafe class CrossEntropy
{
    /// <summary>
    /// losses[t] = log(sum exp(logits[t])) - logits[t, target], and, with a scale, gradient[t] = scale (softmax(logits[t]) - onehot(target)). Rows whose target
    /// is negative have loss 0 and gradient 0.
    /// </summary>
    /// <param name="logits">F32 [T, V]; overwritten by work values.</param>
    /// <param name="targets">[T].</param>
    /// <param name="losses">[T].</param>
    /// <param name="gradient">[T, V]: the logits themselves, or BF16 rows; empty when no gradient is wanted.</param>
    /// <param name="scale">What the sum of losses is multiplied with.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Apply(MatrixView logits, ReadOnlySpan<int> targets, Span<float> losses, MatrixView gradient, float scale, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (targets.Length != logits.Rows || losses.Length != logits.Rows || (!gradient.IsEmpty && (gradient.Rows != logits.Rows || gradient.Cols != logits.Cols)))
            throw new ArgumentException($"logits [{logits.Rows}, {logits.Cols}], {targets.Length} targets, {losses.Length} losses, gradient [{gradient.Rows}, {gradient.Cols}]");
        fixed (int* t = targets)
        fixed (float* l = losses)
            threads.Run(logits.Rows, 4, new Job(logits, t, l, gradient, scale));
    }

    // x = exp(x - max); the sum.
    private static float ExpInPlace(Span<float> x, float max)
    {
        var shift = Vector512.Create(max);
        Vector512<float> sum = default;
        var k = 0;
        for (; k <= x.Length - 16; k += 16)
        {
            var e = FastExp.Exp(Vector512.Create<float>(x.Slice(k, 16)) - shift);
            e.CopyTo(x[k..]);
            sum += e;
        }

        var tail = 0f;
        for (; k < x.Length; k++)
            tail += x[k] = MathF.Exp(x[k] - max);
        return DotProduct.Sum(sum, default, default, default) + tail;
    }

    private readonly struct Job(MatrixView logits, int* targets, float* losses, MatrixView gradient, float scale) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var t = start; t < end; t++)
            {
                var row = logits.Row(t);
                var target = targets[t];
                if (target < 0)
                {
                    losses[t] = 0;
                    row.Clear();
                }
                else
                {
                    var own = row[target];
                    var max = TensorPrimitives.Max<float>(row);
                    var sum = ExpInPlace(row, max);
                    losses[t] = (float)(Math.Log(sum) + max - own);
                    if (gradient.IsEmpty)
                        continue;
                    TensorPrimitives.Multiply(row, scale / sum, row);
                    row[target] -= scale;
                }

                if (gradient.IsEmpty || gradient.Data == logits.Data)
                    continue;
                RowKernels.CopyRow(WeightFormat.F32, (byte*)logits.Float(t), gradient.Format, gradient.RowPointer(t), row.Length);
                if (gradient.Format == WeightFormat.BF16 && gradient.Stride > gradient.Cols)
                    ((ushort*)gradient.RowPointer(t))[gradient.Cols] = 0;
            }
        }
    }
}
