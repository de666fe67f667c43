namespace Hadal.Numerics.Kernels;

/// <summary>
/// A part of up to <see cref="RunningSoftmax.ChunkRows"/> consecutive cache rows [L, W]: where they lie, if they lie there one after the other and as they are wanted, else
/// decoded into a panel.
/// </summary>
internal readonly unsafe struct CacheChunk
{
    private readonly byte* start;

    /// <summary>Finds or decodes them.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="first">First row.</param>
    /// <param name="count">L.</param>
    /// <param name="part">Which part of each row.</param>
    /// <param name="panel">Memory for L x W values.</param>
    /// <param name="asStored">Whether they are wanted as they are stored, rather than as float32.</param>
    public CacheChunk(CachePages cache, int first, int count, int part, float* panel, bool asStored = false)
    {
        Count = count;
        Width = (cache.Layout.PartWidth + 15) / 16 * 16;
        var together = cache.InOnePage(first, count) && Width == cache.Layout.PartWidth;
        if (together && (asStored || cache.Format == CacheFormat.F32))
        {
            start = cache.Row(first, part);
            (RowBytes, Format) = (cache.Layout.PartBytes, cache.Format);
            return;
        }

        start = (byte*)panel;
        (RowBytes, Format) = (Width * sizeof(float), CacheFormat.F32);
        if (together && cache.Format == CacheFormat.BF16)
        {
            // As one long row.
            CacheRow.Decode(cache.Format, cache.Row(first, part), count * Width, 0, count * Width, panel);
            return;
        }

        for (var l = 0; l < count; l++)
            CacheRow.Decode(cache.Format, cache.Row(first + l, part), cache.Layout.PartWidth, 0, cache.Layout.PartWidth, panel + ((long)l * Width));
    }

    /// <summary>How the values are stored here.</summary>
    public CacheFormat Format { get; }

    /// <summary>The values where they are float32.</summary>
    public float* Rows => (float*)start;

    /// <summary>L.</summary>
    public int Count { get; }

    /// <summary>W: the part's width, rounded up to 16; the values beyond it are 0.</summary>
    public int Width { get; }

    /// <summary>Bytes from one row to the next.</summary>
    public int RowBytes { get; }

    /// <summary>First byte of row <paramref name="l"/>.</summary>
    public byte* Row(int l) => start + ((long)l * RowBytes);
}
