namespace Hadal.Numerics.Formats;

/// <summary>
/// The twelve bytes of <see cref="Q4_K"/> and <see cref="Q5_K"/> that hold eight 6-bit scales and eight 6-bit minima: bytes 0-3 are scales 0-3,
/// bytes 4-7 minima 0-3, bytes 8-11 the lower 4 bits of scale (low nibble) and minimum (high nibble) 4-7, whose upper 2 bits are the upper 2 bits
/// of bytes 0-3 (scales) and 4-7 (minima). Source: ggml, get_scale_min_k4.
/// </summary>
internal static class SixBitPairs
{
    /// <summary>Bytes of the eight pairs.</summary>
    public const int Bytes = 12;

    /// <summary>Pairs.</summary>
    public const int Count = 8;

    /// <summary>The largest scale or minimum.</summary>
    public const int Max = 63;

    /// <summary>The scale and the minimum with index <paramref name="j"/>, each 0 to 63.</summary>
    public static (int Scale, int Minimum) Get(ReadOnlySpan<byte> packed, int j) => j < 4
        ? (packed[j] & 63, packed[j + 4] & 63)
        : ((packed[j + 4] & 0x0F) | ((packed[j - 4] >> 6) << 4), (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4));
}
