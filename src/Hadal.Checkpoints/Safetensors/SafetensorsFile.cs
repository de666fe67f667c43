using System.Buffers.Binary;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Hadal.Checkpoints.Files;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Safetensors;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">Name in the header.</param>
/// <param name="Dtype">Type of an element.</param>
/// <param name="Shape">Dimensions, outermost first; empty for a single value.</param>
/// <param name="Offset">First byte, counted from the start of the file.</param>
/// <param name="ByteLength">Bytes.</param>
public sealed record SafetensorsTensor(string Name, SafetensorsDtype Dtype, IReadOnlyList<long> Shape, long Offset, long ByteLength);

/// <summary>
/// A safetensors file (huggingface/safetensors), memory-mapped and read-only. Opening checks the header against the length of the file; tensor data
/// is not touched. Safe for several threads; views stay valid until it is disposed.
/// </summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    /// <summary>Bytes of the longest header; the cap of the reference implementation.</summary>
    private const int LongestHeader = 100_000_000;

    private readonly MappedFile file;
    private readonly Dictionary<string, SafetensorsTensor> tensors;
    private readonly Dictionary<string, string> metadata;

    private SafetensorsFile(MappedFile file, List<SafetensorsTensor> tensors, Dictionary<string, string> metadata)
    {
        this.file = file;
        this.metadata = metadata;
        this.tensors = tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    /// <summary>Where it was opened.</summary>
    public string Path => file.Path;

    /// <summary>The tensors by name, enumerated in the order of their data.</summary>
    public IReadOnlyDictionary<string, SafetensorsTensor> Tensors => tensors;

    /// <summary>The free-form texts of the header.</summary>
    public IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <summary>Opens a file.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    /// <exception cref="InvalidDataException">It is no safetensors file, or claims what it does not hold.</exception>
    public static SafetensorsFile Open(string path)
    {
        var mapped = MappedFile.Open(path);
        try
        {
            if (mapped.Length < 8)
                throw BadFile.Error(path, $"expected a safetensors file (8 bytes of header length first), found {mapped.Length} bytes");
            var headerLength = BinaryPrimitives.ReadUInt64LittleEndian(mapped.Slice(0, 8));
            if (headerLength > LongestHeader || (long)headerLength > mapped.Length - 8)
                throw BadFile.Error(path, $"expected a header of at most {Math.Min(LongestHeader, mapped.Length - 8)} bytes, found a header length of {headerLength}");
            var dataStart = 8 + (long)headerLength;
            var texts = new Dictionary<string, string>(StringComparer.Ordinal);
            var list = SafetensorsHeader.Parse(path, mapped.Slice(8, (int)headerLength), dataStart, mapped.Length - dataStart, texts);
            return new SafetensorsFile(mapped, list, texts);
        }
        catch
        {
            mapped.Dispose();
            throw;
        }
    }

    /// <summary>The tensor of that name.</summary>
    /// <exception cref="InvalidDataException">There is none.</exception>
    public SafetensorsTensor Find(string name) => tensors.GetValueOrDefault(name) ?? throw BadFile.Tensor(Path, name, "expected this tensor, found none of that name");

    /// <summary>The address of a tensor of this file.</summary>
    public byte* Data(SafetensorsTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return file.At(tensor.Offset, tensor.ByteLength);
    }

    /// <summary>A view of a tensor's bytes.</summary>
    /// <exception cref="InvalidDataException">There is no such tensor, or it does not fit a span (2 GB).</exception>
    public ReadOnlySpan<byte> Bytes(string name)
    {
        var tensor = Find(name);
        return tensor.ByteLength <= int.MaxValue
            ? file.Slice(tensor.Offset, (int)tensor.ByteLength)
            : throw BadFile.Tensor(Path, name, $"expected at most {int.MaxValue} bytes, found {tensor.ByteLength}");
    }

    /// <summary>A copy of a tensor of F32, F16, BF16 or F64 as float32 (F64 is rounded).</summary>
    /// <exception cref="InvalidDataException">There is no such tensor, or it has another type.</exception>
    public float[] ReadSingles(string name)
    {
        var dtype = Find(name).Dtype;
        var bytes = Bytes(name);
        var values = new float[bytes.Length / dtype.Size()];
        switch (dtype)
        {
            case SafetensorsDtype.F32 or SafetensorsDtype.F16 or SafetensorsDtype.BF16:
                WeightFormats.Decode(dtype.WeightFormat()!.Value, bytes, values);
                return values;
            case SafetensorsDtype.F64:
                TensorPrimitives.ConvertTruncating<double, float>(MemoryMarshal.Cast<byte, double>(bytes), values);
                return values;
            default:
                throw WrongType(name, "F32, F16, BF16 or F64", dtype);
        }
    }

    /// <summary>A copy of a tensor of F32 or F64 as float64.</summary>
    /// <exception cref="InvalidDataException">There is no such tensor, or it has another type.</exception>
    public double[] ReadDoubles(string name)
    {
        var dtype = Find(name).Dtype;
        if (dtype == SafetensorsDtype.F64)
            return MemoryMarshal.Cast<byte, double>(Bytes(name)).ToArray();
        var singles = ReadSingles(name);
        var values = new double[singles.Length];
        TensorPrimitives.ConvertTruncating<float, double>(singles, values);
        return values;
    }

    /// <summary>A copy of a tensor of I32, or of I64, I16, I8, U16, U8 or BOOL whose values all fit.</summary>
    /// <exception cref="InvalidDataException">There is no such tensor, or it has another type, or a value does not fit.</exception>
    public int[] ReadInt32(string name)
    {
        var dtype = Find(name).Dtype;
        var bytes = Bytes(name);
        var values = new int[bytes.Length / dtype.Size()];
        for (var i = 0; i < values.Length; i++)
        {
            var at = bytes[(i * dtype.Size())..];
            var value = dtype switch
            {
                SafetensorsDtype.I32 => BinaryPrimitives.ReadInt32LittleEndian(at),
                SafetensorsDtype.I64 => BinaryPrimitives.ReadInt64LittleEndian(at),
                SafetensorsDtype.U32 => BinaryPrimitives.ReadUInt32LittleEndian(at),
                SafetensorsDtype.I16 => BinaryPrimitives.ReadInt16LittleEndian(at),
                SafetensorsDtype.U16 => BinaryPrimitives.ReadUInt16LittleEndian(at),
                SafetensorsDtype.I8 => (sbyte)at[0],
                SafetensorsDtype.U8 or SafetensorsDtype.BOOL => at[0],
                _ => throw WrongType(name, "an integer type", dtype),
            };
            values[i] = value is >= int.MinValue and <= int.MaxValue
                ? (int)value
                : throw BadFile.Tensor(Path, name, $"expected 32-bit integers, found {value} at index {i}");
        }

        return values;
    }

    /// <inheritdoc cref="MappedFile.Populate"/>
    public void Populate() => file.Populate();

    /// <inheritdoc cref="MappedFile.Release"/>
    public void Release() => file.Release();

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    private InvalidDataException WrongType(string name, string expected, SafetensorsDtype found) => BadFile.Tensor(Path, name, $"expected {expected}, found {found}");
}
