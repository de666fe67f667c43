using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Super-blocks of 256 = 8 blocks of 32: F16 d and dmin, twelve bytes of 6-bit scales s and minima m (<see cref="SixBitPairs"/>), then for each
/// pair of blocks 32 bytes whose low nibbles are the codes of the first and whose high nibbles are the codes of the second;
/// value = d * s * q - dmin * m. Source: ggml, block_q4_K.
/// </summary>
public readonly struct Q4_K : IWeightFormat<Q4_K>
{
    private const int Minima = 2;
    private const int Pairs = 4;
    private const int Codes = Pairs + SixBitPairs.Bytes;

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
            var pairs = blocks.Slice(Pairs, SixBitPairs.Bytes);
            for (var j = 0; j < 8; j += 2)
            {
                var (s0, m0) = SixBitPairs.Get(pairs, j);
                var (s1, m1) = SixBitPairs.Get(pairs, j + 1);
                for (var i = 0; i < 32; i += 16)
                {
                    var codes = Lanes.Load(blocks, Codes + 16 * j + i);
                    Lanes.ScaleAndAdd(Lanes.LowNibbles(codes), d * s0, -(dmin * m0), values[(32 * j + i)..]);
                    Lanes.ScaleAndAdd(Lanes.HighNibbles(codes), d * s1, -(dmin * m1), values[(32 * j + 32 + i)..]);
                }
            }
        }
    }
}
