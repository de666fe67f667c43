using System.Text;
using Hadal.Checkpoints.Gguf;

namespace Hadal.Checkpoints.Tests.Gguf;

/// <summary>Writes GGUF files by hand, value by value, so that they can be wrong in any way a test wants; independent of the writer under test.</summary>
internal sealed class GgufBytes
{
    private readonly List<byte> bytes = [];

    public GgufBytes(uint version = 3, uint magic = 0x46554747)
    {
        U32(magic).U32(version);
    }

    public GgufBytes Counts(ulong tensors, ulong keys)
    {
        return U64(tensors).U64(keys);
    }

    public GgufBytes Text(string text)
    {
        var encoded = Encoding.UTF8.GetBytes(text);
        U64((ulong)encoded.Length);
        bytes.AddRange(encoded);
        return this;
    }

    public GgufBytes Key(string key, GgufValueType type)
    {
        return Text(key).U32((uint)type);
    }

    public GgufBytes ArrayOf(GgufValueType element, ulong count)
    {
        return U32((uint)element).U64(count);
    }

    public GgufBytes U8(byte value)
    {
        bytes.Add(value);
        return this;
    }

    public GgufBytes U32(uint value)
    {
        bytes.AddRange(BitConverter.GetBytes(value));
        return this;
    }

    public GgufBytes U64(ulong value)
    {
        bytes.AddRange(BitConverter.GetBytes(value));
        return this;
    }

    public GgufBytes F32(float value)
    {
        bytes.AddRange(BitConverter.GetBytes(value));
        return this;
    }

    public GgufBytes Tensor(string name, ulong[] dimensions, uint type, ulong offset)
    {
        Text(name).U32((uint)dimensions.Length);
        foreach (var dimension in dimensions)
            U64(dimension);
        return U32(type).U64(offset);
    }

    public GgufBytes Zeros(int count)
    {
        bytes.AddRange(new byte[count]);
        return this;
    }

    public GgufBytes Pad(int alignment = 32) => Zeros((alignment - (bytes.Count % alignment)) % alignment);

    public byte[] ToArray() => [.. bytes];
}
