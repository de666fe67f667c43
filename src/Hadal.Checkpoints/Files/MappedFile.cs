using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace Hadal.Checkpoints.Files;

/// <summary>
/// A whole file mapped into memory, read-only. Nothing is read until it is touched, and the system may drop what was read at any time. Files are
/// larger than 2 GB, so the bytes are reached through checked slices, never through one span.
/// </summary>
internal sealed unsafe partial class MappedFile : IDisposable
{
    private const long ChunkBytes = 64L << 20;

    // Linux enters so much around a page that is in its cache.
    private const long FaultBytes = 64L << 10;

    // So many at once keep a disk busy that is asked for 2 MB at a time.
    private const int PopulateTasks = 8;

    private const int HugePages = 14;
    private const int DontNeed = 4;
    private const int PopulateRead = 22;
    private const int InvalidArgument = 22;

    private readonly MemoryMappedFile? mapping;
    private readonly MemoryMappedViewAccessor? view;
    private byte* pointer;

    private MappedFile(string path, MemoryMappedFile? mapping, MemoryMappedViewAccessor? view, long length)
    {
        Path = path;
        Length = length;
        this.mapping = mapping;
        this.view = view;
        if (view is null)
            return;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        pointer += view.PointerOffset;
    }

    /// <summary>Where it was opened.</summary>
    public string Path { get; }

    /// <summary>Bytes in the file.</summary>
    public long Length { get; }

    /// <summary>Maps a file.</summary>
    /// <exception cref="IOException">It cannot be opened; <see cref="FileNotFoundException"/> when it is not there.</exception>
    public static MappedFile Open(string path)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        MemoryMappedFile? mapped = null;
        try
        {
            var length = stream.Length;
            if (length == 0)
            {
                stream.Dispose();
                return new MappedFile(path, null, null, 0);
            }

            mapped = MemoryMappedFile.CreateFromFile(stream, mapName: null, capacity: 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            return new MappedFile(path, mapped, mapped.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read), length);
        }
        catch
        {
            mapped?.Dispose();
            stream.Dispose();
            throw;
        }
    }

    /// <summary>The address of a range that must lie inside the file.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It does not: the caller has not checked what the file claims.</exception>
    public byte* At(long offset, long length)
    {
        if (offset < 0 || length < 0 || offset > Length - length)
            throw new ArgumentOutOfRangeException(nameof(offset), $"bytes [{offset}, {offset}+{length}) of {Path}, which has {Length}");
        ObjectDisposedException.ThrowIf(pointer == null && Length > 0, this);
        return pointer + offset;
    }

    /// <summary>A view of a range that must lie inside the file.</summary>
    public ReadOnlySpan<byte> Slice(long offset, int length) => new(At(offset, length), length);

    /// <summary>
    /// Reads the whole file and has it entered into this process's page table, which takes a fraction of the time of one fault after another wherever the
    /// model happens to read. A system that does not know how (Linux before 5.14 and others) is made to by touching the file in steps of what it enters
    /// at one fault. Ends early where the file is closed meanwhile.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The file was closed before.</exception>
    public void Populate()
    {
        if (Length == 0)
            return;

        // Held, the view stays mapped.
        byte* start = null;
        view!.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        try
        {
            start += view.PointerOffset;

            // What is not in the system's cache yet comes in pieces of 2 MB where the file system has them: this and every later start enters those sooner.
            if (OperatingSystem.IsLinux())
                _ = Advise((nint)start, (nuint)Length, HugePages);
            var next = -ChunkBytes;
            var tasks = (int)Math.Min(PopulateTasks, (Length + ChunkBytes - 1) / ChunkBytes);
            Task.WaitAll([.. Enumerable.Range(0, tasks).Select(_ => Task.Factory.StartNew(Some, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))]);

            void Some()
            {
                for (var at = Interlocked.Add(ref next, ChunkBytes); at < Length && pointer != null; at = Interlocked.Add(ref next, ChunkBytes))
                {
                    var end = Math.Min(Length, at + ChunkBytes);
                    if (OperatingSystem.IsLinux() && (Advise((nint)(start + at), (nuint)(end - at), PopulateRead) == 0 || Marshal.GetLastPInvokeError() != InvalidArgument))
                        continue;
                    for (var touched = at; touched < end; touched += FaultBytes)
                        _ = Volatile.Read(ref start[touched]);
                }
            }
        }
        finally
        {
            view.SafeMemoryMappedViewHandle.ReleasePointer();
        }
    }

    /// <summary>Takes the file's pages out of this process's page table; the system may keep them in its cache. Only a hint, like <see cref="Populate"/>.</summary>
    public void Release()
    {
        if (OperatingSystem.IsLinux() && Length > 0)
            _ = Advise((nint)pointer, (nuint)Length, DontNeed);
    }

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int Advise(nint address, nuint length, int advice);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (pointer == null)
            return;
        pointer = null;
        view!.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        mapping!.Dispose();
    }
}
