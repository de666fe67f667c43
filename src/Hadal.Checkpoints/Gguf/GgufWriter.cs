using System.Text;
using Hadal.Checkpoints.Files;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Gguf;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">Name in the file.</param>
/// <param name="Format">How it is stored.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
internal sealed record GgufEntry(string Name, WeightFormat Format, IReadOnlyList<long> Shape)
{
    /// <summary>Bytes of all values.</summary>
    public long ByteLength => Shape.SkipLast(1).Aggregate(WeightFormats.RowBytes(Format, Shape[^1]), static (bytes, dimension) => checked(bytes * dimension));
}

/// <summary>
/// Writes a GGUF file of version 3 as a stream: metadata and tensor table first, then the data in the same order, in pieces of any size. The file
/// appears under its name only when <see cref="Complete"/> has been called and every byte is there.
/// </summary>
internal sealed class GgufWriter : IDisposable
{
    private readonly IReadOnlyList<GgufEntry> entries;
    private readonly NewFile file;
    private int current;
    private long written;

    /// <summary>Creates the file and writes all that stands before the data.</summary>
    /// <exception cref="IOException">The file exists already, or cannot be created.</exception>
    public GgufWriter(string path, GgufMetadataBuilder metadata, IReadOnlyList<GgufEntry> entries)
    {
        this.entries = entries;
        file = new NewFile(path);
        try
        {
            using var header = new MemoryStream();
            using (var writer = new BinaryWriter(header, Encoding.UTF8, leaveOpen: true))
            {
                writer.Write(GgufFile.Magic);
                writer.Write(3u);
                writer.Write((ulong)entries.Count);
                writer.Write((ulong)metadata.Count);
                writer.Write(metadata.Bytes);
                WriteTable(writer);
            }

            file.Write(header.GetBuffer().AsSpan(0, (int)header.Length));
            Pad();
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Appends data; a piece must not cross from one tensor into the next.</summary>
    /// <exception cref="InvalidOperationException">More than the tensor takes, or than there are tensors.</exception>
    public void Write(ReadOnlySpan<byte> data)
    {
        if (current == entries.Count || data.Length > entries[current].ByteLength - written)
            throw new InvalidOperationException($"{data.Length} bytes do not fit behind byte {written} of tensor {current} of {entries.Count}");
        file.Write(data);
        written += data.Length;
        if (written < entries[current].ByteLength)
            return;
        Pad();
        current++;
        written = 0;
    }

    /// <summary>Flushes the file to disk and gives it its name.</summary>
    /// <exception cref="InvalidOperationException">Data is missing.</exception>
    public void Complete()
    {
        if (current != entries.Count)
            throw new InvalidOperationException($"tensor {entries[current].Name}: {written} of {entries[current].ByteLength} bytes written");
        file.Complete();
    }

    /// <summary>Closes the file; without <see cref="Complete"/> it is deleted.</summary>
    public void Dispose() => file.Dispose();

    private static long Align(long offset) => (offset + GgufFile.DefaultAlignment - 1) / GgufFile.DefaultAlignment * GgufFile.DefaultAlignment;

    private void WriteTable(BinaryWriter writer)
    {
        var offset = 0L;
        foreach (var entry in entries)
        {
            var name = Encoding.UTF8.GetBytes(entry.Name);
            writer.Write((ulong)name.Length);
            writer.Write(name);
            writer.Write((uint)entry.Shape.Count);
            foreach (var dimension in entry.Shape.Reverse())
                writer.Write((ulong)dimension);
            writer.Write(GgmlType.Of(entry.Format).Id);
            writer.Write((ulong)offset);
            offset = Align(checked(offset + entry.ByteLength));
        }
    }

    private void Pad()
    {
        var position = file.Position;
        Span<byte> zeros = stackalloc byte[GgufFile.DefaultAlignment];
        zeros.Clear();
        file.Write(zeros[..(int)(Align(position) - position)]);
    }
}
