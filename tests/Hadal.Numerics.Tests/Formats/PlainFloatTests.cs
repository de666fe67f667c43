using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Tests.Formats;

/// <summary>F32, F16 and BF16: every code, and rounding at every border between two codes.</summary>
public sealed class PlainFloatTests
{
    [Fact]
    public void F32KeepsEveryBit()
    {
        var random = new Random(3);
        var bytes = new byte[4096];
        random.NextBytes(bytes);
        var values = FormatActions.Decode(WeightFormat.F32, bytes);
        var back = new byte[4096];
        WeightFormats.Encode(WeightFormat.F32, values, back);
        Assert.Equal(bytes, back);
    }

    [Theory]
    [InlineData(WeightFormat.BF16, 0x7F80)]
    [InlineData(WeightFormat.F16, 0x7C00)]
    public void EveryCodeRoundTripsAndBordersRoundToEven(WeightFormat format, int infinity)
    {
        var codes = Enumerable.Range(0, 65536).Select(c => (ushort)c).ToArray();
        var values = FormatActions.Decode(format, MemoryMarshal.AsBytes(codes.AsSpan()));
        var back = Encode(format, values);
        for (var c = 0; c < 65536; c++)
        {
            if (float.IsNaN(values[c]))
                Assert.True((back[c] & 0x7FFF) > infinity, $"NaN {c:x4} became {back[c]:x4}");
            else
                Assert.Equal(c, back[c]);
        }

        // Between code c and the next lies a tie; the code above the largest finite number stands for infinity, one step on.
        var ties = new float[infinity];
        for (var c = 0; c < infinity; c++)
        {
            var next = c + 1 < infinity ? values[c + 1] : 2.0 * values[c] - values[c - 1];
            ties[c] = (float)((values[c] + next) / 2);
        }

        var below = Encode(format, Array.ConvertAll(ties, MathF.BitDecrement));
        var at = Encode(format, ties);
        var above = Encode(format, Array.ConvertAll(ties, MathF.BitIncrement));
        var negative = Encode(format, Array.ConvertAll(ties, t => -t));
        for (var c = 0; c < infinity; c++)
        {
            Assert.Equal(c, below[c]);
            Assert.Equal(c % 2 == 0 ? c : c + 1, at[c]);
            Assert.Equal(c + 1, above[c]);
            Assert.Equal(at[c] | 0x8000, negative[c]);
        }
    }

    private static ushort[] Encode(WeightFormat format, float[] values)
    {
        var codes = new ushort[values.Length];
        WeightFormats.Encode(format, values, MemoryMarshal.AsBytes(codes.AsSpan()));
        return codes;
    }
}
