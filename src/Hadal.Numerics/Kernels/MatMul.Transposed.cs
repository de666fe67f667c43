using System.Runtime.Intrinsics;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <content>Products with the transposed matrix: a few rows at a time are decoded into the first-level cache, and results stay in registers while they pass.</content>
public static unsafe partial class MatMul
{
    // Rows decoded at once; fewer where they are so wide that they would be more than so many values.
    private const int TransposedRows = 8;
    private const int PanelValues = 1 << 20;

    /// <summary>y[t, k] = sum_m x[t, m] W[m, k], summed in rising m by fused multiply-add; on the calling worker alone.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="x">[T, M], rows <paramref name="xStride"/> apart.</param>
    /// <param name="xStride">Values from one token's input to the next.</param>
    /// <param name="y">[T, K], rows <paramref name="yStride"/> apart, overwritten.</param>
    /// <param name="yStride">Values from one token's output to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    public static void MultiplyTransposedOnWorker(WeightMatrix weight, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        var cols = weight.Cols;
        var rowsAtOnce = Math.Clamp(PanelValues / cols, 1, TransposedRows);
        var panel = (float*)threads.Scratch(worker, (long)rowsAtOnce * cols * sizeof(float));
        for (var m = 0; m < weight.Rows; m += rowsAtOnce)
        {
            var rows = Math.Min(rowsAtOnce, weight.Rows - m);
            weight.DecodeRows(m, rows, new Span<float>(panel, rows * cols));
            for (var t = 0; t < tokens; t++)
                AddRows(panel, rows, cols, x + ((long)t * xStride) + m, y + ((long)t * yStride), isFirst: m == 0);
        }
    }

    // y[k] += sum_r x[r] row[r][k] in rising r; the first rows find y as if it were 0.
    private static void AddRows(float* rows, int count, int cols, float* x, float* y, bool isFirst)
    {
        var k = 0;
        for (; k <= cols - 64; k += 64)
        {
            Vector512<float> a = default, b = default, c = default, d = default;
            if (!isFirst)
                (a, b, c, d) = (Vector512.Load(y + k), Vector512.Load(y + k + 16), Vector512.Load(y + k + 32), Vector512.Load(y + k + 48));
            var row = rows + k;
            for (var r = 0; r < count; r++, row += cols)
            {
                var factor = Vector512.Create(x[r]);
                a = Vector512.FusedMultiplyAdd(Vector512.Load(row), factor, a);
                b = Vector512.FusedMultiplyAdd(Vector512.Load(row + 16), factor, b);
                c = Vector512.FusedMultiplyAdd(Vector512.Load(row + 32), factor, c);
                d = Vector512.FusedMultiplyAdd(Vector512.Load(row + 48), factor, d);
            }

            a.Store(y + k);
            b.Store(y + k + 16);
            c.Store(y + k + 32);
            d.Store(y + k + 48);
        }

        for (; k < cols; k++)
        {
            var sum = isFirst ? 0 : y[k];
            for (var r = 0; r < count; r++)
                sum = MathF.FusedMultiplyAdd(rows[((long)r * cols) + k], x[r], sum);
            y[k] = sum;
        }
    }
}
