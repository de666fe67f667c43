using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <content>One head of one sequence, forward and backward, a block of queries at a time.</content>
public static unsafe partial class CausalAttention
{
    private readonly struct ForwardJob(
        AttentionLayout layout, MatrixView query, MatrixView key, MatrixView shared, MatrixView value, int[] starts, MatrixView output, MatrixView logSums, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
            {
                var (sequence, keyHead) = (item / layout.KeyHeads, item % layout.KeyHeads);
                var firstRow = sequence * layout.Length;
                var memory = new HeadMemory(layout, threads, worker);
                var resultStride = (layout.ValueWidth + 15) & ~15;
                var operands = new ForwardOperands
                {
                    Scores = memory.Take((long)QueryBlock * memory.Stride), Stride = memory.Stride, Result = memory.Take(QueryBlock * resultStride), ResultStride = resultStride,
                    Keys = memory.Packed(layout.QueryWidth, layout.Length), Values = memory.Packed(layout.Length, layout.ValueWidth),
                    Query = memory.Rounded(QueryBlock, layout.QueryWidth), Probabilities = memory.Rounded(QueryBlock, memory.Stride),
                };
                var ownValues = value.SliceRows(firstRow, layout.Length).SliceColumns(keyHead * layout.ValueStride, layout.ValueWidth);
                operands.Keys.PackTransposed(memory.Keys(key, shared, ownValues, firstRow, keyHead), 0, operands.Keys.Panels);
                operands.Values.PackRows(Operand(ownValues, memory.Rounded(layout.Length, layout.ValueWidth)), [], 0, operands.Values.Panels);
                for (var head = keyHead * (layout.Heads / layout.KeyHeads); head < (keyHead + 1) * (layout.Heads / layout.KeyHeads); head++)
                {
                    for (var block = 0; block < layout.Length; block += QueryBlock)
                        Block(firstRow, block, head, operands);
                }
            }
        }

        private void Block(int firstRow, int block, int head, in ForwardOperands o)
        {
            var rows = Math.Min(QueryBlock, layout.Length - block);
            var low = starts[firstRow + block] / 32 * 32;
            var high = Math.Min(layout.Length, block + rows);
            var padded = (high + 31) & ~31;
            var queries = query.SliceColumns(head * layout.QueryWidth, layout.QueryWidth);
            ReadAhead.Rows(queries, firstRow + high, Math.Min(QueryBlock, layout.Length - high));
            var q = Left(Operand(queries.SliceRows(firstRow + block, rows), o.Query));
            BlockGemm.Multiply(q, o.Keys, FirstPanel(low), EndPanel(o.Keys, padded), o.Scores, o.Stride, accumulate: false);
            var sums = stackalloc float[QueryBlock];
            for (var i = 0; i < rows; i++)
            {
                var row = o.Scores + ((long)i * o.Stride);
                var (first, end) = (starts[firstRow + block + i], block + i + 1);
                var offset = Maximum(row, first, end) * layout.Scale;
                sums[i] = Probabilities(row, Rounded(o.Probabilities, i), low, first, end, padded, layout.Scale, offset);
                logSums.Row(firstRow + block + i)[head] = offset + MathF.Log(sums[i]);
            }

            MultiplyKeys(Left(Scores(o.Scores, o.Stride, o.Probabilities, low, rows, padded)), o.Values, low, high, o.Result, o.ResultStride);
            for (var i = 0; i < rows; i++)
            {
                var row = o.Result + ((long)i * o.ResultStride);
                var sum = Vector512.Create(sums[i]);
                for (var k = 0; k < layout.ValueWidth; k += 16)
                    (Vector512.Load(row + k) / sum).Store(row + k);
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
                var memory = new HeadMemory(layout, threads, worker);
                var ownValues = value.SliceRows(firstRow, layout.Length).SliceColumns(keyHead * layout.ValueStride, layout.ValueWidth);
                var ownKeys = memory.Keys(key, shared, ownValues, firstRow, keyHead);
                var operands = new BackwardOperands
                {
                    Probabilities = memory.Take((long)QueryBlock * memory.Stride), Gradients = memory.Take((long)QueryBlock * memory.Stride), Stride = memory.Stride,
                    KeysTransposed = memory.Packed(layout.QueryWidth, layout.Length), Keys = memory.Packed(layout.Length, layout.QueryWidth),
                    ValuesTransposed = memory.Packed(layout.ValueWidth, layout.Length),
                    Queries = memory.Packed(QueryBlock, layout.QueryWidth).Data, Outputs = memory.Packed(QueryBlock, layout.ValueWidth).Data,
                    KeyGradient = memory.Take((long)layout.Length * layout.QueryWidth), ValueGradient = memory.Take((long)layout.Length * layout.ValueWidth),
                    Query = memory.Rounded(QueryBlock, layout.QueryWidth), Output = memory.Rounded(QueryBlock, layout.ValueWidth),
                    RoundedProbabilities = memory.Rounded(QueryBlock, memory.Stride), RoundedGradients = memory.Rounded(QueryBlock, memory.Stride), Transposed = memory.Packed(QueryBlock, memory.Stride).Data,
                };
                operands.KeysTransposed.PackTransposed(ownKeys, 0, operands.KeysTransposed.Panels);
                operands.Keys.PackRows(ownKeys, [], 0, operands.Keys.Panels);
                operands.ValuesTransposed.PackTransposed(Operand(ownValues, memory.Rounded(layout.Length, layout.ValueWidth)), 0, operands.ValuesTransposed.Panels);
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
                    row[..layout.KeyWidth].CopyTo(ownKeyGradients.Row(j));
                    if (layout.SharedWidth > 0)
                        row[layout.KeyWidth..].CopyTo(dshared.Row(firstRow + j)[(keyHead * layout.SharedWidth)..]);
                    dv.Slice(j * layout.ValueWidth, layout.ValueWidth).CopyTo(ownValueGradients.Row(j));
                }
            }
        }

        private void Block(int firstRow, int block, int head, in BackwardOperands o)
        {
            var (width, valueWidth, stride) = (layout.QueryWidth, layout.ValueWidth, o.Stride);
            var rows = Math.Min(QueryBlock, layout.Length - block);
            var low = starts[firstRow + block] / 32 * 32;
            var high = block + rows;
            var padded = (high + 31) & ~31;
            var (queries, gradients) = (query.SliceColumns(head * width, width), doutput.SliceColumns(head * valueWidth, valueWidth));
            var next = Math.Min(QueryBlock, layout.Length - high);
            ReadAhead.Rows(queries, firstRow + high, next);
            ReadAhead.Rows(gradients, firstRow + high, next);
            var q = Operand(queries.SliceRows(firstRow + block, rows), o.Query);
            var dout = Operand(gradients.SliceRows(firstRow + block, rows), o.Output);
            BlockGemm.Multiply(Left(q), o.KeysTransposed, FirstPanel(low), EndPanel(o.KeysTransposed, padded), o.Probabilities, stride, accumulate: false);
            BlockGemm.Multiply(Left(dout), o.ValuesTransposed, FirstPanel(low), EndPanel(o.ValuesTransposed, padded), o.Gradients, stride, accumulate: false);
            for (var i = 0; i < rows; i++)
            {
                float* p = o.Probabilities + ((long)i * stride), d = o.Gradients + ((long)i * stride);
                _ = Probabilities(p, Rounded(o.RoundedProbabilities, i), low, starts[firstRow + block + i], block + i + 1, padded, layout.Scale, logSums.Row(firstRow + block + i)[head]);

                // Columns beyond the last key were not computed.
                for (var j = layout.Length; j < padded; j++)
                    d[j] = 0;
                ScoreGradients(p, d, Rounded(o.RoundedGradients, i), low, padded);
            }

            // dQ = dS K; dK += dS^T Q; dV += P^T dO.
            var ds = Scores(o.Gradients, stride, o.RoundedGradients, low, rows, padded);
            MultiplyKeys(Left(ds), o.Keys, low, high, dquery.Float(firstRow + block) + (head * width), dquery.Stride);
            var right = new PackedMatrix(layout.Operands, o.Queries, rows, width);
            right.PackRows(q, [], 0, right.Panels);
            BlockGemm.Multiply(LeftTransposed(ds, high - low, o.Transposed), right, 0, right.Panels, o.KeyGradient + ((long)low * width), width, accumulate: true);
            var probabilities = Scores(o.Probabilities, stride, o.RoundedProbabilities, low, rows, padded);
            right = new PackedMatrix(layout.Operands, o.Outputs, rows, valueWidth);
            right.PackRows(dout, [], 0, right.Panels);
            BlockGemm.Multiply(LeftTransposed(probabilities, high - low, o.Transposed), right, 0, right.Panels, o.ValueGradient + ((long)low * valueWidth), valueWidth, accumulate: true);
        }

        // d = scale p (d - sum of p d): zero where p is; also rounded, where a place is given.
        private void ScoreGradients(float* p, float* d, ushort* rounded, int low, int high)
        {
            Vector512<float> sum = default;
            for (var j = low; j < high; j += 16)
                sum += Vector512.Load(p + j) * Vector512.Load(d + j);
            var delta = Vector512.Create(DotProduct.Sum(sum, default, default, default));
            var scale = Vector512.Create(layout.Scale);
            for (var j = low; j < high; j += 16)
                Put(d, rounded, j, Vector512.Load(p + j) * (Vector512.Load(d + j) - delta) * scale);
        }
    }

    private struct ForwardOperands
    {
        public float* Scores;
        public int Stride;
        public float* Result;
        public int ResultStride;
        public PackedMatrix Keys;
        public PackedMatrix Values;
        public MatrixView Query;
        public MatrixView Probabilities;
    }

    private struct BackwardOperands
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
        public MatrixView Query;
        public MatrixView Output;
        public MatrixView RoundedProbabilities;
        public MatrixView RoundedGradients;
        public byte* Transposed;
    }
}
