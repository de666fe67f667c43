using System.Buffers.Binary;

namespace Hadal.Checkpoints.Tests.Fuzz;

/// <summary>Mutates the part of a GGUF file before its data, field by field: counts, lengths, types, dimensions and offsets become what they must not be.</summary>
internal sealed class GgufMutator
{
    private static readonly ulong[] Hostile =
    [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 31, 32, 33, 63, 64, 255, 256, 65535, 65536, int.MaxValue, 1UL << 31, uint.MaxValue, 1UL << 32, 1UL << 40, 1UL << 60,
        long.MaxValue, 1UL << 63, ulong.MaxValue - 31, ulong.MaxValue,
    ];

    private readonly byte[] head;
    private readonly List<(int Offset, int Size)> fields = [];
    private int position;

    /// <param name="file">A valid file, as much of it as stands before the data.</param>
    public GgufMutator(byte[] file)
    {
        head = file;
        Field(4);
        Field(4);
        var tensors = Field(8);
        var keys = Field(8);
        for (var i = 0UL; i < keys; i++)
        {
            Text();
            Value(Field(4));
        }

        for (var i = 0UL; i < tensors; i++)
        {
            Text();
            var dimensions = Field(4);
            for (var d = 0UL; d < dimensions; d++)
                Field(8);
            Field(4);
            Field(8);
        }
    }

    /// <summary>One to three mutations.</summary>
    public byte[] Mutate(Random random)
    {
        var bytes = head.ToList();
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            var (offset, size) = fields[random.Next(fields.Count)];
            switch (random.Next(10))
            {
                case 0:
                    bytes[random.Next(bytes.Count)] ^= (byte)(1 << random.Next(8));
                    break;
                case 1 when random.Next(4) == 0:
                    bytes.RemoveRange(offset, bytes.Count - offset);
                    break;
                case 2:
                    bytes.RemoveRange(Math.Min(offset, bytes.Count), Math.Min(random.Next(1, 40), Math.Max(0, bytes.Count - offset)));
                    break;
                case 3:
                    bytes.InsertRange(Math.Min(offset, bytes.Count), head.AsSpan(offset, Math.Min(random.Next(1, 60), head.Length - offset)).ToArray());
                    break;
                case 4:
                    // Another field of the same size: a type where a length was, a neighbour's offset.
                    var other = fields[random.Next(fields.Count)];
                    Overwrite(bytes, offset, Read(other.Offset, other.Size), size);
                    break;
                case 5:
                    Overwrite(bytes, offset, Read(offset, size) + (ulong)random.Next(-2, 3), size);
                    break;
                default:
                    Overwrite(bytes, offset, Hostile[random.Next(Hostile.Length)], size);
                    break;
            }

            if (bytes.Count == 0)
                break;
        }

        return [.. bytes];
    }

    private static void Overwrite(List<byte> bytes, int offset, ulong value, int size)
    {
        for (var i = 0; i < size && offset + i < bytes.Count; i++)
            bytes[offset + i] = (byte)(value >> (8 * i));
    }

    private void Value(ulong type)
    {
        switch (type)
        {
            case 8:
                Text();
                break;
            case 9:
                var element = Field(4);
                var count = Field(8);
                for (var i = 0UL; i < count; i++)
                    Value(element);
                break;
            default:
                Field(type is 0 or 1 or 7 ? 1 : type is 2 or 3 ? 2 : type is 4 or 5 or 6 ? 4 : 8);
                break;
        }
    }

    private void Text()
    {
        var length = (int)Field(8);
        position += length;
    }

    private ulong Field(int size)
    {
        fields.Add((position, size));
        position += size;
        return Read(position - size, size);
    }

    private ulong Read(int offset, int size)
    {
        Span<byte> wide = stackalloc byte[8];
        wide.Clear();
        head.AsSpan(offset, size).CopyTo(wide);
        return BinaryPrimitives.ReadUInt64LittleEndian(wide);
    }
}
