using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Super-blocks of 256 = 16 blocks of 16: 32 bytes of upper bits, 64 bytes of lower 2 bits, 12 bytes of 6-bit scales s, an F16 d;
/// value = d * (s - 32) * (q - 4). Row r of 32 values (0-7) has its upper bits in bit r of the first 32 bytes; each half of four rows has its
/// lower bits in 32 bytes, row r of the half in bits 2r and 2r+1. Scale j has its lower 4 bits in nibble j/8 of byte j%8 of the twelve and its upper 2
/// in bits 2(j/4) and up of byte 8 + j%4. Source: ggml, block_q3_K.
/// </summary>
public readonly partial struct Q3_K : IWeightFormat<Q3_K>
{
    private const int Codes = 32;
    private const int Scales = 96;
    private const int SuperScale = 108;
    private const int Zero = 4;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q3_K;

    /// <inheritdoc/>
    public static int BlockLength => 256;

    /// <inheritdoc/>
    public static int BlockBytes => 110;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block[SuperScale..]);
            for (var n = 0; n < BlockLength; n++)
            {
                var (half, row, i) = (n / 128, n / 32 % 4, n % 32);
                var lower = (block[Codes + 32 * half + i] >> (2 * row)) & 3;
                var upper = (block[i] >> (n / 32)) & 1;
                values[b * BlockLength + n] = d * BlockScale(block, n / 16) * ((lower | (upper << 2)) - Zero);
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks[SuperScale..]);
            for (var n = 0; n < 256; n += 16)
            {
                var lower = (Lanes.Load(blocks, Codes + 32 * (n / 128) + n % 32) >>> (2 * (n / 32 % 4))) & Vector128.Create((byte)3);
                var upper = ((Lanes.Load(blocks, n % 32) >>> (n / 32)) & Vector128<byte>.One) << 2;
                Lanes.Scale((lower | upper).AsSByte() - Vector128.Create((sbyte)Zero), d * BlockScale(blocks, n / 16), values[n..]);
            }
        }
    }

    private static int BlockScale(ReadOnlySpan<byte> block, int j)
    {
        var low = (block[Scales + j % 8] >> (4 * (j / 8))) & 0x0F;
        var high = (block[Scales + 8 + j % 4] >> (2 * (j / 4))) & 3;
        return (low | (high << 4)) - 32;
    }
}
