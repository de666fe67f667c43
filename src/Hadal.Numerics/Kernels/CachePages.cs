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

    /// <summary>Describes the rows.</summary>
    /// <param name="memory">Float32 values of all layers' pages.</param>
    /// <param name="layerStart">First value of the layer's page 0.</param>
    /// <param name="pages">Page numbers (int32) of the sequence, in order.</param>
    /// <param name="pageTokens">Rows in a page, a power of two.</param>
    /// <param name="width">Values in a row.</param>
    public CachePages(NativeBuffer memory, long layerStart, NativeBuffer pages, int pageTokens, int width)
    {
        if (!int.IsPow2(pageTokens))
            throw new ArgumentOutOfRangeException(nameof(pageTokens), pageTokens, "a power of two");
        layer = (float*)memory.Pointer + layerStart;
        this.pages = (int*)pages.Pointer;
        pageShift = int.Log2(pageTokens);
        Width = width;
    }

    /// <summary>Values in a row.</summary>
    public int Width { get; }

    /// <summary>Rows in a page.</summary>
    public int PageTokens => 1 << pageShift;

    /// <summary>First value of row <paramref name="row"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal float* Row(int row) =>
        layer + ((((long)pages[row >> pageShift] << pageShift) + (row & (PageTokens - 1))) * Width);

    /// <summary>Copies a row into the cache; what the row has beyond the values stays as it is, zero in fresh memory.</summary>
    public void Write(int row, ReadOnlySpan<float> values) => values.CopyTo(new Span<float>(Row(row), Width));

    /// <summary>Copies a row of two parts into the cache.</summary>
    public void Write(int row, ReadOnlySpan<float> first, ReadOnlySpan<float> second)
    {
        var target = new Span<float>(Row(row), Width);
        first.CopyTo(target);
        second.CopyTo(target[first.Length..]);
    }

    /// <summary>The values of a row.</summary>
    public ReadOnlySpan<float> Read(int row) => new(Row(row), Width);
}
