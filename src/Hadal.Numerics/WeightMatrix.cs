using System.Runtime.CompilerServices;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics;

/// <summary>
/// A view of a weight matrix [rows, cols], row-major, in any <see cref="WeightFormat"/>: a pointer into memory that somebody else owns
/// (a mapped file or a <see cref="NativeBuffer"/>) and keeps alive for as long as the view is used.
/// </summary>
/// <remarks>
/// Shape letters: rows = output channels, cols = input channels (y = W x). An E4M3 matrix has scales [ceil(rows/128), ceil(cols/128)],
/// W = code * scale (DeepSeek-V3 report section 3.3.2; README_WEIGHTS of deepseek-ai/DeepSeek-V3). A slice of rows remembers where it starts, so that
/// slices need not begin at a block border.
/// </remarks>
public readonly unsafe struct WeightMatrix
{
    /// <summary>Rows and columns of one E4M3 scale block.</summary>
    public const int ScaleBlock = 128;

    // A decoded row, two of them and their padding stay within the int lengths of spans.
    private const int MaxCols = 1 << 28;

    private readonly int firstRow;

    /// <summary>Describes a matrix that lies at <paramref name="data"/>.</summary>
    /// <param name="format">How the values are stored.</param>
    /// <param name="data">First byte; must stay valid for <see cref="ByteLength"/> bytes while the view is used.</param>
    /// <param name="rows">Output channels.</param>
    /// <param name="cols">Input channels, a multiple of the format's block length.</param>
    /// <param name="scales">E4M3 only: [ceil(rows/128), ceil(cols/128)] float32 values; null otherwise.</param>
    /// <exception cref="ArgumentException">The shape does not fit the format.</exception>
    public WeightMatrix(WeightFormat format, byte* data, int rows, int cols, float* scales = null)
        : this(format, data, rows, cols, scales, 0)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(cols);
        if (cols > MaxCols)
            throw new ArgumentException($"a matrix [{rows}, {cols}] is wider than the {MaxCols} columns that kernels take");
        if (cols % WeightFormats.BlockLength(format) != 0)
            throw new ArgumentException($"{format} rows hold whole blocks of {WeightFormats.BlockLength(format)} values, but the matrix is [{rows}, {cols}]");
        if (format == WeightFormat.F8_E4M3 != (scales != null))
            throw new ArgumentException($"{format} [{rows}, {cols}]: block scales belong to F8_E4M3 and to nothing else");
    }

    /// <summary>Describes a matrix at the start of a buffer, which has to outlive the view.</summary>
    /// <param name="format">How the values are stored.</param>
    /// <param name="data">Holds the rows.</param>
    /// <param name="rows">Output channels.</param>
    /// <param name="cols">Input channels.</param>
    /// <param name="scales">E4M3 only: holds [ceil(rows/128), ceil(cols/128)] float32 values.</param>
    /// <exception cref="ArgumentException">The shape does not fit the format or the buffers.</exception>
    public static WeightMatrix Over(WeightFormat format, NativeBuffer data, int rows, int cols, NativeBuffer? scales = null)
    {
        ArgumentNullException.ThrowIfNull(data);
        var matrix = new WeightMatrix(format, data.Pointer, rows, cols, scales == null ? null : (float*)scales.Pointer);
        var scaleBytes = (long)((rows + ScaleBlock - 1) / ScaleBlock) * matrix.ScaleColumns * sizeof(float);
        if (matrix.ByteLength > data.ByteLength || (scales is not null && scaleBytes > scales.ByteLength))
            throw new ArgumentException($"{format} [{rows}, {cols}] needs {matrix.ByteLength} bytes and {scaleBytes} of scales, but the buffers have {data.ByteLength} and {scales?.ByteLength ?? 0}");
        return matrix;
    }

    private WeightMatrix(WeightFormat format, byte* data, int rows, int cols, float* scales, int firstRow)
    {
        Format = format;
        Data = data;
        Rows = rows;
        Cols = cols;
        Scales = scales;
        this.firstRow = firstRow;
        RowBytes = WeightFormats.RowBytes(format, cols);
    }

    /// <summary>How the values are stored.</summary>
    public WeightFormat Format { get; }

    /// <summary>Output channels.</summary>
    public int Rows { get; }

    /// <summary>Input channels.</summary>
    public int Cols { get; }

    /// <summary>Bytes of one row.</summary>
    public long RowBytes { get; }

    /// <summary>Bytes of all rows, without E4M3 scales.</summary>
    public long ByteLength => RowBytes * Rows;

    /// <summary>Whether the view describes nothing (a default value).</summary>
    public bool IsEmpty => Data == null;

    internal byte* Data { get; }

    internal float* Scales { get; }

    /// <summary>The same weights as <see cref="WeightInterleaving"/> lays them out, or null.</summary>
    internal byte* Interleaved { get; init; }

    /// <summary>Bytes of a panel there.</summary>
    internal long InterleavedBytes { get; init; }

    /// <summary>Number of E4M3 scale blocks along a row.</summary>
    internal int ScaleColumns => (Cols + ScaleBlock - 1) / ScaleBlock;

    /// <summary>The stored bytes of one row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ReadOnlySpan<byte> Row(int row)
    {
        CheckRow(row);
        return new(Data + (row * RowBytes), (int)RowBytes);
    }

    /// <summary>The E4M3 scales that apply to one row, one for each 128 columns; empty for every other format.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ReadOnlySpan<float> RowScales(int row)
    {
        CheckRow(row);
        return Scales == null ? default : new(Scales + ((long)((firstRow + row) / ScaleBlock) * ScaleColumns), ScaleColumns);
    }

    /// <summary>One past the last row that has the scales of <paramref name="row"/>; all rows of a matrix without scales have the same.</summary>
    internal int ScaleBlockEnd(int row) => Scales == null ? Rows : Math.Min(Rows, (((firstRow + row) / ScaleBlock) + 1) * ScaleBlock - firstRow);

    /// <summary>The view of <paramref name="count"/> rows from <paramref name="start"/> on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The rows are not all inside the matrix.</exception>
    public WeightMatrix SliceRows(int start, int count)
    {
        if ((uint)start > (uint)Rows || (uint)count > (uint)(Rows - start))
            throw new ArgumentOutOfRangeException(nameof(start), $"rows [{start}, {start + (long)count}) of a matrix [{Rows}, {Cols}]");
        var slice = new WeightMatrix(Format, Data + start * RowBytes, count, Cols, Scales, firstRow + start);
        return Interleaved == null || start % InterleavedPanel.Rows != 0
            ? slice
            : slice with { Interleaved = Interleaved + (start / InterleavedPanel.Rows * InterleavedBytes), InterleavedBytes = InterleavedBytes };
    }

    /// <summary>The same matrix with its rows copied; E4M3 scales stay where they are.</summary>
    /// <param name="target">Where to; has to outlive the view.</param>
    public WeightMatrix CopyTo(NativeArena target)
    {
        ArgumentNullException.ThrowIfNull(target);
        var copy = target.Take(ByteLength);
        Buffer.MemoryCopy(Data, copy, ByteLength, ByteLength);
        return new WeightMatrix(Format, copy, Rows, Cols, Scales, firstRow);
    }

    /// <summary>Decodes one row to float32, block scales applied.</summary>
    /// <param name="row">Row index.</param>
    /// <param name="values">Exactly <see cref="Cols"/> values.</param>
    public void DecodeRow(int row, Span<float> values) => DecodeRows(row, 1, values);

    /// <summary>Decodes some rows to float32, block scales applied.</summary>
    /// <param name="start">The first.</param>
    /// <param name="count">How many, at least one.</param>
    /// <param name="values">[count, <see cref="Cols"/>].</param>
    /// <exception cref="ArgumentOutOfRangeException">There are no such rows.</exception>
    /// <exception cref="ArgumentException">The values are too few or too many.</exception>
    public void DecodeRows(int start, int count, Span<float> values)
    {
        CheckRow(start);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Rows - start);
        var rows = new ReadOnlySpan<byte>(Data + (start * RowBytes), checked((int)(count * RowBytes)));
        if (Scales == null)
        {
            WeightFormats.Decode(Format, rows, values);
            return;
        }

        if (values.Length != rows.Length)
            throw new ArgumentException($"{values.Length} values for {count} rows of {Cols}", nameof(values));
        for (var r = 0; r < count; r++)
        {
            var scales = RowScales(start + r);
            for (var b = 0; b < scales.Length; b++)
            {
                var block = (r * Cols) + (b * ScaleBlock);
                var length = Math.Min(ScaleBlock, Cols - (b * ScaleBlock));
                F8_E4M3.Decode(rows.Slice(block, length), scales[b], values.Slice(block, length));
            }
        }
    }

    private void CheckRow(int row)
    {
        if ((uint)row >= (uint)Rows)
            throw new ArgumentOutOfRangeException(nameof(row), row, $"a matrix [{Rows}, {Cols}]");
    }
}
