using System.Runtime.InteropServices;
using CsCheck;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Tests.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class Fp8MatMulTests
{
    [Theory]
    [InlineData("a_q", "a_s", "c")]
    [InlineData("a_q_ue8m0", "a_s_ue8m0", "c_ue8m0")]
    public void AgreesWithTheGoldenProduct(string activations, string scales, string product)
    {
        var goldens = new KernelGoldens();
        var (rows, cols, tokens) = (goldens.Dimension("b", 0), goldens.Dimension("b", 1), goldens.Dimension("a", 0));
        using var codes = new NativeBuffer(rows * cols);
        using var blockScales = new NativeBuffer(goldens.Values("b_s").Length * sizeof(float));
        goldens.Codes("b_q").CopyTo(codes.Span<byte>(0, rows * cols));
        goldens.Values("b_s").CopyTo(blockScales.Span<float>(0, goldens.Values("b_s").Length));
        var weight = WeightMatrix.Over(WeightFormat.F8_E4M3, codes, rows, cols, blockScales);

        var x = goldens.Codes(activations).Select(F8_E4M3.ToSingle).ToArray();
        using var threads = new KernelThreads(2);
        var y = new float[tokens * rows];
        Fp8MatMul.Multiply(weight, x, goldens.Values(scales), y, tokens, threads);
        var expected = goldens.Values(product);
        var worst = y.Zip(expected, (a, b) => Math.Abs((double)a - b)).Max();

        // The official code in float32 is 3.6e-6 from the same float64 values; the products have a deviation of 5.9.
        Assert.True(worst < 5e-6, $"{worst}");
    }

    [Fact]
    public void AgreesWithDoubleLoopsOnAnyNumberOfThreads()
    {
        using var one = new KernelThreads(1);
        using var three = new KernelThreads(3);
        Gen.Select(Gen.Int[1, 20], Gen.Int[1, 300], Gen.Int[1, 400], Gen.Int[0, 1 << 20]).Sample(
            (tokens, rows, cols, seed) =>
            {
                var random = new Random(seed);
                using var weight = new RandomMatrix(WeightFormat.F8_E4M3, rows, cols, random);
                var tiles = ActivationQuantization.ScaleCount(cols);
                float[] codes = new float[tokens * cols], scales = new float[tokens * tiles], y = new float[tokens * rows], again = new float[y.Length];
                ActivationQuantization.Quantize(RandomMatrix.Normals(random, tokens * cols), cols, codes, scales, ScaleKind.Float32);
                Fp8MatMul.Multiply(weight.Weight, codes, scales, y, tokens, one);
                Fp8MatMul.Multiply(weight.Weight, codes, scales, again, tokens, three);
                Bits.AssertEqual(y, again, "3 threads");

                var w = RandomMatrix.Decode(weight.Weight);
                for (var i = 0; i < y.Length; i++)
                {
                    var (t, m) = (i / rows, i % rows);
                    double sum = 0, magnitude = 0;
                    for (var k = 0; k < cols; k++)
                    {
                        var term = (double)codes[(t * cols) + k] * scales[(t * tiles) + (k / 128)] * w[(m * cols) + k];
                        sum += term;
                        magnitude += Math.Abs(term);
                    }

                    // Besides the sums: the decoded weight and the two scalings are rounded.
                    Assert.True(Math.Abs(y[i] - sum) <= DotProductTests.ErrorBound(cols, magnitude) + (8 * magnitude * Math.Pow(2, -24)), $"T {t}, M {m}");
                }
            },
            iter: 12,
            threads: 1);
    }

    [Fact]
    public void OtherWeightsAndShapesAreRefused()
    {
        using var threads = new KernelThreads(1);
        using var other = new RandomMatrix(WeightFormat.BF16, 3, 4, new Random(1));
        using var weight = new RandomMatrix(WeightFormat.F8_E4M3, 3, 4, new Random(1));
        Assert.Throws<ArgumentException>(() => Fp8MatMul.Multiply(other.Weight, new float[4], new float[1], new float[3], 1, threads));
        Assert.Throws<ArgumentException>(() => Fp8MatMul.Multiply(weight.Weight, new float[4], new float[2], new float[3], 1, threads));
        Assert.Throws<ArgumentException>(() => Fp8MatMul.Multiply(weight.Weight, new float[3], new float[1], new float[3], 1, threads));
        unsafe
        {
            Assert.Throws<ArgumentException>(() => Fp8MatMul.MultiplyOnWorker(other.Weight, null, 4, null, 1, null, 3, 1, threads, 0));
        }
    }
}
