using Hadal.Numerics.Formats;

namespace Hadal.Numerics;

/// <summary>
/// A view of float32 or bfloat16 rows in native memory: what the kernels of a training step read and write. It owns nothing; the memory must stay valid while
/// it is used. Views are cheap to cut into rows and columns.
/// </summary>
public readonly unsafe struct MatrixView
{
    /// <summary>Describes rows that lie at <paramref name="data"/>.</summary>
    /// <param name="format">F32 or BF16.</param>
    /// <param name="data">First value.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="cols">Values of a row.</param>
    /// <param name="stride">Values from one row to the next.</param>
    /// <exception cref="ArgumentException">Another format, a negative dimension, or rows that overlap.</exception>
    public MatrixView(WeightFormat format, byte* data, int rows, int cols, int stride)
    {
        if (format is not (WeightFormat.F32 or WeightFormat.BF16) || rows < 0 || cols < 0 || stride < cols)
            throw new ArgumentException($"a view [{rows}, {cols}] of {format} with rows {stride} apart");
        Format = format;
        Data = data;
        Rows = rows;
        Cols = cols;
        Stride = stride;
    }

    /// <summary>Rows that lie one behind the other in a buffer.</summary>
    /// <param name="buffer">Memory; must outlive the view.</param>
    /// <param name="start">Value of the buffer at which the first row begins.</param>
    /// <param name="format">F32 or BF16.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="cols">Values of a row.</param>
    /// <exception cref="ArgumentException">They are not inside the buffer.</exception>
    public static MatrixView Over(NativeBuffer buffer, long start, WeightFormat format, int rows, int cols)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        var size = format == WeightFormat.F32 ? 4 : 2;
        if (start < 0 || (start + ((long)rows * cols)) * size > buffer.ByteLength)
            throw new ArgumentException($"values [{start}, {start + ((long)rows * cols)}) of {size} bytes in a buffer of {buffer.ByteLength} bytes");
        return new MatrixView(format, buffer.Pointer + (start * size), rows, cols, cols);
    }

    /// <summary>F32 or BF16.</summary>
    public WeightFormat Format { get; }

    /// <summary>Rows.</summary>
    public int Rows { get; }

    /// <summary>Values of a row.</summary>
    public int Cols { get; }

    /// <summary>Values from one row to the next.</summary>
    public int Stride { get; }

    /// <summary>Whether there is nothing to see (a default value).</summary>
    public bool IsEmpty => Data == null;

    internal byte* Data { get; }

    internal int ElementBytes => Format == WeightFormat.F32 ? 4 : 2;

    internal long RowBytes => (long)Stride * ElementBytes;

    /// <summary>A float32 row.</summary>
    /// <exception cref="InvalidOperationException">The rows are BF16.</exception>
    public Span<float> Row(int row)
    {
        if ((uint)row >= (uint)Rows)
            RefuseRow(row);
        return new Span<float>(Float(row), Cols);
    }

    /// <summary>A row as float32, whatever its format.</summary>
    /// <param name="row">Which.</param>
    /// <param name="values">As many as there are columns.</param>
    public void ReadRow(int row, Span<float> values)
    {
        if ((uint)row >= (uint)Rows || values.Length != Cols)
            throw new ArgumentException($"row {row} into {values.Length} values of a view [{Rows}, {Cols}]");
        if (Format == WeightFormat.F32)
            Row(row).CopyTo(values);
        else
            BF16.Decode(new ReadOnlySpan<byte>(RowPointer(row), Cols * 2), values);
    }

    /// <summary>Rows [<paramref name="start"/>, <paramref name="start"/> + <paramref name="count"/>).</summary>
    public MatrixView SliceRows(int start, int count)
    {
        if ((uint)start > (uint)Rows || (uint)count > (uint)(Rows - start))
            throw new ArgumentOutOfRangeException(nameof(start), $"rows [{start}, {start + (long)count}) of a view [{Rows}, {Cols}]");
        return new MatrixView(Format, RowPointer(start), count, Cols, Stride);
    }

    /// <summary>Columns [<paramref name="start"/>, <paramref name="start"/> + <paramref name="count"/>).</summary>
    public MatrixView SliceColumns(int start, int count)
    {
        if ((uint)start > (uint)Cols || (uint)count > (uint)(Cols - start))
            throw new ArgumentOutOfRangeException(nameof(start), $"columns [{start}, {start + (long)count}) of a view [{Rows}, {Cols}]");
        return new MatrixView(Format, Data + ((long)start * ElementBytes), Rows, count, Stride);
    }

    /// <summary>The same memory as rows of another width.</summary>
    /// <exception cref="ArgumentException">The rows are not contiguous, or the counts differ.</exception>
    public MatrixView Reshape(int rows, int cols)
    {
        if (Stride != Cols || (long)rows * cols != (long)Rows * Cols)
            throw new ArgumentException($"[{Rows}, {Cols}] with rows {Stride} apart as [{rows}, {cols}]");
        return new MatrixView(Format, Data, rows, cols, cols);
    }

    internal byte* RowPointer(int row) => Data + (row * RowBytes);

    internal float* Float(int row)
    {
        if (Format != WeightFormat.F32)
            RefuseFormat();
        return (float*)Data + ((long)row * Stride);
    }

    // Apart, so that the callers are small enough to be inlined.
    private void RefuseRow(int row) => throw new ArgumentOutOfRangeException(nameof(row), row, $"a view of {Rows} rows");

    private static void RefuseFormat() => throw new InvalidOperationException("the rows are BF16, not F32");
}
