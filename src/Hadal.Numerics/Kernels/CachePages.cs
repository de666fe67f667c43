using System.Runtime.CompilerServices;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// One sequence's rows of one layer in a paged cache: row <c>l</c> lies in page <c>pages[l / pageTokens]</c>. A view; whoever owns the memory keeps it alive.
/// </summary>
public readonly unsafe struct CachePages
{
    private readonly float* layer;
    private readonly int* pages;
    private readonly int pageShift;
    private readonly long capacity;

    /// <summary>Describes the rows.</summary>
    /// <param name="memory">Float32 values of all layers' pages.</param>
    /// <param name="layerStart">First value of the layer's page 0.</param>
    /// <param name="pages">Page numbers (int32) of the sequence, in order.</param>
    /// <param name="pageTokens">Rows in a page, a power of two.</param>
    /// <param name="width">Values in a row.</param>
    public CachePages(NativeBuffer memory, long layerStart, NativeBuffer pages, int pageTokens, int width)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        if (!int.IsPow2(pageTokens))
            throw new ArgumentOutOfRangeException(nameof(pageTokens), pageTokens, "a power of two");
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        if (layerStart < 0 || layerStart > memory.ByteLength / sizeof(float))
            throw new ArgumentOutOfRangeException(nameof(layerStart), layerStart, $"a value of a buffer of {memory.ByteLength / sizeof(float)}");
        layer = (float*)memory.Pointer + layerStart;
        this.pages = (int*)pages.Pointer;
        pageShift = int.Log2(pageTokens);
        capacity = (pages.ByteLength / sizeof(int)) << pageShift;
        Width = width;
    }

    /// <summary>Values in a row.</summary>
    public int Width { get; }

    /// <summary>Rows in a page.</summary>
    public int PageTokens => 1 << pageShift;

    /// <summary>Rows that the table of pages has room for; only those whose page was entered there may be used.</summary>
    public long Capacity => capacity;

    /// <summary>First value of row <paramref name="row"/>; unchecked.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal float* Row(int row) =>
        layer + ((((long)pages[row >> pageShift] << pageShift) + (row & (PageTokens - 1))) * Width);

    /// <summary>Copies a row into the cache; what the row has beyond the values stays as it is, zero in fresh memory.</summary>
    /// <exception cref="ArgumentException">The row is not in the table of pages, or it is wider than <see cref="Width"/>.</exception>
    public void Write(int row, ReadOnlySpan<float> values) => values.CopyTo(Checked(row));

    /// <summary>Copies a row of two parts into the cache.</summary>
    /// <exception cref="ArgumentException">The row is not in the table of pages, or it is wider than <see cref="Width"/>.</exception>
    public void Write(int row, ReadOnlySpan<float> first, ReadOnlySpan<float> second)
    {
        var target = Checked(row);
        first.CopyTo(target);
        second.CopyTo(target[first.Length..]);
    }

    /// <summary>The values of a row.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The row is not in the table of pages.</exception>
    public ReadOnlySpan<float> Read(int row) => Checked(row);

    private Span<float> Checked(int row)
    {
        if ((uint)row >= capacity)
            throw new ArgumentOutOfRangeException(nameof(row), row, $"a cache of {capacity} rows");
        return new Span<float>(Row(row), Width);
    }
}
