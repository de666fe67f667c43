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
    private readonly int partBytes;
    private readonly long pageBytes;
    private readonly long capacity;

    /// <summary>Describes the rows.</summary>
    /// <param name="memory">All layers' pages.</param>
    /// <param name="layerStart">First byte of the layer's page 0.</param>
    /// <param name="pages">Page numbers (int32) of the sequence, in order.</param>
    /// <param name="pageTokens">Rows in a page, a power of two.</param>
    /// <param name="layout">How they are stored.</param>
    public CachePages(NativeBuffer memory, long layerStart, NativeBuffer pages, int pageTokens, CacheLayout layout)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        if (!int.IsPow2(pageTokens))
            throw new ArgumentOutOfRangeException(nameof(pageTokens), pageTokens, "a power of two");
        if (layout.Parts <= 0 || layout.PartWidth <= 0)
            throw new ArgumentOutOfRangeException(nameof(layout), layout, "parts with values");
        if (layerStart < 0 || layerStart > memory.ByteLength || layerStart % sizeof(float) != 0)
            throw new ArgumentOutOfRangeException(nameof(layerStart), layerStart, $"a multiple of 4 in a buffer of {memory.ByteLength} bytes");
        layer = memory.Pointer + layerStart;
        this.pages = (int*)pages.Pointer;
        pageShift = int.Log2(pageTokens);
        capacity = (pages.ByteLength / sizeof(int)) << pageShift;
        Layout = layout;
        partBytes = layout.PartBytes;
        pageBytes = (long)layout.RowBytes << pageShift;
    }

    /// <summary>How rows are stored.</summary>
    public CacheLayout Layout { get; }

    /// <summary>Values in a row.</summary>
    public int Width => Layout.Width;

    /// <summary>How they are stored.</summary>
    public CacheFormat Format => Layout.Format;

    /// <summary>Rows in a page.</summary>
    public int PageTokens => 1 << pageShift;

    /// <summary>Rows that the table of pages has room for; only those whose page was entered there may be used.</summary>
    public long Capacity => capacity;

    /// <summary>Stores a row; what it has beyond the values becomes 0.</summary>
    /// <exception cref="ArgumentException">The row is not in the table of pages, or it is wider than <see cref="Width"/>.</exception>
    public void Write(int row, ReadOnlySpan<float> values) => Write(row, values, default);

    /// <summary>Stores the values of a row, given in two pieces; what it has beyond them becomes 0.</summary>
    /// <exception cref="ArgumentException">The row is not in the table of pages, or it is wider than <see cref="Width"/>.</exception>
    public void Write(int row, ReadOnlySpan<float> first, ReadOnlySpan<float> second)
    {
        CheckRow(row);
        if (first.Length + (long)second.Length > Width)
            throw new ArgumentException($"a row of {first.Length} + {second.Length} values in a cache of {Width}");
        for (var part = 0; part < Layout.Parts; part++)
        {
            var start = part * Layout.PartWidth;
            CacheRow.Encode(
                Format, first[Math.Min(start, first.Length)..], second[Math.Clamp(start - first.Length, 0, second.Length)..], Row(row, part), Layout.PartWidth);
        }
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
        for (var k = 0; k < values.Length;)
        {
            var (part, start) = Math.DivRem(k, Layout.PartWidth);
            var count = Math.Min(Math.Min(16, Layout.PartWidth - start), values.Length - k);
            CacheRow.Decode(Format, Row(row, part), Layout.PartWidth, start, count, vector);
            new ReadOnlySpan<float>(vector, count).CopyTo(values[k..]);
            k += count;
        }
    }

    /// <summary>First byte of a part of a row; unchecked.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* Row(int row, int part = 0) =>
        layer + (pages[row >> pageShift] * pageBytes) + ((((long)part << pageShift) + (row & (PageTokens - 1))) * partBytes);

    /// <summary>A part of bfloat16 rows that lie one after the other in one page; false for others.</summary>
    internal bool TryView(int first, int count, int part, out MatrixView rows)
    {
        rows = default;
        if (Format != CacheFormat.BF16 || !InOnePage(first, count))
            return false;
        rows = new MatrixView(WeightFormat.BF16, Row(first, part), count, Layout.PartWidth, Layout.PartWidth);
        return true;
    }

    /// <summary>A part of the rows [first, first + count), as far as they lie in the page of the first; nothing where count is 0.</summary>
    internal ReadAhead Ahead(int first, int count, int part = 0) =>
        count <= 0 ? default : new ReadAhead(Row(first, part), (long)Math.Min(count, PageTokens - (first & (PageTokens - 1))) * partBytes);

    /// <summary>Whether some consecutive rows lie in one page, and so a part of them one after the other.</summary>
    internal bool InOnePage(int first, int count) => first >> pageShift == (first + count - 1) >> pageShift;

    private void CheckRow(int row)
    {
        if ((uint)row >= capacity)
            throw new ArgumentOutOfRangeException(nameof(row), row, $"a cache of {capacity} rows");
    }
}
