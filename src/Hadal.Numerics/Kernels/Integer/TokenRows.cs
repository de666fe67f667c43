namespace Hadal.Numerics.Kernels.Integer;

/// <summary>The quantised rows of a product's tokens, equally far apart: as they lie where the list allows it, one row, two, rows that follow each other; else brought together.</summary>
/// <param name="First">The first one.</param>
/// <param name="Stride">Bytes from one to the next.</param>
internal readonly unsafe record struct TokenRows(nint First, long Stride)
{
    /// <summary>Bytes that bringing them together may take.</summary>
    /// <param name="tokens">How many.</param>
    /// <param name="listed">Whether they are taken from a list.</param>
    /// <param name="rowBytes">Bytes of each.</param>
    public static long Bytes(int tokens, bool listed, int rowBytes) => listed && tokens > 2 ? (long)tokens * rowBytes : 0;

    /// <summary>Finds them.</summary>
    /// <param name="x">All rows.</param>
    /// <param name="rowBytes">Bytes of each.</param>
    /// <param name="list">Which rows; null when it is 0, 1, 2 and so on.</param>
    /// <param name="first">First entry of the list.</param>
    /// <param name="tokens">How many.</param>
    /// <param name="free">Memory to bring them together in, <see cref="Bytes"/>; moved on by what is used.</param>
    public static TokenRows Of(byte* x, int rowBytes, int* list, int first, int tokens, ref byte* free)
    {
        if (list == null)
            return new((nint)(x + ((long)first * rowBytes)), rowBytes);
        list += first;
        var step = tokens > 1 ? list[1] - list[0] : 1;
        var i = 2;
        while (i < tokens && list[i] - list[i - 1] == step)
            i++;
        if (i >= tokens)
            return new((nint)(x + ((long)list[0] * rowBytes)), (long)step * rowBytes);
        var gathered = free;
        for (i = 0; i < tokens; i++, free += rowBytes)
            Buffer.MemoryCopy(x + ((long)list[i] * rowBytes), free, rowBytes, rowBytes);
        return new((nint)gathered, rowBytes);
    }
}
