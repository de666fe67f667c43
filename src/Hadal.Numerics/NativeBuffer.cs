using System.Runtime.InteropServices;

namespace Hadal.Numerics;

/// <summary>
/// Zeroed native memory, 64-byte aligned and free of the 2 GB limit of spans; freed by <see cref="Dispose"/> or the finalizer. Pages that were never
/// written take no physical memory. Large buffers ask for pages of 2 MB (Linux; a hint), and then take memory in such pieces: reading gigabytes through pages of 4 kB waits for page tables, too; docs/LOG.md.
/// </summary>
public sealed unsafe partial class NativeBuffer : IDisposable
{
    private const int Alignment = 64;
    private const long LargeBytes = 32L << 20;
    private const int PageBytes = 4096;
    private const int LargePages = 14;
    private const int DontNeed = 4;
    private const int PopulateWrite = 23;
    private const int ReadWrite = 3;
    private const int PrivateAnonymousHuge = 0x40022;

    private readonly bool isMapped;
    private void* allocation;

    /// <summary>Allocates <paramref name="byteLength"/> bytes.</summary>
    /// <param name="byteLength">Bytes.</param>
    /// <exception cref="OutOfMemoryException">The system has not that much.</exception>
    public NativeBuffer(long byteLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(byteLength);
        ByteLength = byteLength;

        // Zeroed by the system and aligned by hand: an aligned allocation would have to be cleared, which touches every page of a large cache.
        allocation = NativeMemory.AllocZeroed(checked((nuint)byteLength + Alignment));
        Pointer = (byte*)(((nuint)allocation + Alignment - 1) & ~(nuint)(Alignment - 1));
        GC.AddMemoryPressure(byteLength + Alignment);
        if (OperatingSystem.IsLinux() && byteLength >= LargeBytes)
            _ = Advise((nint)allocation & ~(nint)(PageBytes - 1), (nuint)byteLength, LargePages);
    }

    private NativeBuffer(void* mapped, long byteLength)
    {
        ByteLength = byteLength;
        isMapped = true;
        allocation = mapped;
        Pointer = (byte*)mapped;
        GC.AddMemoryPressure(byteLength + Alignment);
    }

    /// <summary>A buffer of at least so many bytes in <see cref="HugePages"/>, all of it there from the start; null where there are not enough, or this process may not have them.</summary>
    internal static NativeBuffer? TryInHugePages(long byteLength)
    {
        var page = HugePages.PageBytes;
        if (!OperatingSystem.IsLinux() || page == 0 || byteLength <= 0 || byteLength > HugePages.FreeBytes + HugePages.OvercommitBytes)
            return null;
        byteLength = (byteLength + page - 1) / page * page;
        var mapped = Map(0, (nuint)byteLength, ReadWrite, PrivateAnonymousHuge, -1, 0);
        if (mapped == -1)
            return null;

        // A limit of the control group shows when pages are touched, as a signal that ends the process; asked for here, as an error.
        if (Advise(mapped, (nuint)byteLength, PopulateWrite) == 0)
            return new NativeBuffer((void*)mapped, byteLength);
        _ = Unmap(mapped, (nuint)byteLength);
        return null;
    }

    /// <summary>Frees the memory when the owner forgot to.</summary>
    ~NativeBuffer() => Free();

    /// <summary>Bytes allocated.</summary>
    public long ByteLength { get; }

    /// <summary>First byte.</summary>
    public byte* Pointer { get; private set; }

    /// <summary>A view of <paramref name="count"/> values of type <typeparamref name="T"/> from value <paramref name="start"/> on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The view is not inside the buffer.</exception>
    public Span<T> Span<T>(long start, int count)
        where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(Pointer == null, this);
        if (start < 0 || count < 0 || start > (ByteLength / sizeof(T)) - count)
            throw new ArgumentOutOfRangeException(nameof(start), $"values [{start}, {start + count}) of a buffer of {ByteLength / sizeof(T)}");
        return new Span<T>((T*)Pointer + start, count);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives back the pages that lie within some bytes of a buffer, which read as zeros then, or as before; a hint.</summary>
    internal static void Discard(byte* start, long byteLength)
    {
        var first = ((nint)start + PageBytes - 1) & ~(nint)(PageBytes - 1);
        var end = (nint)(start + byteLength) & ~(nint)(PageBytes - 1);
        if (OperatingSystem.IsLinux() && end > first)
            _ = Advise(first, (nuint)(end - first), DontNeed);
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nuint length);

    private void Free()
    {
        if (Pointer == null)
            return;
        if (isMapped)
            _ = Unmap((nint)allocation, (nuint)ByteLength);
        else
            NativeMemory.Free(allocation);
        GC.RemoveMemoryPressure(ByteLength + Alignment);
        allocation = null;
        Pointer = null;
    }
}
