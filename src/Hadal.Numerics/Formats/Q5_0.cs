using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Blocks of 32: an F16 scale d, 32 bits that are bit 4 of codes 0-31, then 16 bytes whose low nibbles belong to codes 0-15 and whose high
/// nibbles to codes 16-31; value = d * (q - 16). Source: ggml, block_q5_0.
/// </summary>
public readonly partial struct Q5_0 : IWeightFormat<Q5_0>, IWeightEncoder<Q5_0>
{
    private const int HighBits = 2;
    private const int Codes = 6;
    private const int Zero = 16;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q5_0;

    /// <inheritdoc/>
    public static int BlockLength => 32;

    /// <inheritdoc/>
    public static int BlockBytes => 22;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block);
            var bits = BinaryPrimitives.ReadUInt32LittleEndian(block[HighBits..]);
            for (var i = 0; i < 16; i++)
            {
                var low = (block[Codes + i] & 0x0F) | (int)(((bits >> i) & 1) << 4);
                var high = (block[Codes + i] >> 4) | (int)(((bits >> (i + 16)) & 1) << 4);
                values[b * BlockLength + i] = d * (low - Zero);
                values[b * BlockLength + i + 16] = d * (high - Zero);
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks);
            var codes = Lanes.Load(blocks, Codes);

            // q - 16 is the nibble where bit 4 is set, and the nibble with all upper bits set where it is not.
            var below = Vector128.Create(unchecked((sbyte)0xF0));
            var low = Lanes.LowNibbles(codes).AsSByte() | Vector128.AndNot(below, Lanes.MaskFromBits(BinaryPrimitives.ReadUInt16LittleEndian(blocks[HighBits..])).AsSByte());
            var high = Lanes.HighNibbles(codes).AsSByte() | Vector128.AndNot(below, Lanes.MaskFromBits(BinaryPrimitives.ReadUInt16LittleEndian(blocks[(HighBits + 2)..])).AsSByte());
            Lanes.Scale(low, d, values);
            Lanes.Scale(high, d, values[16..]);
        }
    }

    /// <inheritdoc/>
    /// <remarks>The scale is searched for: <see cref="BlockSearch"/>. NaN counts as 0, magnitudes beyond 65504 as 65504.</remarks>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<float> x = stackalloc float[BlockSearch.Blocks * BlockLength];
        Span<float> w = stackalloc float[BlockSearch.Blocks * BlockLength];
        Span<byte> codes = stackalloc byte[BlockSearch.Blocks * BlockLength];
        while (values.Length >= BlockLength)
        {
            var count = Math.Min(BlockSearch.Blocks, values.Length / BlockLength);
            BlockSearch.Load(values[..(count * BlockLength)], BlockLength, x, w);
            var scale = BlockSearch.RoundToHalf(BlockSearch.Symmetric(x, w, Zero));
            BlockSearch.SymmetricCodes(x, scale, Zero, codes);
            for (var b = 0; b < count; b++)
            {
                var block = blocks.Slice(b * BlockBytes, BlockBytes);
                var q = codes.Slice(b * BlockLength, BlockLength);
                BinaryPrimitives.WriteHalfLittleEndian(block, (Half)scale[b]);
                var bits = 0u;
                for (var i = 0; i < BlockLength; i++)
                    bits |= (uint)(q[i] >> 4) << i;
                BinaryPrimitives.WriteUInt32LittleEndian(block[HighBits..], bits);
                for (var i = 0; i < 16; i++)
                    block[Codes + i] = (byte)((q[i] & 0x0F) | (q[i + 16] << 4));
            }

            values = values[(count * BlockLength)..];
            blocks = blocks[(count * BlockBytes)..];
        }
    }
}
