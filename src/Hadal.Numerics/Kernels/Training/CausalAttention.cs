using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>
/// Where the queries, keys and values of B sequences of S tokens lie: T = B*S rows. A key is [own part of its head | part that all heads share].
/// </summary>
/// <remarks>H query heads, G key heads (H/G query heads share one), W width of a query or key, U of a value.</remarks>
public readonly record struct AttentionLayout
{
    /// <summary>B.</summary>
    public required int Sequences { get; init; }

    /// <summary>S.</summary>
    public required int Length { get; init; }

    /// <summary>H.</summary>
    public required int Heads { get; init; }

    /// <summary>G.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>Width of a key's own part.</summary>
    public required int KeyWidth { get; init; }

    /// <summary>Width of the part that all heads share; 0 where there is none.</summary>
    public required int SharedWidth { get; init; }

    /// <summary>U.</summary>
    public required int ValueWidth { get; init; }

    /// <summary>Columns from one head's own keys to the next.</summary>
    public required int KeyStride { get; init; }

    /// <summary>Columns from one head's values to the next.</summary>
    public required int ValueStride { get; init; }

    /// <summary>What scores are multiplied with.</summary>
    public required float Scale { get; init; }

    /// <summary>W.</summary>
    public int QueryWidth => KeyWidth + SharedWidth;
}

/// <summary>
/// Causal attention for training, forward and backward, tiled: scores exist for one block of queries at a time, and the backward pass computes them again from
/// their kept log-sum-exp (arXiv 2205.14135, section 3 and appendix B.2). A query at position i attends to positions starts[i] to i of its sequence.
/// </summary>
/// <remarks>All in float32. One job item is one head of one sequence, and sums run in rising position, so the bits do not depend on threads.</remarks>
public static unsafe class CausalAttention
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
        threads.Run(
            layout.Sequences * layout.KeyHeads, 1, new BackwardJob(layout, query, key, shared, value, starts, logSums, doutput, dquery, dkey, dshared, dvalue, threads));
    }

    private static void Check(AttentionLayout a, MatrixView query, MatrixView key, MatrixView shared, MatrixView value, int[] starts, MatrixView output)
    {
        ArgumentNullException.ThrowIfNull(starts);
        var rows = a.Sequences * a.Length;
        if (query.Rows != rows || key.Rows != rows || value.Rows != rows || output.Rows != rows || starts.Length < rows || a.Heads % a.KeyHeads != 0
            || query.Cols != a.Heads * a.QueryWidth || output.Cols != a.Heads * a.ValueWidth || (a.SharedWidth > 0 && (shared.Rows != rows || shared.Cols != a.SharedWidth))
            || key.Cols < ((a.KeyHeads - 1) * a.KeyStride) + a.KeyWidth || value.Cols < ((a.KeyHeads - 1) * a.ValueStride) + a.ValueWidth)
        {
            throw new ArgumentException($"attention of {a} over query [{query.Rows}, {query.Cols}], key [{key.Rows}, {key.Cols}], value [{value.Rows}, {value.Cols}], output [{output.Rows}, {output.Cols}]");
        }
    }

    // exp(scale s - offset) over a row's own range [first, end), zero around it as far as tiles reach.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Probabilities(float* scores, int low, int first, int end, int high, float scale, float offset)
    {
        for (var j = low; j < first; j++)
            scores[j] = 0;
        Vector512<float> sum = default;
        var factor = Vector512.Create(scale);
        var shift = Vector512.Create(offset);
        var k = first;
        for (; k <= end - 16; k += 16)
        {
            var p = FastExp.Exp((Vector512.Load(scores + k) * factor) - shift);
            p.Store(scores + k);
            sum += p;
        }

        if (k < end)
        {
            // Lanes beyond the end become zero, whatever was there: the row is padded, so they may be read and written.
            var lanes = Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(end - k)).AsSingle();
            var p = FastExp.Exp((Vector512.Load(scores + k) * factor) - shift) & lanes;
            p.Store(scores + k);
            sum += p;
            k += 16;
        }

        for (; k < high; k++)
            scores[k] = 0;
        return DotProduct.Sum(sum, default, default, default);
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
        var result = max[0];
        for (var i = 1; i < 16; i++)
            result = Math.Max(result, max[i]);
        for (; k < end; k++)
            result = Math.Max(result, scores[k]);
        return result;
    }

    // One sequence's keys and values of one head, and the memory for a block of scores.
    private ref struct HeadMemory
    {
        private readonly AttentionLayout layout;
        private byte* next;

        public HeadMemory(AttentionLayout layout, byte* memory)
        {
            this.layout = layout;
            next = memory;
            Stride = ((layout.Length + 31) & ~31) + 32;
        }

        /// <summary>Values from one row of scores to the next; what lies beyond the keys may be written.</summary>
        public int Stride { get; }

        public float* Take(long values)
        {
            var start = (float*)next;
            next += ((values * 4) + 63) & ~63L;
            return start;
        }

        public float* Scores() => Take((long)QueryBlock * Stride);

        public PackedMatrix Packed(int length, int columns) =>
            new(WeightFormat.F32, (byte*)Take(PackedMatrix.ByteLength(WeightFormat.F32, length, columns) / 4), length, columns);

        public MatrixView Keys(MatrixView key, MatrixView shared, MatrixView value, int firstRow, int head)
        {
            var width = layout.QueryWidth;
            var keys = new MatrixView(WeightFormat.F32, (byte*)Take((long)layout.Length * width), layout.Length, width, width);
            var own = key.SliceRows(firstRow, layout.Length).SliceColumns(head * layout.KeyStride, layout.KeyWidth);
            for (var j = 0; j < layout.Length; j++)
            {
                ReadAhead.Row(own, j + RowsAhead);
                ReadAhead.Row(value, j);
                own.Row(j).CopyTo(keys.Row(j));
                if (layout.SharedWidth > 0)
                    shared.Row(firstRow + j).CopyTo(keys.Row(j)[layout.KeyWidth..]);
            }

            return keys;
        }

        public static long Bytes(AttentionLayout layout)
        {
            long length = layout.Length, stride = ((length + 31) & ~31L) + 32, wide = ((layout.QueryWidth + 31) & ~31) + ((layout.ValueWidth + 31) & ~31);
            return 4 * ((2 * QueryBlock * stride) + (6 * stride * wide) + (4 * QueryBlock * wide)) + 4096;
        }
    }

    private readonly struct ForwardJob(
        AttentionLayout layout, MatrixView query, MatrixView key, MatrixView shared, MatrixView value, int[] starts, MatrixView output, MatrixView logSums, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
            {
                var (sequence, keyHead) = (item / layout.KeyHeads, item % layout.KeyHeads);
                var firstRow = sequence * layout.Length;
                var memory = new HeadMemory(layout, threads.JobScratch(worker, HeadMemory.Bytes(layout)));
                var scores = memory.Scores();
                var result = memory.Take(QueryBlock * layout.ValueWidth);
                var keys = memory.Packed(layout.QueryWidth, layout.Length);
                var ownValues = value.SliceRows(firstRow, layout.Length).SliceColumns(keyHead * layout.ValueStride, layout.ValueWidth);
                keys.PackTransposed(memory.Keys(key, shared, ownValues, firstRow, keyHead), 0, keys.Panels);
                var values = memory.Packed(layout.Length, layout.ValueWidth);
                values.PackRows(ownValues, [], 0, values.Panels);
                for (var head = keyHead * (layout.Heads / layout.KeyHeads); head < (keyHead + 1) * (layout.Heads / layout.KeyHeads); head++)
                {
                    for (var block = 0; block < layout.Length; block += QueryBlock)
                        Block(firstRow, block, head, keys, values, scores, memory.Stride, result);
                }
            }
        }

        private void Block(int firstRow, int block, int head, PackedMatrix keys, PackedMatrix values, float* scores, int stride, float* result)
        {
            var rows = Math.Min(QueryBlock, layout.Length - block);
            var low = starts[firstRow + block] / 32 * 32;
            var high = Math.Min(layout.Length, block + rows);
            var padded = (high + 31) & ~31;
            ReadAhead.Rows(query.SliceColumns(head * layout.QueryWidth, layout.QueryWidth), firstRow + high, Math.Min(QueryBlock, layout.Length - high));
            var q = new LeftOperand((byte*)(query.Float(firstRow + block) + (head * layout.QueryWidth)), (nint)query.RowBytes, 4, rows);
            BlockGemm.Multiply(q, keys, FirstPanel(low), EndPanel(keys, padded), scores, stride, accumulate: false);
            var sums = stackalloc float[QueryBlock];
            for (var i = 0; i < rows; i++)
            {
                var row = scores + ((long)i * stride);
                var (first, end) = (starts[firstRow + block + i], block + i + 1);
                var offset = Maximum(row, first, end) * layout.Scale;
                sums[i] = Probabilities(row, low, first, end, padded, layout.Scale, offset);
                logSums.Row(firstRow + block + i)[head] = offset + MathF.Log(sums[i]);
            }

            var p = new LeftOperand((byte*)(scores + low), (nint)stride * 4, 4, rows);
            BlockGemm.Multiply(p, values, 0, values.Panels, low, high, result, layout.ValueWidth, accumulate: false);
            for (var i = 0; i < rows; i++)
            {
                var row = result + ((long)i * layout.ValueWidth);
                System.Numerics.Tensors.TensorPrimitives.Divide(new Span<float>(row, layout.ValueWidth), sums[i], new Span<float>(row, layout.ValueWidth));
                RowKernels.CopyRow(
                    WeightFormat.F32, (byte*)row, output.Format, output.RowPointer(firstRow + block + i) + ((long)head * layout.ValueWidth * output.ElementBytes), layout.ValueWidth);
            }
        }
    }

    private readonly struct BackwardJob(
        AttentionLayout layout, MatrixView query, MatrixView key, MatrixView shared, MatrixView value, int[] starts, MatrixView logSums, MatrixView doutput,
        MatrixView dquery, MatrixView dkey, MatrixView dshared, MatrixView dvalue, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
            {
                var (sequence, keyHead) = (item / layout.KeyHeads, item % layout.KeyHeads);
                var firstRow = sequence * layout.Length;
                var memory = new HeadMemory(layout, threads.JobScratch(worker, HeadMemory.Bytes(layout)));
                var ownValues = value.SliceRows(firstRow, layout.Length).SliceColumns(keyHead * layout.ValueStride, layout.ValueWidth);
                var ownKeys = memory.Keys(key, shared, ownValues, firstRow, keyHead);
                var operands = new Operands
                {
                    Probabilities = memory.Scores(), Gradients = memory.Scores(), Stride = memory.Stride,
                    KeysTransposed = memory.Packed(layout.QueryWidth, layout.Length), Keys = memory.Packed(layout.Length, layout.QueryWidth),
                    ValuesTransposed = memory.Packed(layout.ValueWidth, layout.Length),
                    Queries = (byte*)memory.Take(PackedMatrix.ByteLength(WeightFormat.F32, QueryBlock, layout.QueryWidth) / 4),
                    Outputs = (byte*)memory.Take(PackedMatrix.ByteLength(WeightFormat.F32, QueryBlock, layout.ValueWidth) / 4),
                    KeyGradient = memory.Take((long)layout.Length * layout.QueryWidth), ValueGradient = memory.Take((long)layout.Length * layout.ValueWidth),
                };
                operands.KeysTransposed.PackTransposed(ownKeys, 0, operands.KeysTransposed.Panels);
                operands.Keys.PackRows(ownKeys, [], 0, operands.Keys.Panels);
                operands.ValuesTransposed.PackTransposed(ownValues, 0, operands.ValuesTransposed.Panels);
                var dk = new Span<float>(operands.KeyGradient, layout.Length * layout.QueryWidth);
                var dv = new Span<float>(operands.ValueGradient, layout.Length * layout.ValueWidth);
                dk.Clear();
                dv.Clear();
                for (var head = keyHead * (layout.Heads / layout.KeyHeads); head < (keyHead + 1) * (layout.Heads / layout.KeyHeads); head++)
                {
                    for (var block = 0; block < layout.Length; block += QueryBlock)
                        Block(firstRow, block, head, operands);
                }

                var ownKeyGradients = dkey.SliceRows(firstRow, layout.Length).SliceColumns(keyHead * layout.KeyStride, layout.KeyWidth);
                var ownValueGradients = dvalue.SliceRows(firstRow, layout.Length).SliceColumns(keyHead * layout.ValueStride, layout.ValueWidth);
                for (var j = 0; j < layout.Length; j++)
                {
                    ReadAhead.Row(ownKeyGradients, j + RowsAhead);
                    ReadAhead.Row(ownValueGradients, j + RowsAhead);
                    var row = dk.Slice(j * layout.QueryWidth, layout.QueryWidth);
                    row[..layout.KeyWidth].CopyTo(dkey.Row(firstRow + j)[(keyHead * layout.KeyStride)..]);
                    if (layout.SharedWidth > 0)
                        row[layout.KeyWidth..].CopyTo(dshared.Row(firstRow + j)[(keyHead * layout.SharedWidth)..]);
                    dv.Slice(j * layout.ValueWidth, layout.ValueWidth).CopyTo(dvalue.Row(firstRow + j)[(keyHead * layout.ValueStride)..]);
                }
            }
        }

        private void Block(int firstRow, int block, int head, Operands o)
        {
            var (width, valueWidth, stride) = (layout.QueryWidth, layout.ValueWidth, o.Stride);
            var rows = Math.Min(QueryBlock, layout.Length - block);
            var low = starts[firstRow + block] / 32 * 32;
            var high = block + rows;
            var padded = (high + 31) & ~31;
            var next = Math.Min(QueryBlock, layout.Length - high);
            ReadAhead.Rows(query.SliceColumns(head * width, width), firstRow + high, next);
            ReadAhead.Rows(doutput.SliceColumns(head * valueWidth, valueWidth), firstRow + high, next);
            ReadAhead.Rows(dquery.SliceColumns(head * width, width), firstRow + block, rows);
            var q = query.SliceRows(firstRow + block, rows).SliceColumns(head * width, width);
            var dout = doutput.SliceRows(firstRow + block, rows).SliceColumns(head * valueWidth, valueWidth);
            BlockGemm.Multiply(new LeftOperand(q.Data, (nint)q.RowBytes, 4, rows), o.KeysTransposed, FirstPanel(low), EndPanel(o.KeysTransposed, padded), o.Probabilities, stride, accumulate: false);
            BlockGemm.Multiply(new LeftOperand(dout.Data, (nint)dout.RowBytes, 4, rows), o.ValuesTransposed, FirstPanel(low), EndPanel(o.ValuesTransposed, padded), o.Gradients, stride, accumulate: false);
            for (var i = 0; i < rows; i++)
            {
                float* p = o.Probabilities + ((long)i * stride), d = o.Gradients + ((long)i * stride);
                _ = Probabilities(p, low, starts[firstRow + block + i], block + i + 1, padded, layout.Scale, logSums.Row(firstRow + block + i)[head]);

                // Columns beyond the last key were not computed.
                for (var j = layout.Length; j < padded; j++)
                    d[j] = 0;
                ScoreGradients(p, d, low, padded);
            }

            // dQ = dS K; dK += dS^T Q; dV += P^T dO.
            var keys = high - low;
            BlockGemm.Multiply(new LeftOperand((byte*)(o.Gradients + low), (nint)stride * 4, 4, rows), o.Keys, 0, o.Keys.Panels, low, high,
                dquery.Float(firstRow + block) + (head * width), dquery.Stride, accumulate: false);
            var queries = new PackedMatrix(WeightFormat.F32, o.Queries, rows, width);
            queries.PackRows(q, [], 0, queries.Panels);
            BlockGemm.Multiply(new LeftOperand((byte*)(o.Gradients + low), 4, (nint)stride * 4, keys, readableBeyond: true), queries, 0, queries.Panels,
                o.KeyGradient + ((long)low * width), width, accumulate: true);
            var outputs = new PackedMatrix(WeightFormat.F32, o.Outputs, rows, valueWidth);
            outputs.PackRows(dout, [], 0, outputs.Panels);
            BlockGemm.Multiply(new LeftOperand((byte*)(o.Probabilities + low), 4, (nint)stride * 4, keys, readableBeyond: true), outputs, 0, outputs.Panels,
                o.ValueGradient + ((long)low * valueWidth), valueWidth, accumulate: true);
        }

        // d = scale p (d - sum of p d): zero where p is.
        private void ScoreGradients(float* p, float* d, int low, int high)
        {
            Vector512<float> sum = default;
            for (var j = low; j < high; j += 16)
                sum += Vector512.Load(p + j) * Vector512.Load(d + j);
            var delta = Vector512.Create(DotProduct.Sum(sum, default, default, default));
            var scale = Vector512.Create(layout.Scale);
            for (var j = low; j < high; j += 16)
                (Vector512.Load(p + j) * (Vector512.Load(d + j) - delta) * scale).Store(d + j);
        }
    }

    private struct Operands
    {
        public float* Probabilities;
        public float* Gradients;
        public int Stride;
        public PackedMatrix KeysTransposed;
        public PackedMatrix Keys;
        public PackedMatrix ValuesTransposed;
        public byte* Queries;
        public byte* Outputs;
        public float* KeyGradient;
        public float* ValueGradient;
    }
}
