using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Super-blocks of 256 = 8 blocks of 32: an F16 scale d, two bytes with the upper 2 bits of each block's scale, four bytes with their lower 4,
/// then for each block 16 bytes as in <see cref="IQ4_NL"/>; value = d * (s - 32) * Table[q]. Source: ggml, block_iq4_xs.
/// </summary>
public readonly partial struct IQ4_XS : IWeightFormat<IQ4_XS>
{
    private const int ScalesHigh = 2;
    private const int ScalesLow = 4;
    private const int Codes = 8;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.IQ4_XS;

    /// <inheritdoc/>
    public static int BlockLength => 256;

    /// <inheritdoc/>
    public static int BlockBytes => 136;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            for (var j = 0; j < 8; j++)
            {
                var scale = BlockScale(block, j);
                for (var i = 0; i < 16; i++)
                {
                    var code = block[Codes + 16 * j + i];
                    values[b * BlockLength + 32 * j + i] = scale * IQ4_NL.Table[code & 0x0F];
                    values[b * BlockLength + 32 * j + i + 16] = scale * IQ4_NL.Table[code >> 4];
                }
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        var table = Vector128.Create(IQ4_NL.Table);
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            for (var j = 0; j < 8; j++)
            {
                var scale = BlockScale(blocks, j);
                var codes = Lanes.Load(blocks, Codes + 16 * j);
                Lanes.Scale(Vector128.Shuffle(table, Lanes.LowNibbles(codes).AsSByte()), scale, values[(32 * j)..]);
                Lanes.Scale(Vector128.Shuffle(table, Lanes.HighNibbles(codes).AsSByte()), scale, values[(32 * j + 16)..]);
            }
        }
    }

    private static float BlockScale(ReadOnlySpan<byte> block, int j) => Lanes.Half(block) * IntegerScale(block, j);

    private static int IntegerScale(ReadOnlySpan<byte> block, int j)
    {
        var low = (block[ScalesLow + j / 2] >> (4 * (j % 2))) & 0x0F;
        var high = (BinaryPrimitives.ReadUInt16LittleEndian(block[ScalesHigh..]) >> (2 * j)) & 3;
        return (low | (high << 4)) - 32;
    }
}
