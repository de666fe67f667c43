namespace Hadal.Numerics.Kernels;

/// <summary>
/// How the rows of an attention cache are stored: in parts of equal width. In a page the first parts of all rows lie one behind the other, then all second parts, and so on, so
/// that what reads one part of many rows reads on in memory.
/// </summary>
/// <param name="Format">How values are stored.</param>
/// <param name="Parts">Parts of a row.</param>
/// <param name="PartWidth">Values in a part.</param>
public readonly record struct CacheLayout(CacheFormat Format, int Parts, int PartWidth)
{
    /// <summary>Values in a row.</summary>
    public int Width => checked(Parts * PartWidth);

    /// <summary>Bytes of a part.</summary>
    public int PartBytes => CacheRow.Bytes(Format, PartWidth);

    /// <summary>Bytes of a row.</summary>
    public int RowBytes => checked(Parts * PartBytes);

    /// <summary>One part, [c (C) | k (R)] rounded up to whole vectors, which all heads read (DeepSeek-V2 report section 2.1.2).</summary>
    /// <param name="format">How values are stored.</param>
    /// <param name="c">C, kv_lora_rank.</param>
    /// <param name="r">R, qk_rope_head_dim.</param>
    public static CacheLayout Latent(CacheFormat format, int c, int r) => new(format, 1, AttentionKernel.LatentRowWidth(c, r));

    /// <summary>The keys of each key/value head, then the values of each.</summary>
    /// <param name="format">How values are stored.</param>
    /// <param name="keyValueHeads">G.</param>
    /// <param name="headDim">A.</param>
    public static CacheLayout KeysAndValues(CacheFormat format, int keyValueHeads, int headDim) => new(format, checked(2 * keyValueHeads), headDim);
}
