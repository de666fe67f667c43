using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Tests.Formats;

public sealed class EncodeTests
{
    public static TheoryData<WeightFormat> Scaled => [.. FormatActions.Blocked.Where(WeightFormats.CanEncode)];

    [Fact]
    public void ExactlyTheTypesThatHaveAnEncoderCanEncode()
    {
        foreach (var format in Enum.GetValues<WeightFormat>())
        {
            var type = typeof(F32).Assembly.GetType($"Hadal.Numerics.Formats.{format}")!;
            Assert.Equal(type.GetInterfaces().Any(i => i.Name.StartsWith("IWeightEncoder", StringComparison.Ordinal)), WeightFormats.CanEncode(format));
        }

        Assert.Throws<ArgumentException>(() => WeightFormats.Encode(WeightFormat.Q2_K, new float[256], new byte[84]));
        Assert.Throws<ArgumentException>(() => WeightFormats.Encode(WeightFormat.Q8_0, new float[32], new byte[35]));
        Assert.Throws<ArgumentException>(() => WeightFormats.Encode(WeightFormat.Q8_0, new float[16], new byte[17]));
    }

    // Relative root mean square errors of ggml's reference quantisers (github.com/ggml-org/ggml, MIT; ggml_quantize_chunk without importance matrix) on the
    // same data: normal with deviation 0.02 and 0.0002 (where F16 scales are subnormal), Laplace with the same.
    [Theory]
    [InlineData(WeightFormat.Q8_0, 5.366855e-03, 7.211139e-03, 6.812020e-03, 7.362262e-03)]
    [InlineData(WeightFormat.Q4_0, 8.623556e-02, 8.623628e-02, 1.082470e-01, 1.082463e-01)]
    [InlineData(WeightFormat.Q4_1, 7.850694e-02, 7.850017e-02, 9.213802e-02, 9.213189e-02)]
    [InlineData(WeightFormat.Q5_0, 4.272677e-02, 4.273287e-02, 5.414147e-02, 5.414174e-02)]
    [InlineData(WeightFormat.Q5_1, 3.781126e-02, 3.784182e-02, 4.473879e-02, 4.473796e-02)]
    [InlineData(WeightFormat.Q4_K, 7.143344e-02, 7.511543e-02, 8.517518e-02, 8.650747e-02)]
    [InlineData(WeightFormat.Q5_K, 3.618869e-02, 4.290550e-02, 4.319928e-02, 4.689021e-02)]
    [InlineData(WeightFormat.Q6_K, 1.777541e-02, 5.217523e-02, 2.170956e-02, 3.040058e-02)]
    public void ErrorIsNoLargerThanThatOfGgml(WeightFormat format, double normal, double smallNormal, double laplace, double smallLaplace)
    {
        Assert.InRange(RelativeError(format, Data(laplace: false, 0.02)), 0, normal);
        Assert.InRange(RelativeError(format, Data(laplace: false, 0.0002)), 0, smallNormal);
        Assert.InRange(RelativeError(format, Data(laplace: true, 0.02)), 0, laplace);
        Assert.InRange(RelativeError(format, Data(laplace: true, 0.0002)), 0, smallLaplace);
    }

    [Theory]
    [MemberData(nameof(Scaled))]
    public void WhatWasEncodedOnceSurvivesASecondTime(WeightFormat format)
    {
        var values = Data(laplace: false, 0.02).AsSpan(0, 16384);
        var once = RoundTrip(format, values);
        var twice = RoundTrip(format, once);

        // Super-blocks choose their F16 scale anew, from the best scales of blocks that are now rounded: all the block scales may move by a step.
        var share = WeightFormats.BlockLength(format) == 256 ? 0.2 : 0.1;
        Assert.InRange(Error(once, twice), 0, share * Error(values, once));
    }

    [Fact]
    public void Q8_0IsWithinHalfAStepOfEveryValue()
    {
        var values = Data(laplace: true, 0.02);
        var blocks = new byte[WeightFormats.RowBytes(WeightFormat.Q8_0, values.Length)];
        WeightFormats.Encode(WeightFormat.Q8_0, values, blocks);
        var decoded = FormatActions.Decode(WeightFormat.Q8_0, blocks);
        for (var i = 0; i < values.Length; i++)
        {
            // The scale itself is rounded to 11 bits: at code 127 that moves a value by up to 1/16 step.
            var step = (float)BitConverter.ToHalf(blocks, i / 32 * 34);
            Assert.InRange(Math.Abs(values[i] - decoded[i]), 0, step * 0.5625f);
        }
    }

    [Theory]
    [MemberData(nameof(Scaled))]
    public void ZerosStayZeroAndTinyValuesBecomeZero(WeightFormat format)
    {
        var zeros = new float[512];
        zeros[3] = -0f;
        Assert.All(RoundTrip(format, zeros), v => Assert.Equal(0, v));
        foreach (var tiny in new[] { 1e-12f, 1e-25f, 1e-40f, -1e-12f, -1e-25f, float.Epsilon })
        {
            var values = new float[512];
            Array.Fill(values, tiny, 100, 300);
            Assert.All(RoundTrip(format, values), v => Assert.InRange(v, -1.5e-6f, 1.5e-6f));
        }
    }

    [Theory]
    [MemberData(nameof(Scaled))]
    public void NaNCountsAsZeroAndWhatIsTooLargeSaturates(WeightFormat format)
    {
        var values = Data(laplace: false, 1000).AsSpan(0, 512).ToArray();
        var clean = values.ToArray();
        (values[5], clean[5]) = (float.NaN, 0);
        (values[300], clean[300]) = (float.PositiveInfinity, 65504);
        (values[301], clean[301]) = (float.MinValue, -65504);
        (values[302], clean[302]) = (1e6f, 65504);
        Assert.Equal(RoundTrip(format, clean), RoundTrip(format, values));
        var decoded = RoundTrip(format, values);
        Assert.All(decoded, v => Assert.InRange(v, -75000, 75000));
        Assert.InRange(decoded[300], 55000, 75000);
        Assert.InRange(decoded[301], -75000, -55000);
    }

    [Theory]
    [MemberData(nameof(Scaled))]
    public void ConstantsAndOutliersAreKept(WeightFormat format)
    {
        foreach (var constant in new[] { 1f, -1f, 0.037f, -0.037f, 12345f, -12345f })
        {
            var values = new float[256];
            Array.Fill(values, constant);
            Assert.All(RoundTrip(format, values), v => Assert.InRange(v / constant, 0.99f, 1.01f));
            var outlier = new float[256];
            outlier[77] = constant;
            var decoded = RoundTrip(format, outlier);
            Assert.InRange(decoded[77] / constant, 0.99f, 1.01f);
            Assert.All(decoded.Where((_, i) => i != 77), v => Assert.InRange(v / constant, -0.001f, 0.001f));
        }
    }

    [Theory]
    [MemberData(nameof(Scaled))]
    public void BlocksDoNotDependOnTheirNeighbours(WeightFormat format)
    {
        var (length, bytes) = (WeightFormats.BlockLength(format), WeightFormats.BlockBytes(format));
        var values = Data(laplace: true, 0.02).AsSpan(0, 19 * length);
        var together = new byte[19 * bytes];
        WeightFormats.Encode(format, values, together);
        var alone = new byte[bytes];
        for (var b = 0; b < 19; b++)
        {
            WeightFormats.Encode(format, values.Slice(b * length, length), alone);
            Assert.Equal(alone, together[(b * bytes)..((b + 1) * bytes)]);
        }
    }

    // Held so that every instruction set writes the same file (InstructionSetTests) and a change of the search is seen.
    [Theory]
    [InlineData(WeightFormat.Q8_0, 0x9dbbcec82fef0595)]
    [InlineData(WeightFormat.Q4_0, 0xae74872fee867c9d)]
    [InlineData(WeightFormat.Q4_1, 0xef5b3e5bef495b1e)]
    [InlineData(WeightFormat.Q5_0, 0x631421ea6d74def1)]
    [InlineData(WeightFormat.Q5_1, 0xa503cbc3e52c8ebd)]
    [InlineData(WeightFormat.Q4_K, 0x56bcf895ab9630e1)]
    [InlineData(WeightFormat.Q5_K, 0xab2925b8d53639ec)]
    [InlineData(WeightFormat.Q6_K, 0xc3580e86b967289d)]
    public void EveryProcessorWritesTheSameBytes(WeightFormat format, ulong expected)
    {
        // Sums of three uniform integers: exact in float32 whatever the platform's mathematics library does.
        var values = new float[8192];
        var state = 99u;
        foreach (ref var value in values.AsSpan())
        {
            for (var k = 0; k < 3; k++)
            {
                state = unchecked(state * 1664525 + 1013904223);
                value += (int)(state >> 20) - 2047.5f;
            }

            value /= 65536;
        }

        var blocks = new byte[WeightFormats.RowBytes(format, values.Length)];
        WeightFormats.Encode(format, values, blocks);
        Assert.Equal(expected, FormatActions.Hash(blocks));
    }

    private static float[] RoundTrip(WeightFormat format, ReadOnlySpan<float> values)
    {
        var blocks = new byte[WeightFormats.RowBytes(format, values.Length)];
        WeightFormats.Encode(format, values, blocks);
        return FormatActions.Decode(format, blocks);
    }

    private static double RelativeError(WeightFormat format, float[] values) => Error(values, RoundTrip(format, values)) / Error(values, new float[values.Length]);

    private static double Error(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        var sum = 0.0;
        for (var i = 0; i < a.Length; i++)
            sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        return Math.Sqrt(sum);
    }

    private static float[] Data(bool laplace, double scale)
    {
        var values = new float[65536];
        var state = 777u;
        for (var i = 0; i < values.Length; i++)
        {
            var (u, v) = (Uniform(ref state), Uniform(ref state));
            values[i] = (float)(scale * (laplace ? (v < 0.5 ? 1 : -1) * -Math.Log(u) : Math.Sqrt(-2 * Math.Log(u)) * Math.Cos(6.283185307179586 * v)));
        }

        return values;

        static double Uniform(ref uint state)
        {
            state = unchecked(state * 1664525 + 1013904223);
            return ((state >> 8) + 0.5) / 16777216.0;
        }
    }
}
