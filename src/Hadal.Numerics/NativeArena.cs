namespace Hadal.Numerics;

/// <summary>
/// Native memory handed out piece by piece and freed at once: weights one behind the other, so that matrices of a megabyte or two lie in the system's large
/// pages, too, which a <see cref="NativeBuffer"/> for each would not fill. Not thread-safe.
/// </summary>
/// <param name="inHugePages">Whether it lies in <see cref="HugePages"/> as long as there are any, behind that in ordinary memory.</param>
public sealed unsafe class NativeArena(bool inHugePages = false) : IDisposable
{
    private const long BlockBytes = 64L << 20;
    private const int Alignment = 64;

    private readonly List<NativeBuffer> blocks = [];
    private long used;
    private bool isDisposed;

    /// <summary>Zeroed memory, 64-byte aligned.</summary>
    /// <param name="byteLength">Bytes.</param>
    /// <exception cref="OutOfMemoryException">The system has not that much.</exception>
    /// <exception cref="ObjectDisposedException">It is disposed.</exception>
    public byte* Take(long byteLength)
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(byteLength);
        if (!HasRoom(byteLength))
        {
            var block = Math.Max(BlockBytes, byteLength);
            blocks.Add((inHugePages ? NativeBuffer.TryInHugePages(block) : null) ?? new NativeBuffer(block));
            used = 0;
        }

        var piece = blocks[^1].Pointer + used;
        used += (byteLength + Alignment - 1) / Alignment * Alignment;
        return piece;
    }

    /// <summary>The same as a span.</summary>
    /// <param name="byteLength">Bytes.</param>
    /// <exception cref="OutOfMemoryException">The system has not that much.</exception>
    public Span<byte> TakeSpan(int byteLength) => new(Take(byteLength), byteLength);

    /// <summary>Whether so many bytes come out of memory that was taken from the system already.</summary>
    /// <param name="byteLength">Bytes.</param>
    public bool HasRoom(long byteLength) => blocks.Count > 0 && byteLength <= blocks[^1].ByteLength - used;

    /// <summary>Gives the whole pages of a piece back to the system, which reads as zeros then, or as before; a hint.</summary>
    /// <param name="piece">What <see cref="Take"/> gave.</param>
    /// <param name="byteLength">Its bytes.</param>
    public static void Discard(byte* piece, long byteLength) => NativeBuffer.Discard(piece, byteLength);

    /// <summary>Frees all of it.</summary>
    public void Dispose()
    {
        blocks.ForEach(static block => block.Dispose());
        blocks.Clear();
        isDisposed = true;
    }
}
