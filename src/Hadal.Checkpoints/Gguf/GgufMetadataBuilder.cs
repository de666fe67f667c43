using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Hadal.Checkpoints.Gguf;

/// <summary>Collects the key/value part of a GGUF file, in order.</summary>
internal sealed class GgufMetadataBuilder
{
    private readonly ArrayBufferWriter<byte> bytes = new();
    private readonly HashSet<string> keys = new(StringComparer.Ordinal);

    /// <summary>Number of keys.</summary>
    public int Count => keys.Count;

    /// <summary>The encoded pairs.</summary>
    public ReadOnlySpan<byte> Bytes => bytes.WrittenSpan;

    /// <summary>Adds a text.</summary>
    public void Add(string key, string value)
    {
        Key(key, GgufValueType.String);
        Text(value);
    }

    /// <summary>Adds a count, as the 32-bit unsigned integer that llama.cpp expects.</summary>
    public void Add(string key, int value)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(value);
        Key(key, GgufValueType.UInt32);
        UInt32((uint)value);
    }

    /// <summary>Adds a number, rounded to the float32 that llama.cpp expects.</summary>
    public void Add(string key, double value)
    {
        Key(key, GgufValueType.Float32);
        UInt32(BitConverter.SingleToUInt32Bits((float)value));
    }

    /// <summary>Adds a truth value.</summary>
    public void Add(string key, bool value)
    {
        Key(key, GgufValueType.Bool);
        bytes.Write([value ? (byte)1 : (byte)0]);
    }

    /// <summary>Adds an array of texts.</summary>
    public void Add(string key, IReadOnlyCollection<string> values)
    {
        Array(key, GgufValueType.String, values.Count);
        foreach (var value in values)
            Text(value);
    }

    /// <summary>Adds an array of 32-bit integers.</summary>
    public void Add(string key, IReadOnlyCollection<int> values)
    {
        Array(key, GgufValueType.Int32, values.Count);
        foreach (var value in values)
            UInt32((uint)value);
    }

    /// <summary>Copies a pair as it is in another file.</summary>
    public void Add(GgufMetadata source, string key)
    {
        Key(key, source.TypeOf(key)!.Value);
        bytes.Write(source.Raw(key));
    }

    private void Array(string key, GgufValueType element, int count)
    {
        Key(key, GgufValueType.Array);
        UInt32((uint)element);
        UInt64((ulong)count);
    }

    private void Key(string key, GgufValueType type)
    {
        if (!keys.Add(key))
            throw new ArgumentException($"metadata key {key} twice", nameof(key));
        Text(key);
        UInt32((uint)type);
    }

    private void Text(string value)
    {
        var encoded = Encoding.UTF8.GetBytes(value);
        UInt64((ulong)encoded.Length);
        bytes.Write(encoded);
    }

    private void UInt32(uint value)
    {
        Span<byte> encoded = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(encoded, value);
        bytes.Write(encoded);
    }

    private void UInt64(ulong value)
    {
        Span<byte> encoded = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(encoded, value);
        bytes.Write(encoded);
    }
}
