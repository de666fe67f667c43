using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Tests.Formats;

/// <summary>
/// The hashes were made with ggml's reference decoders (github.com/ggml-org/ggml, MIT; dequantize_row_*, compiled without contraction of
/// multiply and add) from the pseudo-random blocks that this test makes again.
/// </summary>
public sealed class GgmlGoldenTests
{
    [Theory]
    [InlineData(WeightFormat.Q8_0, 0xcd1601a87c43c51d)]
    [InlineData(WeightFormat.Q4_0, 0xf81e5f9fd33dc75e)]
    [InlineData(WeightFormat.Q4_1, 0x7798bd74f5b29df0)]
    [InlineData(WeightFormat.Q5_0, 0x849c848cff4f9701)]
    [InlineData(WeightFormat.Q5_1, 0x904bc1e57443dcae)]
    [InlineData(WeightFormat.Q2_K, 0xc70a8da74637db28)]
    [InlineData(WeightFormat.Q3_K, 0xbf3981b2b64a8e15)]
    [InlineData(WeightFormat.Q4_K, 0xd98d5ab15602328b)]
    [InlineData(WeightFormat.Q5_K, 0xa3e295e9335cf8bf)]
    [InlineData(WeightFormat.Q6_K, 0x5c906d3dfb9ef64f)]
    [InlineData(WeightFormat.IQ4_NL, 0x7add2a33ccceff8d)]
    [InlineData(WeightFormat.IQ4_XS, 0xbcd224c5513dfb32)]
    public void DecodesAsGgmlDoes(WeightFormat format, ulong expected)
    {
        var blocks = RandomBlocks(format, 64);
        Assert.Equal(expected, FormatActions.Hash(MemoryMarshal.AsBytes<float>(FormatActions.DecodeReference(format, blocks))));
        Assert.Equal(expected, FormatActions.Hash(MemoryMarshal.AsBytes<float>(FormatActions.Decode(format, blocks))));
    }

    private static byte[] RandomBlocks(WeightFormat format, int count)
    {
        var size = WeightFormats.BlockBytes(format);
        var blocks = new byte[count * size];
        var state = 12345u;
        for (var i = 0; i < blocks.Length; i++)
        {
            state = unchecked(state * 1664525 + 1013904223);
            blocks[i] = (byte)(state >> 24);
        }

        // Scales below 2 in magnitude: no infinities, no NaN.
        for (var b = 0; b < count; b++)
        {
            foreach (var offset in FormatActions.HalfOffsets(format))
                blocks[b * size + offset + 1] &= 0xBF;
        }

        return blocks;
    }
}
