using System.Buffers.Binary;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>Blocks of 32: an F16 scale d, then 32 signed bytes q; value = d * q. Source: ggml, block_q8_0.</summary>
public readonly partial struct Q8_0 : IWeightFormat<Q8_0>, IWeightEncoder<Q8_0>
{
    private const int Codes = 2;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.Q8_0;

    /// <inheritdoc/>
    public static int BlockLength => 32;

    /// <inheritdoc/>
    public static int BlockBytes => 34;

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block);
            for (var i = 0; i < BlockLength; i++)
                values[b * BlockLength + i] = d * (sbyte)block[Codes + i];
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks);
            Lanes.Scale(Lanes.Load(blocks, Codes).AsSByte(), d, values);
            Lanes.Scale(Lanes.Load(blocks, Codes + 16).AsSByte(), d, values[16..]);
        }
    }

    /// <inheritdoc/>
    /// <remarks>d = max |x| / 127, rounded to F16 before the codes are. NaN counts as 0, magnitudes beyond 65504 as 65504.</remarks>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        Span<float> finite = stackalloc float[BlockLength];
        for (; values.Length >= BlockLength; values = values[BlockLength..], blocks = blocks[BlockBytes..])
        {
            var max = 0f;
            for (var i = 0; i < BlockLength; i++)
            {
                finite[i] = float.IsNaN(values[i]) ? 0 : Math.Clamp(values[i], -BlockSearch.MaxMagnitude, BlockSearch.MaxMagnitude);
                max = Math.Max(max, Math.Abs(finite[i]));
            }

            var half = (Half)(max / 127);
            var d = (float)half;
            BinaryPrimitives.WriteHalfLittleEndian(blocks, half);
            for (var i = 0; i < BlockLength; i++)
                blocks[Codes + i] = d == 0 ? (byte)0 : (byte)(sbyte)Math.Clamp(MathF.Round(finite[i] / d), -127, 127);
        }
    }
}
