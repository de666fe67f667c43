using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Safetensors;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">Name in the header.</param>
/// <param name="Dtype">Type of an element.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
public sealed record SafetensorsEntry(string Name, SafetensorsDtype Dtype, IReadOnlyList<long> Shape)
{
    /// <summary>Bytes of all elements.</summary>
    public long ByteLength => Shape.Aggregate((long)Dtype.Size(), static (bytes, dimension) => checked(bytes * dimension));
}

/// <summary>
/// Writes a safetensors file as a stream: first all descriptions, then the data in the same order, in pieces of any size. The file appears under its
/// name only when <see cref="Complete"/> has been called and every byte is there; until then, and for good after a failure, nothing is left behind.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    private readonly IReadOnlyList<SafetensorsEntry> entries;
    private readonly NewFile file;
    private int current;
    private long written;

    /// <summary>Creates the file and writes the header.</summary>
    /// <param name="path">Where the file shall be; it must not exist.</param>
    /// <param name="entries">The tensors, in the order in which their data will come.</param>
    /// <param name="metadata">Free-form texts for the header; <c>format: pt</c> is what Hugging Face expects of a model.</param>
    /// <exception cref="IOException">The file exists already, or cannot be created.</exception>
    /// <exception cref="ArgumentException">Two tensors have the same name.</exception>
    public SafetensorsWriter(string path, IReadOnlyList<SafetensorsEntry> entries, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(entries);
        this.entries = entries;
        var header = Header(entries, metadata);
        file = new NewFile(path);
        try
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            file.Write(length);
            file.Write(header);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Appends data; pieces may be of any size but must not cross from one tensor into the next.</summary>
    /// <exception cref="InvalidOperationException">More than the tensor takes, or than there are tensors.</exception>
    public void Write(ReadOnlySpan<byte> data)
    {
        SkipComplete();
        if (current == entries.Count || data.Length > entries[current].ByteLength - written)
            throw new InvalidOperationException($"{data.Length} bytes do not fit behind byte {written} of tensor {current} of {entries.Count}");
        file.Write(data);
        written += data.Length;
    }

    /// <summary>Appends values of a type without padding, such as <see cref="float"/> or <see cref="int"/>.</summary>
    public void Write<T>(ReadOnlySpan<T> values)
        where T : unmanaged => Write(MemoryMarshal.AsBytes(values));

    /// <summary>Flushes the file to disk and gives it its name.</summary>
    /// <exception cref="InvalidOperationException">Data is missing.</exception>
    public void Complete()
    {
        SkipComplete();
        if (current != entries.Count)
            throw new InvalidOperationException($"tensor {entries[current].Name}: {written} of {entries[current].ByteLength} bytes written");
        file.Complete();
    }

    /// <summary>Closes the file; without <see cref="Complete"/> it is deleted.</summary>
    public void Dispose() => file.Dispose();

    /// <summary>Writes small tensors at once.</summary>
    /// <param name="path">Where the file shall be; it must not exist.</param>
    /// <param name="tensors">Descriptions and little-endian data.</param>
    /// <exception cref="IOException">The file exists already, or cannot be created.</exception>
    public static void WriteAll(string path, IReadOnlyList<(SafetensorsEntry Entry, ReadOnlyMemory<byte> Data)> tensors)
    {
        using var writer = new SafetensorsWriter(path, [.. tensors.Select(tensor => tensor.Entry)]);
        foreach (var (_, data) in tensors)
            writer.Write(data.Span);
        writer.Complete();
    }

    private void SkipComplete()
    {
        while (current < entries.Count && written == entries[current].ByteLength)
        {
            current++;
            written = 0;
        }
    }

    private static byte[] Header(IReadOnlyList<SafetensorsEntry> entries, IReadOnlyDictionary<string, string>? metadata)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata)
                    json.WriteString(key, value);
                json.WriteEndObject();
            }

            var offset = 0L;
            foreach (var entry in entries)
            {
                if (!names.Add(entry.Name))
                    throw new ArgumentException($"tensor {entry.Name} twice", nameof(entries));
                json.WriteStartObject(entry.Name);
                json.WriteString("dtype", entry.Dtype.ToString());
                json.WriteStartArray("shape");
                foreach (var dimension in entry.Shape)
                    json.WriteNumberValue(dimension);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                offset = checked(offset + entry.ByteLength);
                json.WriteNumberValue(offset);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        // Spaces up to the next multiple of 8, so that the data is aligned.
        while (stream.Length % 8 != 0)
            stream.WriteByte((byte)' ');
        return stream.ToArray();
    }
}
