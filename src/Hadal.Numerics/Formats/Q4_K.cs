using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Super-blocks of 256 = 8 blocks of 32: F16 d and dmin, twelve bytes of 6-bit scales s and minima m (<see cref="SixBitPairs"/>), then for each
/// pair of blocks 32 bytes whose low nibbles are the codes of the first and whose high nibbles are the codes of the second;
/// value = d * s * q - dmin * m. Source: ggml, block_q4_K.
/// </summary>
public readonly partial struct Q4_K : IWeightFormat<Q4_K>, IWeightEncoder<Q4_K>
{
    private const int Minima = 2;
    private const int Pairs = 4;
    private const int Codes = Pairs + SixBitPairs.Bytes;
    private const int MaxCode = 15;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q4_K;

    /// <inheritdoc/>
    public static int BlockLength => 256;

    /// <inheritdoc/>
    public static int BlockBytes => 144;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block);
            var dmin = Lanes.Half(block[Minima..]);
            for (var j = 0; j < 8; j++)
            {
                var (s, m) = SixBitPairs.Get(block.Slice(Pairs, SixBitPairs.Bytes), j);
                for (var i = 0; i < 32; i++)
                {
                    var code = (block[Codes + 32 * (j / 2) + i] >> (4 * (j % 2))) & 0x0F;
                    values[b * BlockLength + 32 * j + i] = d * s * code - dmin * m;
                }
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks);
            var dmin = Lanes.Half(blocks[Minima..]);
            var (scales, minima) = SixBitPairs.GetAll(blocks.Slice(Pairs, SixBitPairs.Bytes));
            for (var j = 0; j < 8; j += 2, scales >>= 16, minima >>= 16)
            {
                var (s0, s1) = (d * (byte)scales, d * (byte)(scales >> 8));
                var (m0, m1) = (-(dmin * (byte)minima), -(dmin * (byte)(minima >> 8)));
                for (var i = 0; i < 32; i += 16)
                {
                    var codes = Lanes.Load(blocks, Codes + 16 * j + i);
                    Lanes.ScaleAndAdd(Lanes.LowNibbles(codes), s0, m0, values[(32 * j + i)..]);
                    Lanes.ScaleAndAdd(Lanes.HighNibbles(codes), s1, m1, values[(32 * j + 32 + i)..]);
                }
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>Scales and minima are searched for: <see cref="SixBitPairs.Encode"/>. NaN counts as 0, magnitudes beyond 65504 as 65504.</remarks>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<byte> codes = stackalloc byte[BlockLength];
        for (; values.Length >= BlockLength; values = values[BlockLength..], blocks = blocks[BlockBytes..])
        {
            var (d, dmin) = SixBitPairs.Encode(values[..BlockLength], MaxCode, blocks.Slice(Pairs, SixBitPairs.Bytes), codes);
            BinaryPrimitives.WriteHalfLittleEndian(blocks, d);
            BinaryPrimitives.WriteHalfLittleEndian(blocks[Minima..], dmin);
            for (var j = 0; j < 8; j += 2)
            {
                for (var i = 0; i < 32; i++)
                    blocks[Codes + 16 * j + i] = (byte)((codes[32 * j + i] & 0x0F) | (codes[32 * j + 32 + i] << 4));
            }
        }
    }
}
