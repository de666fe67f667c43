using System.Globalization;
using System.Text.Json;
using Hadal.Numerics.Formats;
using Hadal.Tests;

namespace Hadal.Numerics.Tests.Formats;

public sealed class E4M3Tests
{
    // The definition, in exact doubles: independent of the bit tricks in the format.
    private static double Exact(int code)
    {
        var exponent = (code >> 3) & 15;
        var mantissa = code & 7;
        var magnitude = exponent == 0 ? mantissa * Math.Pow(2, -9) : (8 + mantissa) * Math.Pow(2, exponent - 10);
        return (code & 0x80) == 0 ? magnitude : -magnitude;
    }

    private static readonly double[] Magnitudes = [.. Enumerable.Range(0, 0x7F).Select(Exact)];

    private static byte Nearest(float value)
    {
        var sign = float.IsNegative(value) ? 0x80 : 0;
        if (float.IsNaN(value))
            return (byte)(sign | 0x7F);
        var best = 0;
        var bestDistance = double.MaxValue;
        var magnitude = Math.Min(Math.Abs((double)value), 448);
        for (var code = 0; code < 0x7F; code++)
        {
            var distance = Math.Abs(magnitude - Magnitudes[code]);
            if (distance < bestDistance || (distance == bestDistance && code % 2 == 0))
                (best, bestDistance) = (code, distance);
        }

        return (byte)(sign | best);
    }

    [Fact]
    public void EveryCodeHasItsExactValueAndRoundTrips()
    {
        var codes = Enumerable.Range(0, 256).Select(c => (byte)c).ToArray();
        var values = new float[256];
        F8_E4M3.Decode(codes, values);
        var back = new byte[256];
        F8_E4M3.Encode(values, back);
        for (var code = 0; code < 256; code++)
        {
            if ((code & 0x7F) == 0x7F)
                Assert.True(float.IsNaN(values[code]));
            else
                Assert.Equal(BitConverter.DoubleToInt64Bits(Exact(code)), BitConverter.DoubleToInt64Bits(values[code]));
            Assert.Equal(code, back[code]);
            Assert.Equal(BitConverter.SingleToInt32Bits(values[code]), BitConverter.SingleToInt32Bits(F8_E4M3.ToSingle((byte)code)));
        }
    }

    // Scales whose product with 2^120 is no number any more, those that make subnormal values, and runs with and without NaN.
    [Theory]
    [InlineData(1f)]
    [InlineData(-0.37f)]
    [InlineData(127.9f)]
    [InlineData(300f)]
    [InlineData(float.MaxValue)]
    [InlineData(1.3e-38f)]
    [InlineData(float.Epsilon)]
    [InlineData(0f)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NaN)]
    public void CodesAreScaledWithOneRounding(float scale)
    {
        byte[] codes = [.. Enumerable.Range(0, 256).Select(static i => (byte)i), .. Enumerable.Range(0, 100).Select(static i => (byte)i)];
        foreach (var count in (int[])[codes.Length, 64, 63, 1])
        {
            var values = new float[count];
            F8_E4M3.Decode(codes.AsSpan(0, count), scale, values);
            for (var i = 0; i < count; i++)
                Assert.Equal(F8_E4M3.ToSingle(codes[i]) * scale, values[i]);
        }
    }

    [Fact]
    public void EncodingIsNearestEvenOnEveryTieItsNeighboursAndSpecialValues()
    {
        var values = new List<float>
        {
            0, -0f, float.NaN, -float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.MaxValue, float.MinValue, float.Epsilon, -float.Epsilon,
            448, 449, 464, 465, 480, 512, 1e30f,
        };
        for (var code = 0; code < 0x7E; code++)
        {
            var tie = (float)((Exact(code) + Exact(code + 1)) / 2);
            foreach (var value in new[] { (float)Exact(code), float.BitDecrement(tie), tie, float.BitIncrement(tie) })
                values.AddRange([value, -value]);
        }

        var random = new Random(7);
        for (var i = 0; i < 20_000; i++)
            values.Add(BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue)));
        for (var i = 0; i < 20_000; i++)
            values.Add((float)((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-12, 11))));

        var codes = new byte[values.Count];
        F8_E4M3.Encode(values.ToArray(), codes);
        for (var i = 0; i < codes.Length; i++)
        {
            Assert.True(Nearest(values[i]) == codes[i], $"{values[i]:R}: expected {Nearest(values[i]):x2}, found {codes[i]:x2}");
            Assert.Equal(codes[i], F8_E4M3.FromSingle(values[i]));
        }
    }

    [Fact]
    public void AgreesWithTheGoldenTableAndCases()
    {
        using var golden = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.Path("fixtures", "kernels", "e4m3.json")));
        foreach (var entry in golden.RootElement.GetProperty("table").EnumerateArray())
        {
            var value = F8_E4M3.ToSingle(entry.GetProperty("byte").GetByte());
            if (!float.IsNaN(value))
                Assert.Equal(Bits(entry.GetProperty("f32_bits")), BitConverter.SingleToUInt32Bits(value));
            else
                Assert.Equal(0x7F, entry.GetProperty("byte").GetByte() & 0x7F);
        }

        var cases = 0;
        foreach (var entry in golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            var expected = entry[2].GetByte();
            var found = F8_E4M3.FromSingle(BitConverter.UInt32BitsToSingle(Bits(entry[1])));
            Assert.True(expected == found || ((expected & 0x7F) == 0x7F && (found & 0x7F) == 0x7F), $"{entry}: found {found:x2}");
            cases++;
        }

        Assert.Equal(2000, cases);
    }

    private static uint Bits(JsonElement hex) => uint.Parse(hex.GetString().AsSpan(2), NumberStyles.HexNumber);
}
