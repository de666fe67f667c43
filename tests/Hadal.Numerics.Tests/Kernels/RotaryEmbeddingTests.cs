using System.Numerics;
using CsCheck;
using Hadal.Numerics.Kernels;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class RotaryEmbeddingTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TurnsPairsAsComplexNumbers(bool interleaved) =>
        Gen.Select(Gen.Int[1, 40], Gen.Int[0, 200_000], Gen.Int[0, 1 << 20], Gen.Double[0.5, 2]).Sample((half, position, seed, magnitude) =>
        {
            var frequencies = RotaryEmbedding.PlainFrequencies(2 * half, 10000);
            var rotary = new RotaryEmbedding(frequencies, interleaved, magnitude);
            Assert.Equal(2 * half, rotary.Dimension);
            float[] cos = new float[half], sin = new float[half], x = RandomMatrix.Normals(new Random(seed), 2 * half);
            rotary.Angles(position, cos, sin);
            float[] turned = [.. x], apart = [.. x];
            rotary.Rotate(turned, cos, sin);
            for (var i = 0; i < half; i++)
            {
                var (first, second) = interleaved ? (2 * i, (2 * i) + 1) : (i, i + half);
                (apart[first], apart[second]) = ((x[first] * cos[i]) - (x[second] * sin[i]), (x[first] * sin[i]) + (x[second] * cos[i]));
                var expected = new Complex(x[first], x[second]) * Complex.FromPolarCoordinates(magnitude, position * Math.Pow(10000, -2.0 * i / (2 * half)));
                var tolerance = 4e-7 * Complex.Abs(expected);
                Assert.InRange(turned[first], expected.Real - tolerance, expected.Real + tolerance);
                Assert.InRange(turned[second], expected.Imaginary - tolerance, expected.Imaginary + tolerance);
            }

            Bits.AssertEqual(apart, turned, "a pair at a time");
        });

    [Fact]
    public void AnglesThatDoNotFitAreRefused() =>
        Assert.Contains("3 cosines", Assert.Throws<ArgumentException>(() => new RotaryEmbedding([1, 1], true).Rotate(new float[4], new float[3], new float[2])).Message, StringComparison.Ordinal);

    [Fact]
    public void YarnKeepsFastDimensionsAndStretchesSlowOnes()
    {
        var plain = RotaryEmbedding.PlainFrequencies(64, 10000);
        var yarn = RotaryEmbedding.YarnFrequencies(64, 10000, 40, 32, 1, 4096);
        var kept = yarn.Zip(plain, (y, p) => (y / p - (1 / 40.0)) / (1 - (1 / 40.0))).ToArray();
        for (var i = 0; i < kept.Length; i++)
        {
            // Dimensions that turn more than 32 times in 4096 positions, or less than once.
            var turns = 4096 * plain[i] / (2 * Math.PI);
            if (turns > 40)
                Assert.Equal(1, kept[i], 12);
            else if (turns < 0.8)
                Assert.Equal(0, kept[i], 12);
            Assert.True(i == 0 || kept[i] <= kept[i - 1] + 1e-12);
        }

        Assert.Contains(kept, k => k is > 0.1 and < 0.9);
        Assert.All(RotaryEmbedding.YarnFrequencies(64, 10000, 1, 32, 1, 4096).Zip(plain), pair => Assert.Equal(pair.Second, pair.First, pair.Second * 1e-15));
    }
}
