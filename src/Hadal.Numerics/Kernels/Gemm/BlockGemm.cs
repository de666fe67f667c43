using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>
/// Products of float32 or bfloat16 matrices with float32 sums, on the calling worker alone: the pieces that jobs are made of. A sum runs over K in pieces of
/// 256 steps, each a chain of fused multiply-adds, added up in order; so the bits of a result depend neither on threads nor on how rows were cut into blocks.
/// </summary>
public static unsafe class BlockGemm
{
    // A panel's piece (32 or 16 KB) and twelve rows of A stay in the L1 cache.
    private const int PieceSteps = 256;

    // For weight gradients, where A is strided as well.
    private const int GradientSteps = 128;

    /// <summary>C (+)= A B.</summary>
    /// <param name="a">[M, K] in B's format. Rows of BF16 with odd K need a zero behind them.</param>
    /// <param name="b">[K, N].</param>
    /// <param name="c">[M, N], F32.</param>
    /// <param name="accumulate">Whether to add to C rather than overwrite it.</param>
    /// <exception cref="ArgumentException">The shapes or formats do not fit.</exception>
    public static void Multiply(MatrixView a, PackedMatrix b, MatrixView c, bool accumulate = false) => Multiply(a, b, 0, b.Panels, c, accumulate);

    /// <summary>The columns of C that panels [<paramref name="firstPanel"/>, <paramref name="endPanel"/>) of B make.</summary>
    internal static void Multiply(MatrixView a, PackedMatrix b, int firstPanel, int endPanel, MatrixView c, bool accumulate)
    {
        if (a.Cols != b.Length || a.Format != b.Format || c.Rows != a.Rows || c.Cols != b.Columns)
            throw new ArgumentException($"A [{a.Rows}, {a.Cols}] of {a.Format} times B [{b.Length}, {b.Columns}] of {b.Format} into C [{c.Rows}, {c.Cols}]");
        if (a.Format == WeightFormat.BF16 && a.Cols % 2 != 0 && a.Stride == a.Cols)
            throw new ArgumentException($"rows of {a.Cols} BF16 values need a zero behind them");
        Multiply(new LeftOperand(a.Data, (nint)a.RowBytes, 4, a.Rows), b, firstPanel, endPanel, c.Float(0), c.Stride, accumulate);
    }

    /// <summary>dW += dy^T x over chosen rows: dW[n, k] += sum over i of dy[dyRows[i], n] * x[xRows[i], k]; rows are taken in their order, 128 or 256 at a time.</summary>
    /// <param name="dy">F32, or BF16 as x is: [rows, N].</param>
    /// <param name="dyRows">Which rows of dy; empty for all.</param>
    /// <param name="x">[rows, K].</param>
    /// <param name="xRows">Which rows of x, as many; empty for all.</param>
    /// <param name="dw">[N, K], F32.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <exception cref="ArgumentException">The shapes or formats do not fit.</exception>
    public static void AddWeightGradient(MatrixView dy, ReadOnlySpan<int> dyRows, MatrixView x, ReadOnlySpan<int> xRows, MatrixView dw, KernelThreads threads, int worker)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var count = dyRows.IsEmpty ? dy.Rows : dyRows.Length;
        if (count != (xRows.IsEmpty ? x.Rows : xRows.Length) || dw.Rows != dy.Cols || dw.Cols != x.Cols || x.Format != dy.Format)
            throw new ArgumentException($"dy [{count}, {dy.Cols}] of {dy.Format} and x [{(xRows.IsEmpty ? x.Rows : xRows.Length)}, {x.Cols}] of {x.Format} into dW [{dw.Rows}, {dw.Cols}]");
        var piece = dy.Format == WeightFormat.F32 ? GradientSteps : 2 * GradientSteps;
        var bBytes = PackedMatrix.ByteLength(x.Format, piece, x.Cols);
        var scratch = threads.Scratch(worker, bBytes + PackedMatrix.ByteLength(x.Format, piece, dy.Cols) + PackedMatrix.StepBytes);
        for (var start = 0; start < count; start += piece)
        {
            var length = Math.Min(piece, count - start);
            var b = new PackedMatrix(x.Format, scratch, length, x.Cols);
            b.PackRows(xRows.IsEmpty ? x.SliceRows(start, length) : x, xRows.IsEmpty ? [] : xRows.Slice(start, length), 0, b.Panels);
            var a = new PackedMatrix(dy.Format, scratch + bBytes, length, dy.Cols);
            a.PackLeft(dyRows.IsEmpty ? dy.SliceRows(start, length) : dy, dyRows.IsEmpty ? [] : dyRows.Slice(start, length));
            var layout = new LeftOperand(a.Data, 4, a.Panels * PackedMatrix.StepBytes, dw.Rows, readableBeyond: true);
            Multiply(layout, b, 0, b.Panels, dw.Float(0), dw.Stride, accumulate: true);
        }
    }

    /// <summary>C (+)= A B with A in any layout, over all steps.</summary>
    internal static void Multiply(LeftOperand a, PackedMatrix b, int firstPanel, int endPanel, float* c, int cStride, bool accumulate) =>
        Multiply(a, b, firstPanel, endPanel, 0, b.Steps, c, cStride, accumulate);

    /// <summary>
    /// C (+)= A B over steps [<paramref name="firstStep"/>, <paramref name="endStep"/>) of B; A begins with the first of them, C with column 0.
    /// </summary>
    internal static void Multiply(LeftOperand a, PackedMatrix b, int firstPanel, int endPanel, int firstStep, int endStep, float* c, int cStride, bool accumulate)
    {
        if (firstStep == endStep && !accumulate)
        {
            for (var r = 0; r < a.Rows; r++)
                new Span<float>(c + ((long)r * cStride), b.Columns).Clear();
        }

        for (var start = firstStep; start < endStep; start += PieceSteps)
        {
            var steps = Math.Min(PieceSteps, endStep - start);
            for (var panel = firstPanel; panel < endPanel; panel++)
            {
                var column = panel * PackedMatrix.PanelColumns;
                var tile = new GemmTile
                {
                    A = a.Data + ((start - firstStep) * a.StepBytes), ARow = a.RowBytes, AStep = a.StepBytes, B = b.Panel(panel) + ((long)start * PackedMatrix.StepBytes), C = (byte*)(c + column),
                    CRow = (nint)cStride * 4, Steps = steps, Accumulate = accumulate || start > firstStep ? 1 : 0, Columns = Math.Min(PackedMatrix.PanelColumns, b.Columns - column),
                };
                for (var row = 0; row < a.Rows; row += GemmTile.Rows)
                {
                    if (a.Rows - row >= GemmTile.Rows && tile.Columns is 32 or 16)
                        GemmTile.Multiply(b.Format, &tile);
                    else
                        Edge(b.Format, tile, Math.Min(GemmTile.Rows, a.Rows - row), a.ReadableBeyond);
                    tile.A += GemmTile.Rows * a.RowBytes;
                    tile.C += GemmTile.Rows * tile.CRow;
                }
            }
        }
    }

    // A tile that hangs over the edge: missing rows of A are zero, and C passes through a whole tile on the stack.
    private static void Edge(WeightFormat format, GemmTile tile, int rows, bool readableBeyond)
    {
        var copy = rows < GemmTile.Rows && !readableBeyond;
        var whole = stackalloc float[GemmTile.Rows * PackedMatrix.PanelColumns];
        var a = stackalloc uint[copy ? GemmTile.Rows * PieceSteps : 0];
        var c = tile.C;
        var cRow = tile.CRow;
        var accumulate = tile.Accumulate != 0;
        if (copy)
        {
            new Span<uint>(a, GemmTile.Rows * PieceSteps).Clear();
            for (var r = 0; r < rows; r++)
            {
                var source = tile.A + (r * tile.ARow);
                for (nint s = 0; s < tile.Steps; s++)
                    a[(r * PieceSteps) + s] = *(uint*)(source + (s * tile.AStep));
            }

            tile.A = (byte*)a;
            tile.ARow = PieceSteps * 4;
            tile.AStep = 4;
        }

        tile.C = (byte*)whole;
        tile.CRow = PackedMatrix.PanelColumns * 4;
        tile.Accumulate = 0;
        GemmTile.Multiply(format, &tile);
        for (var r = 0; r < rows; r++)
        {
            float* target = (float*)(c + (r * cRow)), sums = whole + (r * PackedMatrix.PanelColumns);
            nint j = 0;
            for (; j <= tile.Columns - 16; j += 16)
                (accumulate ? Vector512.Load(target + j) + Vector512.Load(sums + j) : Vector512.Load(sums + j)).Store(target + j);
            for (; j < tile.Columns; j++)
                target[j] = accumulate ? target[j] + sums[j] : sums[j];
        }
    }
}

/// <summary>The left operand A of a product, wherever its values lie.</summary>
/// <param name="data">First 32 bits.</param>
/// <param name="rowBytes">Bytes from one row to the next.</param>
/// <param name="stepBytes">Bytes from one step to the next.</param>
/// <param name="rows">Rows.</param>
/// <param name="readableBeyond">Whether up to 11 more rows may be read, whatever is in them.</param>
internal readonly unsafe struct LeftOperand(byte* data, nint rowBytes, nint stepBytes, int rows, bool readableBeyond = false)
{
    public readonly byte* Data = data;
    public readonly nint RowBytes = rowBytes;
    public readonly nint StepBytes = stepBytes;
    public readonly int Rows = rows;
    public readonly bool ReadableBeyond = readableBeyond;
}
