using CsCheck;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

/// <summary>RMSNorm, softmax and SwiGLU.</summary>
public sealed class RowKernelTests
{
    [Fact]
    public void RmsNormDividesByTheRootOfTheMeanSquare() =>
        Gen.Select(Gen.Int[1, 5], Gen.Int[1, 300], Gen.Int[0, 1 << 20], Choice(1e-6, 1e-5, 0.5)).Sample((rows, width, seed, epsilon) =>
        {
            var random = new Random(seed);
            float[] x = RandomMatrix.Normals(random, rows * width, 3), weight = RandomMatrix.Normals(random, width), y = new float[x.Length];
            RmsNorm.Apply(x, weight, y, epsilon);
            for (var r = 0; r < rows; r++)
            {
                var root = Math.Sqrt(x.Skip(r * width).Take(width).Average(v => (double)v * v) + epsilon);
                for (var i = 0; i < width; i++)
                {
                    var expected = x[(r * width) + i] / root * weight[i];
                    Assert.True(Math.Abs(y[(r * width) + i] - expected) <= 4e-7 * Math.Abs(expected) + 1e-30);
                }
            }

            RmsNorm.Apply(x, weight, x, epsilon);
            Bits.AssertEqual(y, x, "in place");
        });

    [Fact]
    public void RmsNormOfZerosIsZero()
    {
        var y = new float[5];
        RmsNorm.Apply(new float[5], [1, 1, 1, 1, 1], y, 1e-6);
        Assert.All(y, v => Assert.Equal(0, v));
        Assert.Throws<ArgumentException>(() => RmsNorm.Apply(new float[5], new float[2], new float[5], 1e-6));
    }

    [Fact]
    public void ResidualNormIsAdditionNormAndQuantisation() =>
        Gen.Select(Gen.Int[1, 20], Gen.Int[1, 12], Choice(0, 32, 256), Gen.Bool, Gen.Int[0, 1 << 20]).Sample((rows, blocks, block, adds, seed) =>
        {
            var random = new Random(seed);

            // Wide enough for several threads to have something to do.
            var width = blocks * (block == 0 ? 257 : 256);
            float[] x = RandomMatrix.Normals(random, rows * width), weight = RandomMatrix.Normals(random, width), branch = RandomMatrix.Normals(random, adds ? x.Length : 0);
            float[] sum = adds ? [.. x.Zip(branch, (a, b) => a + b)] : [.. x], normed = new float[x.Length];
            RmsNorm.Apply(sum, weight, normed, 1e-6);
            using var one = new KernelThreads(1);
            var codes = new byte[block == 0 ? 0 : rows * IntegerActivations.RowBytes(width, block)];
            if (block > 0)
                IntegerActivations.Quantize(normed, width, block, codes, one);
            for (var threads = 1; threads <= 3; threads++)
            {
                // Its results may lie where the branch does.
                using var pool = new KernelThreads(threads);
                float[] stream = [.. x], results = adds ? [.. branch] : new float[x.Length];
                var found = new byte[codes.Length];
                ResidualNorm.Apply(stream, adds ? results : [], weight, 1e-6, results, block, found, pool);
                Bits.AssertEqual(sum, stream, $"sum, {threads} threads");
                Bits.AssertEqual(normed, results, $"norm, {threads} threads");
                Assert.Equal(codes, found);
            }
        });

    [Theory]
    [InlineData(128, 64, 128, 32, 256, "a branch of 64")]
    [InlineData(128, 0, 64, 32, 256, "y of 64")]
    [InlineData(100, 0, 100, 0, 0, "x of 100")]
    [InlineData(128, 0, 128, 32, 255, "255 bytes")]
    [InlineData(128, 0, 128, 0, 256, "256 bytes")]
    [InlineData(128, 0, 128, 48, 256, "blocks of 48")]
    [InlineData(128, 0, 128, 256, 0, "blocks of 256")]
    public void ResidualNormOfWhatDoesNotFitIsRefused(int x, int branch, int y, int block, int codes, string expected)
    {
        using var one = new KernelThreads(1);
        var act = () => ResidualNorm.Apply(new float[x], new float[branch], new float[64], 1e-6, new float[y], block, new byte[codes], one);
        Assert.Contains(expected, Assert.Throws<ArgumentException>(act).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SoftmaxAgreesWithDoubleEvenFarFromZero() =>
        Gen.Select(Gen.Int[1, 300], Gen.Int[0, 1 << 20], Choice(0f, 1000f, -1000f, 80f, 1e8f)).Sample((length, seed, offset) =>
        {
            var random = new Random(seed);
            var x = RandomMatrix.Normals(random, length, 5).Select(v => v + offset).ToArray();
            for (var i = 0; i < length - 1; i++)
            {
                if (random.Next(8) == 0)
                    x[i] = float.NegativeInfinity;
            }

            var max = x.Max();
            var exps = x.Select(v => Math.Exp((double)v - max)).ToArray();
            var expected = exps.Select(e => e / exps.Sum()).ToArray();
            var found = (float[])x.Clone();
            Softmax.InPlace(found);
            for (var i = 0; i < length; i++)
            {
                // The exponent x - max is rounded to float32.
                var relative = 1e-6 + (float.IsFinite(x[i]) ? (max - x[i]) * Math.Pow(2, -24) : 0);
                Assert.True(Math.Abs(found[i] - expected[i]) <= (relative * expected[i]) + 1e-37, $"{found[i]} is not {expected[i]}");
            }
        });

    [Fact]
    public void SoftmaxOfNothingAndOfOneValue()
    {
        Softmax.InPlace([]);
        float[] one = [-1e30f];
        Softmax.InPlace(one);
        Assert.Equal(1, one[0]);
    }

    [Fact]
    public void SwiGluAgreesWithDouble() =>
        Gen.Select(Gen.Int[0, 200], Gen.Int[0, 1 << 20], Choice(1.0, 30, 1e4)).Sample((length, seed, deviation) =>
        {
            var random = new Random(seed);
            float[] gate = RandomMatrix.Normals(random, length, deviation), up = RandomMatrix.Normals(random, length, deviation);
            var expected = gate.Zip(up, (g, u) => g / (1 + Math.Exp(-(double)g)) * u).ToArray();
            var before = (float[])up.Clone();
            SwiGlu.InPlace(gate, up);
            for (var i = 0; i < length; i++)
            {
                // Below -88.7 the sigmoid is no normal float32 any more, and silu counts as 0.
                var tolerance = (1e-6 * Math.Abs(expected[i])) + (3e-37 * Math.Abs(before[i]));
                Assert.True(Math.Abs(up[i] - expected[i]) <= tolerance, $"gate {gate[i]}: {up[i]} is not {expected[i]}");
            }
        });

    [Theory]
    [InlineData(-1e30f, 1e30f, 0f)]
    [InlineData(-200f, 3e38f, 0f)]
    [InlineData(1e30f, 1f, 1e30f)]
    [InlineData(1e30f, 0f, 0f)]
    public void SwiGluOfLargeValuesIsANumber(float gate, float up, float expected)
    {
        foreach (var length in new[] { 1, 3, 16, 21 })
        {
            var found = Enumerable.Repeat(up, length).ToArray();
            SwiGlu.InPlace(Enumerable.Repeat(gate, length).ToArray(), found);
            Assert.All(found, v => Assert.Equal(expected, v));
        }
    }

    // A token's values stand elsewhere in a longer batch.
    [Fact]
    public void SwiGluGivesTheSameBitsWhereverAValueStands()
    {
        var random = new Random(6);
        for (var width = 1; width < 40; width++)
        {
            const int Tokens = 5;
            float[] gate = RandomMatrix.Normals(random, Tokens * width, 3), up = RandomMatrix.Normals(random, Tokens * width);
            var whole = (float[])up.Clone();
            SwiGlu.InPlace(gate, whole);
            for (var t = 0; t < Tokens; t++)
            {
                var row = up.AsSpan(t * width, width).ToArray();
                SwiGlu.InPlace(gate.AsSpan(t * width, width), row);
                Bits.AssertEqual(whole.AsSpan(t * width, width), row, $"width {width}, token {t}");
            }
        }
    }

    [Fact]
    public void SwiGluRefusesLengthsThatDiffer() => Assert.Throws<ArgumentException>(() => SwiGlu.InPlace(new float[3], new float[4]));

    private static Gen<T> Choice<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);
}
