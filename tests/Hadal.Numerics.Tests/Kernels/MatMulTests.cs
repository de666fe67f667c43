using System.Runtime.Intrinsics;
using CsCheck;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class MatMulTests
{
    public static TheoryData<WeightFormat> Formats => [.. Enum.GetValues<WeightFormat>()];

    // T, M, and K in blocks of the format (in single columns for the plain ones).
    private static readonly Gen<(int T, int M, int K, int Seed)> Shapes = Gen.Select(Gen.Int[1, 40], Gen.Int[1, 50], Gen.Int[1, 300], Gen.Int[0, 1 << 20]);

    [Theory]
    [MemberData(nameof(Formats))]
    public void EveryOutputHasTheBitsOfTheReferenceOnAnyNumberOfThreads(WeightFormat format)
    {
        using var one = new KernelThreads(1);
        using var two = new KernelThreads(2);
        using var three = new KernelThreads(3);
        Shapes.Sample(
            s =>
            {
                var block = WeightFormats.BlockLength(format);
                var (tokens, rows, cols) = (s.T, s.M, block == 1 ? s.K : block * (1 + (s.K % (block == 32 ? 9 : 3))));
                var random = new Random(s.Seed);
                using var weight = new RandomMatrix(format, rows, cols, random);
                var x = RandomMatrix.Normals(random, tokens * cols);
                var (bits, exact, bound) = Reference(weight.Weight, x, tokens);
                foreach (var threads in new[] { one, two, three })
                {
                    var y = new float[tokens * rows];
                    MatMul.Multiply(weight.Weight, x, y, tokens, threads);
                    Bits.AssertEqual(bits, y, $"{threads.Count} threads, T {tokens}, M {rows}, K {cols}");
                }

                for (var i = 0; i < exact.Length; i++)
                    Assert.True(Math.Abs(bits[i] - exact[i]) <= bound[i]);
            },
            iter: 8,
            threads: 1);
    }

    // More tokens than fit the tile that is kept in cache, with K a multiple of 64 (taken where it lies) and not (copied and padded).
    [Theory]
    [InlineData(704, 256)]
    [InlineData(700, 256)]
    [InlineData(33, 1400)]
    [InlineData(8192, 130)]
    [InlineData(8190, 130)]
    public void ManyTokensAreCutIntoTilesWithoutATrace(int cols, int tokens)
    {
        using var threads = new KernelThreads(2);
        var random = new Random(3);
        using var weight = new RandomMatrix(WeightFormat.BF16, 5, cols, random);
        var x = RandomMatrix.Normals(random, tokens * cols);
        var y = new float[tokens * 5];
        MatMul.Multiply(weight.Weight, x, y, tokens, threads);
        Bits.AssertEqual(Reference(weight.Weight, x, tokens).Bits, y, $"K {cols}");
    }

    [Fact]
    public unsafe void StridedProductsReadAndWriteTheirRowsOnly()
    {
        using var threads = new KernelThreads(1);
        Shapes.Sample(
            s =>
            {
                var (tokens, rows, cols) = (s.T, s.M, s.K);
                var random = new Random(s.Seed);
                using var weight = new RandomMatrix(WeightFormat.BF16, rows, cols, random);
                var (xStride, yStride) = (cols + (s.Seed % 7), rows + (s.Seed % 5));
                var x = RandomMatrix.Normals(random, tokens * xStride);
                var y = Enumerable.Repeat(77f, tokens * yStride).ToArray();
                fixed (float* px = x, py = y)
                    MatMul.MultiplyOnWorker(weight.Weight, px, xStride, py, yStride, tokens, threads, 0);
                for (var t = 0; t < tokens; t++)
                {
                    Bits.AssertEqual(Reference(weight.Weight, x.AsSpan(t * xStride, cols).ToArray(), 1).Bits, y.AsSpan(t * yStride, rows), $"token {t}");
                    Assert.True(y.AsSpan((t * yStride) + rows, yStride - rows).IndexOfAnyExcept(77f) < 0, "wrote between rows");
                }
            },
            iter: 30,
            threads: 1);
    }

    [Fact]
    public unsafe void TransposedProductsAgreeWithPlainLoops()
    {
        using var threads = new KernelThreads(1);
        Shapes.Sample(
            s =>
            {
                var (tokens, rows, cols) = (s.T, s.M, s.K);
                var random = new Random(s.Seed);
                using var weight = new RandomMatrix(s.Seed % 2 == 0 ? WeightFormat.BF16 : WeightFormat.F8_E4M3, rows, cols, random);
                var w = RandomMatrix.Decode(weight.Weight);
                var (xStride, yStride) = (rows + (s.Seed % 7), cols + (s.Seed % 5));
                var x = RandomMatrix.Normals(random, tokens * xStride);
                var y = Enumerable.Repeat(77f, tokens * yStride).ToArray();
                fixed (float* px = x, py = y)
                    MatMul.MultiplyTransposedOnWorker(weight.Weight, px, xStride, py, yStride, tokens, threads, 0);
                for (var t = 0; t < tokens; t++)
                {
                    var expected = new float[cols];
                    for (var m = 0; m < rows; m++)
                    {
                        for (var k = 0; k < cols; k++)
                            expected[k] = MathF.FusedMultiplyAdd(w[(m * cols) + k], x[(t * xStride) + m], expected[k]);
                    }

                    Bits.AssertEqual(expected, y.AsSpan(t * yStride, cols), $"token {t}");
                    Assert.True(y.AsSpan((t * yStride) + cols, yStride - cols).IndexOfAnyExcept(77f) < 0, "wrote between rows");
                }
            },
            iter: 30,
            threads: 1);
    }

    // Scale blocks are cut by the last column, the last row, and slices that begin anywhere.
    [Theory]
    [InlineData(300, 200, 0, 300)]
    [InlineData(300, 200, 1, 299)]
    [InlineData(300, 129, 127, 3)]
    [InlineData(300, 128, 130, 126)]
    [InlineData(260, 1, 255, 5)]
    public void SlicesOfFp8KeepTheirScales(int rows, int cols, int start, int count)
    {
        using var threads = new KernelThreads(2);
        var random = new Random(4);
        using var weight = new RandomMatrix(WeightFormat.F8_E4M3, rows, cols, random);
        var x = RandomMatrix.Normals(random, 2 * cols);
        var whole = new float[2 * rows];
        MatMul.Multiply(weight.Weight, x, whole, 2, threads);
        var slice = new float[2 * count];
        MatMul.Multiply(weight.Weight.SliceRows(start, count), x, slice, 2, threads);
        for (var t = 0; t < 2; t++)
            Bits.AssertEqual(whole.AsSpan((t * rows) + start, count), slice.AsSpan(t * count, count), $"token {t}");

        // A slice of a slice counts from the matrix.
        var inner = weight.Weight.SliceRows(start, count).SliceRows(count / 2, count - (count / 2));
        var all = RandomMatrix.Decode(weight.Weight);
        Bits.AssertEqual(all.AsSpan((start + (count / 2)) * cols), RandomMatrix.Decode(inner).Concat(all.Skip((start + count) * cols)).ToArray(), "slice of a slice");
    }

    [Fact]
    public void ShapesThatDoNotFitAreRefused()
    {
        using var threads = new KernelThreads(1);
        using var weight = new RandomMatrix(WeightFormat.F32, 3, 4, new Random(5));
        Assert.Throws<ArgumentException>(() => MatMul.Multiply(weight.Weight, new float[7], new float[6], 2, threads));
        Assert.Throws<ArgumentException>(() => MatMul.Multiply(weight.Weight, new float[8], new float[5], 2, threads));
        Assert.Throws<ArgumentException>(() => MatMul.Multiply(weight.Weight, [], [], 0, threads));
        Assert.Throws<ArgumentException>(() => MatMul.Multiply(default, [], [], 1, threads));
    }

    // A kernel that fails its self-test would be missed by nothing but the clock.
    [Theory]
    [InlineData(WeightFormat.F32)]
    [InlineData(WeightFormat.F16)]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.F8_E4M3)]
    public unsafe void AssembledKernelsPassTheirSelfTestWhereTheProcessorRunsThem(WeightFormat format) =>
        Assert.Equal(KernelVariant.Avx512, FloatRowKernels.Find(format) != null);

    // This processor uses one of the two.
    [Theory]
    [InlineData(WeightFormat.F32, false)]
    [InlineData(WeightFormat.F32, true)]
    [InlineData(WeightFormat.F16, false)]
    [InlineData(WeightFormat.F16, true)]
    [InlineData(WeightFormat.BF16, false)]
    [InlineData(WeightFormat.BF16, true)]
    [InlineData(WeightFormat.F8_E4M3, false)]
    [InlineData(WeightFormat.F8_E4M3, true)]
    public void AssembledKernelsHaveTheirBitsWhicheverWayTheyAskAhead(WeightFormat format, bool everyLine) =>
        Assert.Equal(KernelVariant.Avx512, FloatRowKernels.PassesSelfTest(format, everyLine));

    // One token or a few, K a multiple of 64: rows are multiplied on their way from memory.
    [Theory]
    [InlineData(WeightFormat.F32)]
    [InlineData(WeightFormat.F16)]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.F8_E4M3)]
    public void RowsOfFewTokensHaveTheBitsOfTheReference(WeightFormat format)
    {
        using var threads = new KernelThreads(2);
        Gen.Select(Gen.OneOf(Gen.Const(1), Gen.Int[1, 22]), Gen.Int[1, 300], Gen.Int[1, 34], Gen.Int[0, 1 << 20]).Sample(
            (tokens, rows, steps, seed) =>
            {
                var random = new Random(seed);
                using var whole = new RandomMatrix(format, rows, 64 * steps, random);
                var weight = whole.Weight.SliceRows(seed % rows, rows - (seed % rows));
                var x = RandomMatrix.Normals(random, tokens * weight.Cols);
                var y = Enumerable.Repeat(77f, (tokens * weight.Rows) + 1).ToArray();
                MatMul.Multiply(weight, x, y.AsSpan(0, tokens * weight.Rows), tokens, threads);
                Bits.AssertEqual(Reference(weight, x, tokens).Bits, y.AsSpan(0, tokens * weight.Rows), $"T {tokens}, M {weight.Rows}, K {weight.Cols}");
                Assert.Equal(77f, y[^1]);
            },
            iter: Vector128.IsHardwareAccelerated ? 30 : 4,
            threads: 1);
    }

    // Weights beyond what kernels fold into activations, infinities and NaNs among those, and activations so small that the scaled ones are subnormal.
    [Theory]
    [InlineData(1e3f, 1f)]
    [InlineData(255f, 1f)]
    [InlineData(257f, 1f)]
    [InlineData(1e-42f, 1f)]
    [InlineData(1f, float.PositiveInfinity)]
    [InlineData(1f, float.NaN)]
    public void ScaledActivationsOfAnySizeGiveTheBitsOfTheReference(float scale, float first)
    {
        const int Rows = 260, Cols = 192;
        using var threads = new KernelThreads(1);
        var random = new Random(6);
        using var weight = new RandomMatrix(WeightFormat.F8_E4M3, Rows, Cols, random, 100 * scale);
        var x = Array.ConvertAll(RandomMatrix.Normals(random, Cols), static v => Math.Clamp(v, -0.9f, 0.9f));
        x[0] *= first;
        var y = new float[Rows];
        MatMul.Multiply(weight.Weight, x, y, 1, threads);
        var expected = Reference(weight.Weight, x, 1).Bits;
        for (var m = 0; m < Rows; m++)
            Assert.True(float.IsNaN(expected[m]) ? float.IsNaN(y[m]) : BitConverter.SingleToInt32Bits(expected[m]) == BitConverter.SingleToInt32Bits(y[m]), $"row {m}: {expected[m]} and {y[m]}");
    }

    // Products with codes take their scales to the activations.
    private static (float[] Bits, double[] Exact, double[] Bound) Reference(WeightMatrix weight, float[] x, int tokens)
    {
        var (rows, cols) = (weight.Rows, weight.Cols);
        var bits = new float[tokens * rows];
        var exact = new double[bits.Length];
        var bound = new double[bits.Length];
        var w = new float[cols];
        var input = new float[cols];
        for (var i = 0; i < bits.Length; i++)
        {
            WeightFormats.Decode(weight.Format, weight.Row(i % rows), w);
            x.AsSpan(i / rows * cols, cols).CopyTo(input);
            var scales = weight.RowScales(i % rows);
            for (var k = 0; k < cols && !scales.IsEmpty; k++)
                input[k] *= scales[k / 128];
            bits[i] = DotProduct.DotReference(input, w);
            weight.DecodeRow(i % rows, w);
            (exact[i], var magnitude) = DotProductTests.Exact(x.AsSpan(i / rows * cols, cols), w);
            bound[i] = DotProductTests.ErrorBound(cols, magnitude);
        }

        return (bits, exact, bound);
    }
}
