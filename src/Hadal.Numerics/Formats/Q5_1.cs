using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Blocks of 32: F16 scale d and minimum m, 32 bits that are bit 4 of codes 0-31, then 16 bytes whose low nibbles belong to codes 0-15 and
/// whose high nibbles to codes 16-31; value = d * q + m. Source: ggml, block_q5_1.
/// </summary>
public readonly partial struct Q5_1 : IWeightFormat<Q5_1>, IWeightEncoder<Q5_1>
{
    private const int Minimum = 2;
    private const int HighBits = 4;
    private const int Codes = 8;
    private const int MaxCode = 31;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q5_1;

    /// <inheritdoc/>
    public static int BlockLength => 32;

    /// <inheritdoc/>
    public static int BlockBytes => 24;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block);
            var m = Lanes.Half(block[Minimum..]);
            var bits = BinaryPrimitives.ReadUInt32LittleEndian(block[HighBits..]);
            for (var i = 0; i < 16; i++)
            {
                var low = (block[Codes + i] & 0x0F) | (int)(((bits >> i) & 1) << 4);
                var high = (block[Codes + i] >> 4) | (int)(((bits >> (i + 16)) & 1) << 4);
                values[b * BlockLength + i] = d * low + m;
                values[b * BlockLength + i + 16] = d * high + m;
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks);
            var m = Lanes.Half(blocks[Minimum..]);
            var codes = Lanes.Load(blocks, Codes);
            var bit4 = Vector128.Create((byte)0x10);
            var low = Lanes.LowNibbles(codes) | (Lanes.MaskFromBits(BinaryPrimitives.ReadUInt16LittleEndian(blocks[HighBits..])) & bit4);
            var high = Lanes.HighNibbles(codes) | (Lanes.MaskFromBits(BinaryPrimitives.ReadUInt16LittleEndian(blocks[(HighBits + 2)..])) & bit4);
            Lanes.ScaleAndAdd(low, d, m, values);
            Lanes.ScaleAndAdd(high, d, m, values[16..]);
        }
    }

    /// <inheritdoc/>
    /// <remarks>Scale and minimum are searched for: <see cref="BlockSearch"/>. NaN counts as 0, magnitudes beyond 65504 as 65504.</remarks>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<float> x = stackalloc float[BlockSearch.Blocks * BlockLength];
        Span<float> w = stackalloc float[BlockSearch.Blocks * BlockLength];
        Span<byte> codes = stackalloc byte[BlockSearch.Blocks * BlockLength];
        while (values.Length >= BlockLength)
        {
            var count = Math.Min(BlockSearch.Blocks, values.Length / BlockLength);
            BlockSearch.Load(values[..(count * BlockLength)], BlockLength, x, w);
            var (scale, minimum) = BlockSearch.Affine(x, w, MaxCode, canBePositive: true);
            scale = BlockSearch.RoundToHalf(scale);
            minimum = BlockSearch.RoundToHalf(minimum);
            BlockSearch.AffineCodes(x, scale, minimum, MaxCode, codes);
            for (var b = 0; b < count; b++)
            {
                var block = blocks.Slice(b * BlockBytes, BlockBytes);
                var q = codes.Slice(b * BlockLength, BlockLength);
                BinaryPrimitives.WriteHalfLittleEndian(block, (Half)scale[b]);
                BinaryPrimitives.WriteHalfLittleEndian(block[Minimum..], (Half)minimum[b]);
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
