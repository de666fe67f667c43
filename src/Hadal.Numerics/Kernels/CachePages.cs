using System.Runtime.CompilerServices;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// One sequence's rows of one layer in a paged cache: row <c>l</c> lies in page <c>pages[l / pageTokens]</c>. A view; whoever owns the memory keeps it alive.
/// </summary>
public readonly unsafe struct CachePages
{
    private readonly byte* layer;
    private readonly int* pages;
    private readonly int pageShift;
    private readonly int rowBytes;
    private readonly long capacity;

    /// <summary>Describes the rows.</summary>
    /// <param name="memory">All layers' pages.</param>
    /// <param name="layerStart">First byte of the layer's page 0.</param>
    /// <param name="pages">Page numbers (int32) of the sequence, in order.</param>
    /// <param name="pageTokens">Rows in a page, a power of two.</param>
    /// <param name="width">Values in a row.</param>
    /// <param name="format">How they are stored.</param>
    public CachePages(NativeBuffer memory, long layerStart, NativeBuffer pages, int pageTokens, int width, CacheFormat format = CacheFormat.F32)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        if (!int.IsPow2(pageTokens))
            throw new ArgumentOutOfRangeException(nameof(pageTokens), pageTokens, "a power of two");
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        if (layerStart < 0 || layerStart > memory.ByteLength || layerStart % sizeof(float) != 0)
            throw new ArgumentOutOfRangeException(nameof(layerStart), layerStart, $"a multiple of 4 in a buffer of {memory.ByteLength} bytes");
        layer = memory.Pointer + layerStart;
        this.pages = (int*)pages.Pointer;
        pageShift = int.Log2(pageTokens);
        capacity = (pages.ByteLength / sizeof(int)) << pageShift;
        Width = width;
        Format = format;
        rowBytes = CacheRow.Bytes(format, width);
    }

    /// <summary>Values in a row.</summary>
    public int Width { get; }

    /// <summary>How they are stored.</summary>
    public CacheFormat Format { get; }

    /// <summary>Rows in a page.</summary>
    public int PageTokens => 1 << pageShift;

    /// <summary>Rows that the table of pages has room for; only those whose page was entered there may be used.</summary>
    public long Capacity => capacity;

    /// <summary>Stores a row; what it has beyond the values becomes 0.</summary>
    /// <exception cref="ArgumentException">The row is not in the table of pages, or it is wider than <see cref="Width"/>.</exception>
    public void Write(int row, ReadOnlySpan<float> values) => Write(row, values, default);

    /// <summary>Stores a row of two parts; what it has beyond them becomes 0.</summary>
    /// <exception cref="ArgumentException">The row is not in the table of pages, or it is wider than <see cref="Width"/>.</exception>
    public void Write(int row, ReadOnlySpan<float> first, ReadOnlySpan<float> second)
    {
        CheckRow(row);
        if (first.Length + (long)second.Length > Width)
            throw new ArgumentException($"a row of {first.Length} + {second.Length} values in a cache of {Width}");
        CacheRow.Encode(Format, first, second, Row(row), Width);
    }

    /// <summary>The values of a row, as attention reads them.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The row is not in the table of pages.</exception>
    public float[] Read(int row)
    {
        var values = new float[Width];
        Read(row, values);
        return values;
    }

    /// <summary>The first values of a row, as attention reads them.</summary>
    /// <exception cref="ArgumentException">The row is not in the table of pages, or has fewer values.</exception>
    public void Read(int row, Span<float> values)
    {
        CheckRow(row);
        if (values.Length > Width)
            throw new ArgumentException($"{values.Length} values of a row of {Width}", nameof(values));
        var vector = stackalloc float[16];
        for (var k = 0; k < values.Length; k += 16)
        {
            var count = Math.Min(16, values.Length - k);
            Decode(row, k, count, vector);
            new ReadOnlySpan<float>(vector, count).CopyTo(values[k..]);
        }
    }

    /// <summary>First byte of row <paramref name="row"/>; unchecked.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* Row(int row) =>
        layer + ((((long)pages[row >> pageShift] << pageShift) + (row & (PageTokens - 1))) * rowBytes);

    /// <summary>Decodes values [start, start + count) of a row, and zeros up to the next multiple of 16.</summary>
    internal void Decode(int row, int start, int count, float* target) => CacheRow.Decode(Format, Row(row), Width, start, count, target);

    /// <summary>Where whole float32 rows of one page lie one after the other; false where they have to be decoded.</summary>
    internal bool TryRows(int first, int count, int start, int width, out float* rows)
    {
        rows = null;
        if (Format != CacheFormat.F32 || start != 0 || width != Width || rowBytes != width * sizeof(float) || first >> pageShift != (first + count - 1) >> pageShift)
            return false;
        rows = (float*)Row(first);
        return true;
    }

    /// <summary>Whole bfloat16 rows that lie one after the other in one page; false for others.</summary>
    internal bool TryView(int first, int count, out MatrixView rows)
    {
        rows = default;
        if (Format != CacheFormat.BF16 || first >> pageShift != (first + count - 1) >> pageShift)
            return false;
        rows = new MatrixView(WeightFormat.BF16, Row(first), count, Width, Width);
        return true;
    }

    /// <summary>The rows [first, first + count), as far as they lie in the page of the first; nothing where count is 0.</summary>
    internal ReadAhead Ahead(int first, int count) =>
        count <= 0 ? default : new ReadAhead(Row(first), (long)Math.Min(count, PageTokens - (first & (PageTokens - 1))) * rowBytes);

    private void CheckRow(int row)
    {
        if ((uint)row >= capacity)
            throw new ArgumentOutOfRangeException(nameof(row), row, $"a cache of {capacity} rows");
    }
}
