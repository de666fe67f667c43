using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>
/// Causal attention for training, forward and backward, tiled: scores exist for one block of queries at a time, and the backward pass computes them again from
/// their kept log-sum-exp (arXiv 2205.14135, section 3 and appendix B.2). A query at position i attends to positions starts[i] to i of its sequence.
/// </summary>
/// <remarks>Sums, scores and what is made of them are float32. One job item is one head of one sequence, and sums run in rising position, so the bits do not depend on threads.</remarks>
public static unsafe partial class CausalAttention
{
    // Four tiles of rows.
    private const int QueryBlock = 48;

    // A head's rows lie far apart: the next ones are asked for before they are needed.
    private const int RowsAhead = 16;

    /// <summary>output = softmax(scale q k^T) v, and log-sum-exps for the backward pass.</summary>
    /// <param name="layout">Shapes.</param>
    /// <param name="query">F32 [T, H*W].</param>
    /// <param name="key">F32 [T, ...]: own keys from column 0, heads <see cref="AttentionLayout.KeyStride"/> apart.</param>
    /// <param name="shared">F32 [T, shared width], or empty.</param>
    /// <param name="value">F32 [T, ...]: values from column 0, heads <see cref="AttentionLayout.ValueStride"/> apart.</param>
    /// <param name="starts">[T]: first position of its sequence that each may attend to, not falling within a sequence.</param>
    /// <param name="output">[T, H*U], rounded where it is BF16.</param>
    /// <param name="logSums">F32 [T, H].</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Forward(
        AttentionLayout layout, MatrixView query, MatrixView key, MatrixView shared, MatrixView value, int[] starts, MatrixView output, MatrixView logSums, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        Check(layout, query, key, shared, value, starts, output);
        threads.Run(layout.Sequences * layout.KeyHeads, 1, new ForwardJob(layout, query, key, shared, value, starts, output, logSums, threads));
    }

    /// <summary>Gradients of <see cref="Forward"/>; all targets are overwritten.</summary>
    /// <param name="layout">Shapes.</param>
    /// <param name="query">As in the forward pass.</param>
    /// <param name="key">As in the forward pass.</param>
    /// <param name="shared">As in the forward pass.</param>
    /// <param name="value">As in the forward pass.</param>
    /// <param name="starts">As in the forward pass.</param>
    /// <param name="logSums">Of the forward pass.</param>
    /// <param name="doutput">F32 [T, H*U].</param>
    /// <param name="dquery">F32 [T, H*W].</param>
    /// <param name="dkey">F32, laid out as <paramref name="key"/>.</param>
    /// <param name="dshared">F32 [T, G * shared width]: each head's part, to be summed; or empty.</param>
    /// <param name="dvalue">F32, laid out as <paramref name="value"/>.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Backward(
        AttentionLayout layout, MatrixView query, MatrixView key, MatrixView shared, MatrixView value, int[] starts, MatrixView logSums, MatrixView doutput,
        MatrixView dquery, MatrixView dkey, MatrixView dshared, MatrixView dvalue, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        Check(layout, query, key, shared, value, starts, doutput);
        Check(layout, dquery, dkey, shared, dvalue, starts, doutput);
        if (doutput.Format != WeightFormat.F32)
            throw new ArgumentException($"gradient {doutput.Format} of the output; expected F32");
        threads.Run(
            layout.Sequences * layout.KeyHeads, 1, new BackwardJob(layout, query, key, shared, value, starts, logSums, doutput, dquery, dkey, dshared, dvalue, threads));
    }

    private static void Check(AttentionLayout a, MatrixView query, MatrixView key, MatrixView shared, MatrixView value, int[] starts, MatrixView output)
    {
        ArgumentNullException.ThrowIfNull(starts);
        if (a.Operands is not (WeightFormat.F32 or WeightFormat.BF16) || query.Format != WeightFormat.F32 || key.Format != WeightFormat.F32 || value.Format != WeightFormat.F32
            || (a.SharedWidth > 0 && shared.Format != WeightFormat.F32))
        {
            throw new ArgumentException($"products of {a.Operands} over query {query.Format}, key {key.Format}, shared key {shared.Format}, value {value.Format}; expected F32 rows, products of F32 or BF16");
        }

        var rows = a.Sequences * a.Length;
        if (query.Rows != rows || key.Rows != rows || value.Rows != rows || output.Rows != rows || starts.Length < rows || a.Heads % a.KeyHeads != 0
            || query.Cols != a.Heads * a.QueryWidth || output.Cols != a.Heads * a.ValueWidth || (a.SharedWidth > 0 && (shared.Rows != rows || shared.Cols != a.SharedWidth))
            || key.Cols < ((a.KeyHeads - 1) * a.KeyStride) + a.KeyWidth || value.Cols < ((a.KeyHeads - 1) * a.ValueStride) + a.ValueWidth)
        {
            throw new ArgumentException($"attention of {a} over query [{query.Rows}, {query.Cols}], key [{key.Rows}, {key.Cols}], value [{value.Rows}, {value.Cols}], output [{output.Rows}, {output.Cols}]");
        }
    }

    // exp(scale s - offset) over a row's own range [first, end), zero around it as far as tiles reach; also rounded, where a place is given.
    // Rows are padded, so that whole vectors may be read and written.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Probabilities(float* scores, ushort* rounded, int low, int first, int end, int high, float scale, float offset)
    {
        for (var j = low; j < first; j++)
            Put(scores, rounded, j, 0);
        Vector512<float> sum = default;
        var factor = Vector512.Create(scale);
        var shift = Vector512.Create(offset);
        var k = first;
        for (; k <= end - 16; k += 16)
        {
            var p = FastExp.Exp((Vector512.Load(scores + k) * factor) - shift);
            Put(scores, rounded, k, p);
            sum += p;
        }

        if (k < end)
        {
            // Lanes beyond the end become zero, whatever was there.
            var lanes = Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(end - k)).AsSingle();
            var p = FastExp.Exp((Vector512.Load(scores + k) * factor) - shift) & lanes;
            Put(scores, rounded, k, p);
            sum += p;
            k += 16;
        }

        for (; k < high; k += 16)
            Put(scores, rounded, k, Vector512<float>.Zero);
        return DotProduct.Sum(sum, default, default, default);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(float* row, ushort* rounded, int column, Vector512<float> values)
    {
        values.Store(row + column);
        if (rounded != null)
            BF16.Narrow16(BF16.Round16(values)).Store(rounded + column);
    }

    private static void Put(float* row, ushort* rounded, int column, float value)
    {
        row[column] = value;
        if (rounded != null)
            rounded[column] = BF16.FromSingle(value);
    }

    // The panels that columns [low, padded) lie in, both multiples of 32, as far as there are any.
    private static int FirstPanel(int low) => low / PackedMatrix.PanelColumns;

    private static int EndPanel(PackedMatrix matrix, int padded) => Math.Min(matrix.Panels, padded / PackedMatrix.PanelColumns);

    private static float Maximum(float* scores, int first, int end)
    {
        var max = Vector512.Create(scores[first]);
        var k = first;
        for (; k <= end - 16; k += 16)
            max = Vector512.Max(max, Vector512.Load(scores + k));
        if (k < end)
        {
            var lanes = Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(end - k)).AsSingle();
            max = Vector512.Max(max, Vector512.ConditionalSelect(lanes, Vector512.Load(scores + k), max));
        }

        var eight = Vector256.Max(max.GetLower(), max.GetUpper());
        var four = Vector128.Max(eight.GetLower(), eight.GetUpper());
        return MathF.Max(MathF.Max(four[0], four[1]), MathF.Max(four[2], four[3]));
    }

    // One sequence's keys and values of one head, and the memory for a block of scores.
    private ref struct HeadMemory
    {
        private readonly AttentionLayout layout;
        private readonly byte* end;
        private byte* next;

        public HeadMemory(AttentionLayout layout, KernelThreads threads, int worker)
        {
            this.layout = layout;
            next = threads.JobScratch(worker, Bytes(layout));
            end = next + Bytes(layout);
            Stride = ((layout.Length + 31) & ~31) + 32;
        }

        /// <summary>Values from one row of scores to the next; what lies beyond the keys may be written.</summary>
        public int Stride { get; }

        public byte* TakeBytes(long bytes)
        {
            var start = next;
            next += (bytes + 63) & ~63L;
            return next <= end ? start : throw new InvalidOperationException($"{bytes} bytes beyond those of a head of {layout}");
        }

        public float* Take(long values) => (float*)TakeBytes(values * sizeof(float));

        /// <summary>Memory for rows of operands, an even number of values from one to the next; nothing for F32, which is read where it lies.</summary>
        public MatrixView Rounded(int rows, int width)
        {
            var stride = (width + 1) & ~1;
            return layout.Operands == WeightFormat.F32 ? default : new MatrixView(layout.Operands, TakeBytes((long)rows * stride * 2), rows, width, stride);
        }

        public PackedMatrix Packed(int length, int columns) => new(layout.Operands, TakeBytes(PackedMatrix.ByteLength(layout.Operands, length, columns)), length, columns);

        /// <summary>One head's keys, both parts side by side.</summary>
        public MatrixView Keys(MatrixView key, MatrixView shared, MatrixView value, int firstRow, int head)
        {
            var width = layout.QueryWidth;
            var stride = (width + 1) & ~1;
            var keys = new MatrixView(layout.Operands, (byte*)Take((long)layout.Length * stride), layout.Length, width, stride);
            var own = key.SliceRows(firstRow, layout.Length).SliceColumns(head * layout.KeyStride, layout.KeyWidth);
            for (var j = 0; j < layout.Length; j++)
            {
                ReadAhead.Row(own, j + RowsAhead);
                ReadAhead.Row(value, j);
                var target = keys.RowPointer(j);
                RowKernels.CopyRow(WeightFormat.F32, own.RowPointer(j), keys.Format, target, layout.KeyWidth);
                if (layout.SharedWidth > 0)
                    RowKernels.CopyRow(WeightFormat.F32, shared.RowPointer(firstRow + j), keys.Format, target + ((long)layout.KeyWidth * keys.ElementBytes), layout.SharedWidth);
            }

            return keys;
        }

        private static long Bytes(AttentionLayout layout)
        {
            long length = layout.Length, stride = ((length + 31) & ~31L) + 32, wide = ((layout.QueryWidth + 31) & ~31) + ((layout.ValueWidth + 31) & ~31);
            return 4 * ((5 * QueryBlock * stride) + (6 * stride * wide) + (6 * QueryBlock * wide)) + 4096;
        }
    }

    // F32 rows as the products read them: themselves, or rounded into the target, with the zero that odd rows need behind them.
    private static MatrixView Operand(MatrixView source, MatrixView target)
    {
        if (target.IsEmpty)
            return source;
        for (var row = 0; row < source.Rows; row++)
        {
            var rounded = (ushort*)target.RowPointer(row);
            RowKernels.CopyRow(WeightFormat.F32, source.RowPointer(row), target.Format, (byte*)rounded, source.Cols);
            if (source.Cols < target.Stride)
                rounded[source.Cols] = 0;
        }

        return new MatrixView(target.Format, target.Data, source.Rows, source.Cols, target.Stride);
    }

    // Columns [low, high) of a block of scores as the products read them.
    private static MatrixView Scores(float* values, int stride, MatrixView rounded, int low, int rows, int high) => rounded.IsEmpty
        ? new MatrixView(WeightFormat.F32, (byte*)(values + low), rows, high - low, stride)
        : rounded.SliceRows(0, rows).SliceColumns(low, high - low);

    private static ushort* Rounded(MatrixView rows, int row) => rows.IsEmpty ? null : (ushort*)rows.RowPointer(row);

    private static LeftOperand Left(MatrixView rows) => new(rows.Data, (nint)rows.RowBytes, 4, rows.Rows);

    // The first columns of rows [K, M] as the left operand of their transpose; bfloat16 has to be paired along K for it.
    private static LeftOperand LeftTransposed(MatrixView rows, int count, byte* memory)
    {
        if (rows.Format == WeightFormat.F32)
            return new LeftOperand(rows.Data, 4, (nint)rows.RowBytes, count, readableBeyond: true);
        var packed = new PackedMatrix(rows.Format, memory, rows.Rows, rows.Cols);
        packed.PackLeft(rows, []);
        return new LeftOperand(memory, 4, packed.Panels * PackedMatrix.StepBytes, count, readableBeyond: true);
    }

    // The product with the rows of B that go with columns [low, high) of what A was cut from.
    private static void MultiplyKeys(LeftOperand a, PackedMatrix b, int low, int high, float* c, int stride) =>
        BlockGemm.Multiply(a, b, 0, b.Panels, PackedMatrix.StepsOf(b.Format, low), PackedMatrix.StepsOf(b.Format, high), c, stride, accumulate: false);
}
