using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Super-blocks of 256 = 8 blocks of 32: F16 d and dmin, twelve bytes of 6-bit scales s and minima m (<see cref="SixBitPairs"/>), 32 bytes whose
/// bit j is bit 4 of the codes of block j, then nibbles as in <see cref="Q4_K"/>; value = d * s * q - dmin * m. Source: ggml, block_q5_K.
/// </summary>
public readonly partial struct Q5_K : IWeightFormat<Q5_K>, IWeightEncoder<Q5_K>
{
    private const int Minima = 2;
    private const int Pairs = 4;
    private const int HighBits = Pairs + SixBitPairs.Bytes;
    private const int Codes = HighBits + 32;
    private const int MaxCode = 31;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q5_K;

    /// <inheritdoc/>
    public static int BlockLength => 256;

    /// <inheritdoc/>
    public static int BlockBytes => 176;

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
                    var nibble = (block[Codes + 32 * (j / 2) + i] >> (4 * (j % 2))) & 0x0F;
                    var code = nibble | (((block[HighBits + i] >> j) & 1) << 4);
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
                    var bits = Lanes.Load(blocks, HighBits + i) >>> j;
                    var bit4 = Vector128.Create((byte)0x10);
                    Lanes.ScaleAndAdd(Lanes.LowNibbles(codes) | ((bits << 4) & bit4), s0, m0, values[(32 * j + i)..]);
                    Lanes.ScaleAndAdd(Lanes.HighNibbles(codes) | ((bits << 3) & bit4), s1, m1, values[(32 * j + 32 + i)..]);
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
            for (var i = 0; i < 32; i++)
            {
                var bits = 0;
                for (var j = 0; j < 8; j++)
                    bits |= (codes[32 * j + i] >> 4) << j;
                blocks[HighBits + i] = (byte)bits;
            }

            for (var j = 0; j < 8; j += 2)
            {
                for (var i = 0; i < 32; i++)
                    blocks[Codes + 16 * j + i] = (byte)((codes[32 * j + i] & 0x0F) | (codes[32 * j + 32 + i] << 4));
            }
        }
    }
}
