using System.Numerics.Tensors;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>
/// RMSNorm y = x r w with r = 1 / sqrt(mean(x^2) + eps), and its gradient: with g = dy w and n = x r, dx = r (g - n mean(g n)), dw = sum over rows of dy n.
/// </summary>
public static unsafe class RmsNormTraining
{
    /// <summary>Rows whose dw are summed first; the sums of such pieces are then added in order.</summary>
    public const int Piece = 64;

    /// <summary>Normalises rows with the bits of <see cref="RmsNorm.Apply"/>.</summary>
    /// <param name="x">F32 [T, D].</param>
    /// <param name="weight">F32 [1, D].</param>
    /// <param name="y">[T, D], rounded where it is BF16.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Forward(MatrixView x, MatrixView weight, MatrixView y, double epsilon, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (y.Rows != x.Rows || y.Cols != x.Cols || weight.Cols != x.Cols)
            throw new ArgumentException($"x [{x.Rows}, {x.Cols}], weight [{weight.Cols}], y [{y.Rows}, {y.Cols}]");
        threads.Run(x.Rows, 16, new ForwardJob(x, weight, y, epsilon, threads));
    }

    /// <summary>Adds to dw; writes dx, or adds to it.</summary>
    /// <param name="dy">F32 [T, D].</param>
    /// <param name="x">F32 [T, D], the input of the forward pass.</param>
    /// <param name="weight">F32 [1, D].</param>
    /// <param name="dx">[T, D]; rounded where it is BF16, which cannot be added to. May be <paramref name="dy"/> unless added to.</param>
    /// <param name="accumulate">Whether dx is added to.</param>
    /// <param name="dweight">F32 [1, D], added to.</param>
    /// <param name="partial">F32 [ceil(T / <see cref="Piece"/>), D], scratch.</param>
    /// <param name="epsilon">As in the forward pass.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Backward(
        MatrixView dy, MatrixView x, MatrixView weight, MatrixView dx, bool accumulate, MatrixView dweight, MatrixView partial, double epsilon, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var pieces = (x.Rows + Piece - 1) / Piece;
        if (dy.Rows != x.Rows || dx.Rows != x.Rows || dy.Cols != x.Cols || dx.Cols != x.Cols || weight.Cols != x.Cols || dweight.Cols != x.Cols || partial.Rows < pieces || partial.Cols != x.Cols)
            throw new ArgumentException($"dy [{dy.Rows}, {dy.Cols}], x [{x.Rows}, {x.Cols}], dx [{dx.Rows}, {dx.Cols}], partial [{partial.Rows}, {partial.Cols}]");
        threads.Run(pieces, 1, new BackwardJob(dy, x, weight, dx, accumulate, partial, epsilon, threads));
        for (var piece = 0; piece < pieces; piece++)
            TensorPrimitives.Add(dweight.Row(0), partial.Row(piece), dweight.Row(0));
    }

    private static float Inverse(ReadOnlySpan<float> row, double epsilon) =>
        (float)(1 / Math.Sqrt((DotProduct.Dot(row, row) / (double)row.Length) + epsilon));

    private readonly struct ForwardJob(MatrixView x, MatrixView weight, MatrixView y, double epsilon, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var scratch = new Span<float>(threads.Scratch(worker, x.Cols * 4L), x.Cols);
            for (var t = start; t < end; t++)
            {
                var row = x.Row(t);
                var target = y.Format == WeightFormat.F32 ? y.Row(t) : scratch;
                TensorPrimitives.Multiply(row, Inverse(row, epsilon), target);
                TensorPrimitives.Multiply(target, weight.Row(0), target);
                if (y.Format == WeightFormat.BF16)
                    BF16.Encode(target, new Span<byte>(y.RowPointer(t), x.Cols * 2));
            }
        }
    }

    private readonly struct BackwardJob(
        MatrixView dy, MatrixView x, MatrixView weight, MatrixView dx, bool accumulate, MatrixView partial, double epsilon, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var width = x.Cols;
            var scratch = threads.Scratch(worker, width * 8L);
            Span<float> g = new(scratch, width), n = new(scratch + (width * 4L), width);
            for (var piece = start; piece < end; piece++)
            {
                var dw = partial.Row(piece);
                dw.Clear();
                for (var t = piece * Piece; t < Math.Min((piece + 1) * Piece, x.Rows); t++)
                {
                    var row = x.Row(t);
                    var r = Inverse(row, epsilon);
                    TensorPrimitives.Multiply(row, r, n);
                    TensorPrimitives.MultiplyAdd(dy.Row(t), n, dw, dw);
                    TensorPrimitives.Multiply(dy.Row(t), weight.Row(0), g);
                    var mean = DotProduct.Dot(g, n) / width;

                    // r (g - n mean), by way of n: it is not needed afterwards.
                    TensorPrimitives.Multiply(n, -mean, n);
                    TensorPrimitives.Add(n, g, n);
                    if (accumulate)
                    {
                        TensorPrimitives.MultiplyAdd(n, r, dx.Row(t), dx.Row(t));
                        continue;
                    }

                    TensorPrimitives.Multiply(n, r, n);
                    RowKernels.CopyRow(WeightFormat.F32, scratch + (width * 4L), dx.Format, dx.RowPointer(t), width);
                }
            }
        }
    }
}
