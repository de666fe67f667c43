using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Super-blocks of 256 = 16 blocks of 16: 128 bytes of lower nibbles, 64 bytes of upper 2 bits, 16 signed scales s, an F16 d;
/// value = d * s * (q - 32). Each half of 128 values is four rows of 32: rows 0 and 1 are the low nibbles of its 64 bytes, rows 2 and 3 the
/// high nibbles; the upper bits of row r are bits 2r and 2r+1 of its 32 bytes. Source: ggml, block_q6_K.
/// </summary>
public readonly partial struct Q6_K : IWeightFormat<Q6_K>, IWeightEncoder<Q6_K>
{
    private const int HighBits = 128;
    private const int Scales = 192;
    private const int SuperScale = 208;
    private const int Zero = 32;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q6_K;

    /// <inheritdoc/>
    public static int BlockLength => 256;

    /// <inheritdoc/>
    public static int BlockBytes => 210;

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
                var nibble = (block[64 * half + 32 * (row % 2) + i] >> (4 * (row / 2))) & 0x0F;
                var upper = (block[HighBits + 32 * half + i] >> (2 * row)) & 3;
                values[b * BlockLength + n] = d * (sbyte)block[Scales + n / 16] * ((nibble | (upper << 4)) - Zero);
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks[SuperScale..]);
            for (var n = 0; n < 256; n += 128)
            {
                for (var i = 0; i < 32; i += 16)
                {
                    var first = Lanes.Load(blocks, n / 2 + i);
                    var second = Lanes.Load(blocks, n / 2 + 32 + i);
                    var upper = Lanes.Load(blocks, HighBits + n / 4 + i);
                    var scales = blocks.Slice(Scales + (n + i) / 16, 7);
                    var to = values.Slice(n + i, 112);
                    Lanes.Scale(Code(Lanes.LowNibbles(first), upper << 4), d * (sbyte)scales[0], to);
                    Lanes.Scale(Code(Lanes.LowNibbles(second), upper << 2), d * (sbyte)scales[2], to[32..]);
                    Lanes.Scale(Code(Lanes.HighNibbles(first), upper), d * (sbyte)scales[4], to[64..]);
                    Lanes.Scale(Code(Lanes.HighNibbles(second), upper >>> 2), d * (sbyte)scales[6], to[96..]);
                }
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>Scales are searched for: <see cref="BlockSearch"/>. NaN counts as 0, magnitudes beyond 65504 as 65504.</remarks>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        const int half = BlockSearch.Blocks * 16;
        Span<float> x = stackalloc float[BlockLength];
        Span<float> w = stackalloc float[BlockLength];
        Span<byte> codes = stackalloc byte[BlockLength];
        for (; values.Length >= BlockLength; values = values[BlockLength..], blocks = blocks[BlockBytes..])
        {
            BlockSearch.Load(values[..half], 16, x[..half], w[..half]);
            BlockSearch.Load(values[half..BlockLength], 16, x[half..], w[half..]);
            var scale0 = BlockSearch.Symmetric(x[..half], w[..half], Zero);
            var scale1 = BlockSearch.Symmetric(x[half..], w[half..], Zero);
            var largest = 0f;
            for (var lane = 0; lane < BlockSearch.Blocks; lane++)
                largest = MathF.MaxMagnitude(largest, MathF.MaxMagnitude(scale0[lane], scale1[lane]));

            // The largest scale becomes the code -128, which has one step more than 127.
            var d = BlockSearch.HalfNotBelow(MathF.Abs(largest) / 128);
            if (largest > 0)
                d = -d;
            var stored0 = NearestScales(x[..half], w[..half], scale0, (float)d);
            var stored1 = NearestScales(x[half..], w[half..], scale1, (float)d);
            BlockSearch.SymmetricCodes(x[..half], stored0 * (float)d, Zero, codes);
            BlockSearch.SymmetricCodes(x[half..], stored1 * (float)d, Zero, codes[half..]);

            BinaryPrimitives.WriteHalfLittleEndian(blocks[SuperScale..], d);
            for (var lane = 0; lane < BlockSearch.Blocks; lane++)
            {
                blocks[Scales + lane] = (byte)(sbyte)stored0[lane];
                blocks[Scales + BlockSearch.Blocks + lane] = (byte)(sbyte)stored1[lane];
            }

            for (var n = 0; n < BlockLength; n += 128)
            {
                for (var i = 0; i < 32; i++)
                {
                    var (q0, q1, q2, q3) = (codes[n + i], codes[n + 32 + i], codes[n + 64 + i], codes[n + 96 + i]);
                    blocks[n / 2 + i] = (byte)((q0 & 0x0F) | (q2 << 4));
                    blocks[n / 2 + 32 + i] = (byte)((q1 & 0x0F) | (q3 << 4));
                    blocks[HighBits + n / 4 + i] = (byte)((q0 >> 4) | ((q1 >> 4) << 2) | ((q2 >> 4) << 4) | ((q3 >> 4) << 6));
                }
            }
        }
    }

    // Of the integers next to the ideal scale, the one that leaves the least error; the nearest if it makes no difference.
    private static Vector256<float> NearestScales(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector256<float> scale, float d)
    {
        var ideal = Vector256.Round(scale * BlockSearch.Inverse(Vector256.Create(d)));
        var best = Vector256<float>.Zero;
        var bestError = Vector256.Create(float.PositiveInfinity);
        foreach (var step in (ReadOnlySpan<float>)[0, -1, 1])
        {
            var s = Vector256.Min(Vector256.Max(ideal + Vector256.Create(step), Vector256.Create(-128f)), Vector256.Create(127f));
            var error = BlockSearch.SymmetricError(x, w, s * d, Zero);
            var better = Vector256.LessThan(error, bestError);
            best = Vector256.ConditionalSelect(better, s, best);
            bestError = Vector256.ConditionalSelect(better, error, bestError);
        }

        return best;
    }

    private static Vector128<sbyte> Code(Vector128<byte> nibbles, Vector128<byte> upper) =>
        (nibbles | (upper & Vector128.Create((byte)0x30))).AsSByte() - Vector128.Create((sbyte)Zero);
}
