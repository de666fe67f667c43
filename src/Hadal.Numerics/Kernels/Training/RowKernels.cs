using System.Numerics.Tensors;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>Copies, gathers and sums of rows, each value on its own: nothing here depends on how rows are shared out among threads.</summary>
public static unsafe class RowKernels
{
    private const int Grain = 16;

    /// <summary>target = source, rounded or widened as the formats ask.</summary>
    /// <param name="source">[T, D].</param>
    /// <param name="target">[T, D].</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Copy(MatrixView source, MatrixView target, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (source.Rows != target.Rows || source.Cols != target.Cols)
            throw new ArgumentException($"[{source.Rows}, {source.Cols}] into [{target.Rows}, {target.Cols}]");
        threads.Run(source.Rows, Grain, new CopyJob(source, target));
    }

    /// <summary>target[i] = source[rows[i]] on the calling worker, rounded or widened as the formats ask.</summary>
    /// <param name="source">[T, D].</param>
    /// <param name="rows">Which rows.</param>
    /// <param name="target">[rows, D].</param>
    public static void Gather(MatrixView source, ReadOnlySpan<int> rows, MatrixView target)
    {
        if (source.Cols != target.Cols || rows.Length != target.Rows)
            throw new ArgumentException($"{rows.Length} rows of [{source.Rows}, {source.Cols}] into [{target.Rows}, {target.Cols}]");
        for (var i = 0; i < rows.Length; i++)
        {
            if ((uint)rows[i] >= (uint)source.Rows)
                throw new ArgumentException($"row {rows[i]} of {source.Rows}");
            CopyRow(source.Format, source.RowPointer(rows[i]), target.Format, target.RowPointer(i), source.Cols);
        }
    }

    /// <summary>target[rows[i]] += source[i]; rows are distinct.</summary>
    /// <param name="source">F32 [rows, D].</param>
    /// <param name="rows">Which rows of the target.</param>
    /// <param name="target">F32 [T, D].</param>
    /// <param name="threads">Pool to run on.</param>
    public static void ScatterAdd(MatrixView source, int[] rows, MatrixView target, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(threads);
        if (source.Cols != target.Cols || rows.Length < source.Rows)
            throw new ArgumentException($"[{source.Rows}, {source.Cols}] by {rows.Length} rows into [{target.Rows}, {target.Cols}]");
        threads.Run(source.Rows, Grain, new ScatterJob(source, rows, target));
    }

    /// <summary>target[tokens[t]] += source[t], in rising t for every row: the gradient of an embedding, where tokens repeat.</summary>
    /// <param name="source">F32 [T, D].</param>
    /// <param name="tokens">[T].</param>
    /// <param name="target">F32 [V, D].</param>
    /// <param name="threads">Pool to run on.</param>
    public static void AddByToken(MatrixView source, int[] tokens, MatrixView target, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        ArgumentNullException.ThrowIfNull(threads);
        if (source.Cols != target.Cols || tokens.Length < source.Rows)
            throw new ArgumentException($"[{source.Rows}, {source.Cols}] by {tokens.Length} tokens into [{target.Rows}, {target.Cols}]");

        // Each job takes some of the columns for all tokens.
        threads.Run((source.Cols + TokenColumns - 1) / TokenColumns, 1, new TokenJob(source, tokens, target));
    }

    /// <summary>
    /// target[t] = first[t] + second[t] + sum over k of parts[places[t, k]], added in that order: how a token's experts come together. Second may be empty.
    /// </summary>
    /// <param name="first">F32 [T, D].</param>
    /// <param name="second">F32 [T, D], or empty.</param>
    /// <param name="parts">F32 [T*K, D].</param>
    /// <param name="places">[T, K].</param>
    /// <param name="target">F32 [T, D]; may be <paramref name="first"/>.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Combine(MatrixView first, MatrixView second, MatrixView parts, int[] places, MatrixView target, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(places);
        ArgumentNullException.ThrowIfNull(threads);
        if (first.Rows != target.Rows || first.Cols != target.Cols || (parts.Rows > 0 && parts.Rows % target.Rows != 0))
            throw new ArgumentException($"[{first.Rows}, {first.Cols}] and {parts.Rows} parts into [{target.Rows}, {target.Cols}]");
        threads.Run(target.Rows, Grain, new CombineJob(first, second, parts, places, parts.Rows / target.Rows, target));
    }

    /// <summary>Sets F32 rows to zero.</summary>
    public static void Clear(MatrixView target, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        threads.Run(target.Rows, Grain, new ClearJob(target));
    }

    /// <summary>target[r] = sum over g of source[r, g*width .. (g + 1)*width), in rising g: a key's gradient from all heads.</summary>
    /// <param name="source">F32 [T, G*width].</param>
    /// <param name="target">F32 [T, width].</param>
    /// <param name="threads">Pool to run on.</param>
    public static void SumGroups(MatrixView source, MatrixView target, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (source.Rows != target.Rows || source.Cols % target.Cols != 0)
            throw new ArgumentException($"[{source.Rows}, {source.Cols}] into [{target.Rows}, {target.Cols}]");
        threads.Run(source.Rows, Grain, new SumJob(source, target));
    }

    /// <summary>Turns the R values at the end of every head of rows by their rotary angles, in place; backwards for gradients.</summary>
    /// <param name="x">F32 [T, H*width].</param>
    /// <param name="width">Values of a head; the last R of them are turned.</param>
    /// <param name="rotary">Which values make pairs.</param>
    /// <param name="cos">[T, R/2].</param>
    /// <param name="sin">[T, R/2].</param>
    /// <param name="backward">Whether to turn by the negative angle: the transpose of a rotation.</param>
    /// <param name="threads">Pool to run on.</param>
    public static void Rotate(MatrixView x, int width, RotaryEmbedding rotary, MatrixView cos, MatrixView sin, bool backward, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(rotary);
        ArgumentNullException.ThrowIfNull(threads);
        if (x.Cols % width != 0 || cos.Rows < x.Rows || sin.Rows < x.Rows || width < rotary.Dimension)
            throw new ArgumentException($"[{x.Rows}, {x.Cols}] in heads of {width} by angles of {cos.Rows} rows");
        threads.Run(x.Rows, Grain, new RotateJob(x, width, rotary, cos, sin, backward));
    }

    internal static void CopyRow(WeightFormat from, byte* source, WeightFormat to, byte* target, int count)
    {
        if (from == to)
            new ReadOnlySpan<byte>(source, count * (from == WeightFormat.F32 ? 4 : 2)).CopyTo(new Span<byte>(target, count * (from == WeightFormat.F32 ? 4 : 2)));
        else if (from == WeightFormat.F32)
            BF16.Encode(new ReadOnlySpan<float>(source, count), new Span<byte>(target, count * 2));
        else
            BF16.Decode(new ReadOnlySpan<byte>(source, count * 2), new Span<float>(target, count));
    }

    private const int TokenColumns = 64;

    private readonly struct CopyJob(MatrixView source, MatrixView target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var row = start; row < end; row++)
                CopyRow(source.Format, source.RowPointer(row), target.Format, target.RowPointer(row), source.Cols);
        }
    }

    private readonly struct ScatterJob(MatrixView source, int[] rows, MatrixView target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var i = start; i < end; i++)
            {
                var row = target.Row(rows[i]);
                TensorPrimitives.Add(row, source.Row(i), row);
            }
        }
    }

    private readonly struct TokenJob(MatrixView source, int[] tokens, MatrixView target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var column = start * TokenColumns;
            var count = Math.Min(end * TokenColumns, source.Cols) - column;
            for (var t = 0; t < source.Rows; t++)
            {
                var row = target.Row(tokens[t]).Slice(column, count);
                TensorPrimitives.Add(row, source.Row(t).Slice(column, count), row);
            }
        }
    }

    private readonly struct CombineJob(MatrixView first, MatrixView second, MatrixView parts, int[] places, int k, MatrixView target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var t = start; t < end; t++)
            {
                float* a = first.Float(t), b = second.IsEmpty ? null : second.Float(t), sums = target.Float(t), part = parts.IsEmpty ? null : parts.Float(0);
                ReadOnlySpan<int> at = places.AsSpan(t * k, k);
                var column = 0;
                for (; column <= target.Cols - 16; column += 16)
                {
                    var sum = Vector512.Load(a + column);
                    if (b != null)
                        sum += Vector512.Load(b + column);
                    foreach (var place in at)
                        sum += Vector512.Load(part + ((long)place * parts.Stride) + column);
                    sum.Store(sums + column);
                }

                for (; column < target.Cols; column++)
                {
                    var sum = a[column];
                    if (b != null)
                        sum += b[column];
                    foreach (var place in at)
                        sum += part[((long)place * parts.Stride) + column];
                    sums[column] = sum;
                }
            }
        }
    }

    private readonly struct ClearJob(MatrixView target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var row = start; row < end; row++)
                target.Row(row).Clear();
        }
    }

    private readonly struct SumJob(MatrixView source, MatrixView target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var row = start; row < end; row++)
            {
                var sum = target.Row(row);
                source.Row(row)[..sum.Length].CopyTo(sum);
                for (var column = sum.Length; column < source.Cols; column += sum.Length)
                    TensorPrimitives.Add(sum, source.Row(row).Slice(column, sum.Length), sum);
            }
        }
    }

    private readonly struct RotateJob(MatrixView x, int width, RotaryEmbedding rotary, MatrixView cos, MatrixView sin, bool backward) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            Span<float> turns = stackalloc float[rotary.Dimension / 2];
            for (var row = start; row < end; row++)
            {
                if (backward)
                    TensorPrimitives.Negate(sin.Row(row), turns);
                else
                    sin.Row(row).CopyTo(turns);
                for (var head = width; head <= x.Cols; head += width)
                    rotary.Rotate(x.Row(row)[(head - rotary.Dimension)..head], cos.Row(row), turns);
            }
        }
    }
}
