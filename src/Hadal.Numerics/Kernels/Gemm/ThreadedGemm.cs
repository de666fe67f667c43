using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>Whole products on a pool of threads, cut into blocks for <see cref="BlockGemm"/>; the cut does not show in the result.</summary>
public static class ThreadedGemm
{
    /// <summary>Rows that a job multiplies at once: with K of a few hundred they stay in the L2 cache.</summary>
    public const int RowBlock = 96;

    private const int ColumnBlock = 512;

    // Twelve tiles: with the steps of a piece they stay in the L2 cache beside the columns.
    private const int GradientRows = 144;

    /// <summary>C (+)= A B.</summary>
    /// <param name="a">[M, K] in B's format.</param>
    /// <param name="b">[K, N].</param>
    /// <param name="c">[M, N], F32.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <param name="accumulate">Whether to add to C rather than overwrite it.</param>
    public static void Multiply(MatrixView a, PackedMatrix b, MatrixView c, KernelThreads threads, bool accumulate = false)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var columnBlocks = (b.Columns + ColumnBlock - 1) / ColumnBlock;
        threads.Run((a.Rows + RowBlock - 1) / RowBlock * columnBlocks, 1, new MultiplyJob(a, b, c, columnBlocks, accumulate));
    }

    /// <summary>B[k, n] = source[n, k].</summary>
    /// <param name="b">What to fill.</param>
    /// <param name="source">[N, K].</param>
    /// <param name="threads">Pool to run on.</param>
    public static void PackTransposed(PackedMatrix b, MatrixView source, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        threads.Run(b.Panels, 1, new PackJob(b, source, true));
    }

    /// <summary>B[k, n] = source[k, n].</summary>
    /// <param name="b">What to fill.</param>
    /// <param name="source">[K, N].</param>
    /// <param name="threads">Pool to run on.</param>
    public static void PackRows(PackedMatrix b, MatrixView source, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        threads.Run(b.Panels, 1, new PackJob(b, source, false));
    }

    /// <summary>dW += dy^T x.</summary>
    /// <param name="dy">[T, N].</param>
    /// <param name="x">[T, K] in the same format.</param>
    /// <param name="dw">[N, K], F32.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void AddWeightGradient(MatrixView dy, MatrixView x, MatrixView dw, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        threads.Run(GradientBlocks(dw), 1, new GradientJob(dy, x, dw, threads));
    }

    /// <summary>Independent pieces that a weight gradient is cut into.</summary>
    public static int GradientBlocks(MatrixView dw) => RowBlocks(dw) * ((dw.Cols + ColumnBlock - 1) / ColumnBlock);

    /// <summary>One piece of <c>dW += dy^T x</c> over chosen rows, on the calling worker.</summary>
    /// <param name="block">Which piece of <see cref="GradientBlocks"/>.</param>
    /// <param name="dy">[rows, N].</param>
    /// <param name="dyRows">Which rows of dy; empty for all.</param>
    /// <param name="x">[rows, K] in the same format.</param>
    /// <param name="xRows">Which rows of x; empty for all.</param>
    /// <param name="dw">[N, K], F32.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    public static void AddWeightGradientBlock(
        int block, MatrixView dy, ReadOnlySpan<int> dyRows, MatrixView x, ReadOnlySpan<int> xRows, MatrixView dw, KernelThreads threads, int worker)
    {
        var columnBlocks = (dw.Cols + ColumnBlock - 1) / ColumnBlock;
        var each = ((dw.Rows + RowBlocks(dw) - 1) / RowBlocks(dw)) + GemmTile.Rows - 1;
        each -= each % GemmTile.Rows;
        var (row, column) = (block / columnBlocks * each, block % columnBlocks * ColumnBlock);
        var (rows, columns) = (Math.Clamp(dw.Rows - row, 0, each), Math.Min(ColumnBlock, dw.Cols - column));
        if (rows == 0)
            return;
        BlockGemm.AddWeightGradient(
            dy.SliceColumns(row, rows), dyRows, x.SliceColumns(column, columns), xRows, dw.SliceRows(row, rows).SliceColumns(column, columns), threads, worker);
    }

    // An even number where there is more than one, so that two workers have as many.
    private static int RowBlocks(MatrixView dw)
    {
        var blocks = (dw.Rows + GradientRows - 1) / GradientRows;
        return blocks == 1 ? 1 : blocks + (blocks % 2);
    }

    private readonly struct MultiplyJob(MatrixView a, PackedMatrix b, MatrixView c, int columnBlocks, bool accumulate) : IKernelJob
    {
        public unsafe void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
            {
                var row = item / columnBlocks * RowBlock;
                var rows = Math.Min(RowBlock, a.Rows - row);
                if (columnBlocks == 1)
                {
                    BlockGemm.Multiply(a.SliceRows(row, rows), b, c.SliceRows(row, rows), accumulate);
                    continue;
                }

                var panel = item % columnBlocks * (ColumnBlock / PackedMatrix.PanelColumns);
                BlockGemm.Multiply(a.SliceRows(row, rows), b, panel, Math.Min(b.Panels, panel + (ColumnBlock / PackedMatrix.PanelColumns)), c.SliceRows(row, rows), accumulate);
            }
        }
    }

    private readonly struct PackJob(PackedMatrix b, MatrixView source, bool transposed) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            if (transposed)
                b.PackTransposed(source, start, end);
            else
                b.PackRows(source, [], start, end);
        }
    }

    private readonly struct GradientJob(MatrixView dy, MatrixView x, MatrixView dw, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var block = start; block < end; block++)
                AddWeightGradientBlock(block, dy, [], x, [], dw, threads, worker);
        }
    }
}
