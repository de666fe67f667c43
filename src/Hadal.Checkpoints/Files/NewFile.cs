namespace Hadal.Checkpoints.Files;

/// <summary>
/// A file in the making: written beside its place under another name, and renamed when it is complete, so that a crash, a full disk or a cancelled
/// conversion never leaves half a file under the right name. Refuses to overwrite.
/// </summary>
internal sealed class NewFile : IDisposable
{
    // What is written in whole pieces of 2 MB lies in such pieces in Linux's cache, and is entered so by the next start; docs/LOG.md.
    private const int BufferBytes = 4 << 20;

    // A stream that is given no more at once fills its buffer before it writes.
    private const int PieceBytes = 1 << 20;

    private readonly string path;
    private readonly string beside;
    private readonly FileStream stream;
    private bool complete;

    /// <summary>Creates the file beside <paramref name="path"/>.</summary>
    /// <exception cref="IOException">There is already something at <paramref name="path"/>, or the file cannot be created.</exception>
    public NewFile(string path)
    {
        this.path = path;
        beside = path + ".partial";
        RefuseToOverwrite(path);
        stream = new FileStream(beside, FileMode.Create, FileAccess.Write, FileShare.None, BufferBytes);
    }

    /// <summary>Bytes written.</summary>
    public long Position => stream.Position;

    /// <summary>Throws when there is already a file or folder.</summary>
    public static void RefuseToOverwrite(string path)
    {
        if (File.Exists(path) || Directory.Exists(path))
            throw new IOException($"{path}: exists already; nothing is overwritten");
    }

    /// <summary>Throws when the disk of <paramref name="path"/> has less room than <paramref name="bytes"/>; where that cannot be told, the write will.</summary>
    public static void RequireSpace(string path, long bytes)
    {
        long available;
        try
        {
            available = new DriveInfo(Path.GetDirectoryName(Path.GetFullPath(path))!).AvailableFreeSpace;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return;
        }

        if (available < bytes)
            throw new IOException($"{path}: {bytes} bytes are to be written, but the disk has {available} left");
    }

    /// <summary>Appends bytes, which reach the system in whole buffers.</summary>
    public void Write(ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            var piece = data[..Math.Min(PieceBytes, data.Length)];
            stream.Write(piece);
            data = data[piece.Length..];
        }
    }

    /// <summary>Writes out what is buffered and gives the file its name.</summary>
    public void Complete()
    {
        stream.Flush(flushToDisk: true);
        stream.Dispose();
        File.Move(beside, path, overwrite: false);
        complete = true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        try
        {
            // Writes out what is buffered, which a full disk refuses once more.
            stream.Dispose();
        }
        finally
        {
            if (!complete)
                File.Delete(beside);
        }
    }
}
