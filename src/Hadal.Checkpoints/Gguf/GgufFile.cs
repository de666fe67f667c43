using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Gguf;

/// <summary>One tensor of a GGUF file, as the file describes it.</summary>
/// <param name="Name">Name in the file.</param>
/// <param name="Type">How it is stored.</param>
/// <param name="Dimensions">Dimensions in ggml's order, innermost first; all at least 1.</param>
/// <param name="Offset">First byte, counted from the start of the file.</param>
/// <param name="ByteLength">Bytes.</param>
public sealed record GgufTensor(string Name, GgmlType Type, IReadOnlyList<long> Dimensions, long Offset, long ByteLength)
{
    /// <summary>Dimensions as everywhere else in Hadal, outermost first.</summary>
    public IReadOnlyList<long> Shape => [.. Dimensions.Reverse()];
}

/// <summary>
/// A GGUF file, versions 2 and 3, little-endian, memory-mapped and read-only (docs/gguf.md of ggml-org/ggml). Opening checks header, metadata and
/// tensor table against the length of the file; no tensor data is touched. Safe for several threads.
/// </summary>
public sealed unsafe class GgufFile : IDisposable
{
    /// <summary>The first four bytes, "GGUF".</summary>
    internal const uint Magic = 0x46554747;

    /// <summary>Alignment of tensor data where <c>general.alignment</c> does not say another.</summary>
    internal const int DefaultAlignment = 32;

    /// <summary>Bytes of the longest tensor name; ggml itself stops at 64.</summary>
    private const int LongestName = 256;

    private const int MostDimensions = 4;
    private const int LargestAlignment = 1 << 20;

    private readonly MappedFile file;
    private readonly Dictionary<string, GgufTensor> byName;

    private GgufFile(MappedFile file, int version, GgufMetadata metadata, int alignment, List<GgufTensor> tensors, Dictionary<string, GgufTensor> byName)
    {
        this.file = file;
        this.byName = byName;
        Version = version;
        Metadata = metadata;
        Alignment = alignment;
        Tensors = tensors;
    }

    /// <summary>Where it was opened.</summary>
    public string Path => file.Path;

    /// <summary>Version of the format: 2 or 3.</summary>
    public int Version { get; }

    /// <summary>Alignment of tensor data.</summary>
    public int Alignment { get; }

    /// <summary>The key/value part.</summary>
    public GgufMetadata Metadata { get; }

    /// <summary>The tensors, in the order of the file.</summary>
    public IReadOnlyList<GgufTensor> Tensors { get; }

    /// <summary>Opens a file.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    /// <exception cref="InvalidDataException">It is no GGUF file of version 2 or 3, or claims what it does not hold.</exception>
    public static GgufFile Open(string path)
    {
        var mapped = MappedFile.Open(path);
        try
        {
            return Read(mapped);
        }
        catch
        {
            mapped.Dispose();
            throw;
        }
    }

    /// <summary>The tensor of that name, or null.</summary>
    public GgufTensor? Find(string name) => byName.GetValueOrDefault(name);

    /// <summary>The address of a tensor of this file; valid until the file is disposed.</summary>
    public byte* Data(GgufTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return file.At(tensor.Offset, tensor.ByteLength);
    }

    /// <inheritdoc cref="MappedFile.Populate"/>
    public void Populate() => file.Populate();

    /// <inheritdoc cref="MappedFile.Release"/>
    public void Release() => file.Release();

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    private static GgufFile Read(MappedFile file)
    {
        var cursor = new GgufCursor(file, 0);
        if (file.Length < 4 || cursor.UInt32("magic number") != Magic)
            throw BadFile.Error(file.Path, "expected a GGUF file (first bytes \"GGUF\"), found something else");
        var version = cursor.UInt32("version");
        if ((version & 0xFFFF) == 0)
            throw BadFile.Error(file.Path, "expected a little-endian GGUF file, found a big-endian one");
        if (version is not (2 or 3))
            throw BadFile.Error(file.Path, $"expected GGUF version 2 or 3, found {version}");
        var tensorCount = cursor.UInt64("tensor count");
        var keyCount = cursor.UInt64("metadata count");
        var metadata = GgufMetadata.Read(file, cursor, keyCount);

        var alignment = metadata.GetInt32("general.alignment") ?? DefaultAlignment;
        if (alignment is < 8 or > LargestAlignment || !int.IsPow2(alignment))
            throw BadFile.Field(file.Path, "general.alignment", $"expected a power of two from 8 to {LargestAlignment}, found {alignment}");

        // The least a tensor's description takes: name length, dimension count, one dimension, type, offset.
        if (tensorCount > (ulong)cursor.Remaining / 32)
            throw BadFile.Error(file.Path, $"tensor table: expected {tensorCount} tensors, found {cursor.Remaining} bytes up to the end of the file");
        var described = new List<GgufTensor>((int)tensorCount);
        for (var i = 0UL; i < tensorCount; i++)
            described.Add(ReadTensor(file, cursor, i));

        // Data starts at the next aligned byte after the table; a file without tensors may end before it.
        var dataStart = (cursor.Position + alignment - 1) / alignment * alignment;
        var tensors = new List<GgufTensor>(described.Count);
        var named = new Dictionary<string, GgufTensor>(described.Count, StringComparer.Ordinal);
        foreach (var tensor in described)
        {
            var placed = Place(file, tensor, dataStart, alignment);
            if (!named.TryAdd(placed.Name, placed))
                throw BadFile.Tensor(file.Path, placed.Name, "expected each tensor once, found it twice");
            tensors.Add(placed);
        }

        CheckOverlap(file.Path, tensors);
        return new GgufFile(file, (int)version, metadata, alignment, tensors, named);
    }

    /// <summary>One row of the tensor table; the offset is still relative to the start of the data.</summary>
    private static GgufTensor ReadTensor(MappedFile file, GgufCursor cursor, ulong index)
    {
        var name = cursor.String($"name of tensor {index}", LongestName);
        var what = $"description of tensor {BadFile.Quote(name)}";
        var dimensionCount = cursor.UInt32(what);
        if (dimensionCount is 0 or > MostDimensions)
            throw BadFile.Tensor(file.Path, name, $"expected 1 to {MostDimensions} dimensions, found {dimensionCount}");
        var dimensions = new long[dimensionCount];
        Int128 count = 1;
        for (var i = 0; i < dimensions.Length; i++)
        {
            var dimension = cursor.UInt64(what);
            count *= dimension;
            if (dimension == 0 || count > long.MaxValue)
                throw BadFile.Tensor(file.Path, name, $"expected positive dimensions with a product below 2^63, found dimension {i} = {dimension}");
            dimensions[i] = (long)dimension;
        }

        var id = cursor.UInt32(what);
        var offset = cursor.UInt64(what);
        var type = GgmlType.Find(id) ?? throw BadFile.Tensor(file.Path, name, $"expected a tensor type of ggml that Hadal knows, found type {id}");
        if (dimensions[0] % type.BlockLength != 0)
            throw BadFile.Tensor(file.Path, name, $"expected rows of whole blocks of {type.BlockLength} values for {type.Name}, found rows of {dimensions[0]}");
        var bytes = count / type.BlockLength * type.BlockBytes;
        if (bytes > file.Length || offset > (ulong)file.Length)
            throw BadFile.Tensor(file.Path, name, $"expected {bytes} bytes at offset {offset}, found a file of {file.Length}");
        return new GgufTensor(name, type, dimensions, (long)offset, (long)bytes);
    }

    private static GgufTensor Place(MappedFile file, GgufTensor tensor, long dataStart, int alignment)
    {
        if (tensor.Offset % alignment != 0)
            throw BadFile.Tensor(file.Path, tensor.Name, $"expected an offset that is a multiple of {alignment}, found {tensor.Offset}");
        var available = file.Length - dataStart;
        if (tensor.Offset > available - tensor.ByteLength)
            throw BadFile.Tensor(file.Path, tensor.Name, $"expected {tensor.ByteLength} bytes at offset {tensor.Offset}, found {Math.Max(0, available)} bytes of tensor data");
        return tensor with { Offset = dataStart + tensor.Offset };
    }

    private static void CheckOverlap(string path, List<GgufTensor> tensors)
    {
        GgufTensor? before = null;
        foreach (var tensor in tensors.OrderBy(t => t.Offset))
        {
            if (before is not null && tensor.Offset < before.Offset + before.ByteLength)
                throw BadFile.Tensor(path, tensor.Name, $"expected tensors that do not overlap, found it inside {BadFile.Quote(before.Name)}");
            before = tensor;
        }
    }
}
