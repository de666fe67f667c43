using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Blocks of 32: an F16 scale d, then 16 bytes whose low nibbles are codes 0-15 and whose high nibbles are codes 16-31;
/// value = d * (q - 8). Source: ggml, block_q4_0.
/// </summary>
public readonly partial struct Q4_0 : IWeightFormat<Q4_0>, IWeightEncoder<Q4_0>
{
    private const int Codes = 2;
    private const int Zero = 8;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q4_0;

    /// <inheritdoc/>
    public static int BlockLength => 32;

    /// <inheritdoc/>
    public static int BlockBytes => 18;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block);
            for (var i = 0; i < 16; i++)
            {
                values[b * BlockLength + i] = d * ((block[Codes + i] & 0x0F) - Zero);
                values[b * BlockLength + i + 16] = d * ((block[Codes + i] >> 4) - Zero);
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
            Lanes.Scale(Lanes.LowNibbles(codes).AsSByte() - Vector128.Create((sbyte)Zero), d, values);
            Lanes.Scale(Lanes.HighNibbles(codes).AsSByte() - Vector128.Create((sbyte)Zero), d, values[16..]);
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
                for (var i = 0; i < 16; i++)
                    block[Codes + i] = (byte)((q[i] & 0x0F) | (q[i + 16] << 4));
            }

            values = values[(count * BlockLength)..];
            blocks = blocks[(count * BlockBytes)..];
        }
    }
}
