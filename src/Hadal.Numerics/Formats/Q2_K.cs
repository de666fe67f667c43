using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Super-blocks of 256 = 16 blocks of 16: 16 bytes with scale s (low nibble) and minimum m (high nibble) of each block, 64 bytes of 2-bit codes,
/// F16 d and dmin; value = d * s * q - dmin * m. Each half of 128 values is four rows of 32; row r is bits 2r and 2r+1 of the half's 32 bytes.
/// Source: ggml, block_q2_K.
/// </summary>
public readonly partial struct Q2_K : IWeightFormat<Q2_K>
{
    private const int Codes = 16;
    private const int SuperScale = 80;
    private const int SuperMinimum = 82;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q2_K;

    /// <inheritdoc/>
    public static int BlockLength => 256;

    /// <inheritdoc/>
    public static int BlockBytes => 84;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block[SuperScale..]);
            var dmin = Lanes.Half(block[SuperMinimum..]);
            for (var n = 0; n < BlockLength; n++)
            {
                var (half, row, i) = (n / 128, n / 32 % 4, n % 32);
                var code = (block[Codes + 32 * half + i] >> (2 * row)) & 3;
                values[b * BlockLength + n] = d * (block[n / 16] & 0x0F) * code - dmin * (block[n / 16] >> 4);
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks[SuperScale..]);
            var dmin = Lanes.Half(blocks[SuperMinimum..]);
            for (var n = 0; n < 256; n += 16)
            {
                var codes = Lanes.Load(blocks, Codes + 32 * (n / 128) + n % 32) >>> (2 * (n / 32 % 4));
                var pair = blocks[n / 16];
                Lanes.ScaleAndAdd(codes & Vector128.Create((byte)3), d * (pair & 0x0F), -(dmin * (pair >> 4)), values[n..]);
            }
        }
    }
}
