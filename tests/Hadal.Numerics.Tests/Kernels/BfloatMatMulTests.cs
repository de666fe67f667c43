using CsCheck;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class BfloatMatMulTests
{
    private const string Missing = "this processor has no AVX512-BF16 (for E4M3 no AVX512-VBMI), or HADAL_KERNEL forbids it";

    // One token, a few, as many as stream (48) and more; K a multiple of 64 and not; rows that leave a rest of four and begin anywhere in a block of scales.
    [Theory]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.F8_E4M3)]
    public void EveryOutputHasTheBitsOfTheReferenceOnAnyNumberOfThreads(WeightFormat format)
    {
        Assert.SkipUnless(BfloatMatMul.Has(format), Missing);
        using var one = new KernelThreads(1);
        using var two = new KernelThreads(2);
        using var three = new KernelThreads(3);
        Gen.Select(Gen.OneOf(Gen.Int[1, 7], Gen.Int[1, 60]), Gen.Int[1, 300], Gen.OneOf(Gen.Int[1, 300], Gen.Int[1, 6].Select(n => 64 * n)), Gen.Int[0, 1 << 20]).Sample(
            (tokens, rows, cols, seed) =>
            {
                var random = new Random(seed);
                using var whole = new RandomMatrix(format, rows, cols, random);
                var weight = whole.Weight.SliceRows(seed % rows, rows - (seed % rows));
                var x = RandomMatrix.Normals(random, tokens * cols);
                var (bits, exact, bound) = Reference(weight, x, tokens);
                foreach (var threads in new[] { one, two, three })
                    Bits.AssertEqual(bits, Multiply(weight, x, tokens, threads), $"{threads.Count} threads, T {tokens}, M {weight.Rows}, K {cols}");
                for (var i = 0; i < exact.Length; i++)
                    Assert.True(Math.Abs(bits[i] - exact[i]) <= bound[i], $"{bits[i]} and {exact[i]}, {bound[i]} apart at most");
            },
            iter: 40,
            threads: 1);
    }

    // More tokens and rows than are kept in the cache at once, and rows that are wider.
    [Theory]
    [InlineData(WeightFormat.BF16, 2048, 300, 5)]
    [InlineData(WeightFormat.F8_E4M3, 2048, 300, 5)]
    [InlineData(WeightFormat.BF16, 1024, 20, 700)]
    [InlineData(WeightFormat.F8_E4M3, 1024, 20, 700)]
    [InlineData(WeightFormat.BF16, 20000, 50, 9)]
    [InlineData(WeightFormat.F8_E4M3, 20000, 5, 9)]
    public void LargeProductsAreCutIntoPiecesWithoutATrace(WeightFormat format, int cols, int tokens, int rows)
    {
        Assert.SkipUnless(BfloatMatMul.Has(format), Missing);
        using var threads = new KernelThreads(2);
        var random = new Random(3);
        using var weight = new RandomMatrix(format, rows, cols, random);
        var x = RandomMatrix.Normals(random, tokens * cols);
        Bits.AssertEqual(Reference(weight.Weight, x, tokens).Bits, Multiply(weight.Weight, x, tokens, threads), $"K {cols}");
    }

    // As the experts of a batch: some tokens each, one matrix in another format.
    [Fact]
    public void SeveralProductsAreThoseOfEach()
    {
        Assert.SkipUnless(BfloatMatMul.Has(WeightFormat.F8_E4M3), Missing);
        const int Cols = 192;
        using var threads = new KernelThreads(2);
        var random = new Random(4);
        using var first = new RandomMatrix(WeightFormat.F8_E4M3, 150, Cols, random);
        using var second = new RandomMatrix(WeightFormat.BF16, 33, Cols, random);
        using var third = new RandomMatrix(WeightFormat.F8_E4M3, 17, Cols, random);
        var x = RandomMatrix.Normals(random, 14 * Cols);
        Product[] products = [new(first.Weight, 0, 3, 7), new(second.Weight, 3, 1, 600), new(third.Weight, 4, 10, 1000)];
        var y = Enumerable.Repeat(77f, 1300).ToArray();
        BfloatMatMul.Multiply(products, x, y, new byte[BfloatMatMul.WorkspaceBytes(14, Cols)], threads);
        var isResult = new bool[y.Length];
        foreach (var (weight, row, tokens, output) in products)
        {
            Bits.AssertEqual(Reference(weight, x.AsSpan(row * Cols, tokens * Cols).ToArray(), tokens).Bits, y.AsSpan(output, tokens * weight.Rows), $"{weight.Format}");
            isResult.AsSpan(output, tokens * weight.Rows).Fill(true);
        }

        for (var i = 0; i < y.Length; i++)
            Assert.True(isResult[i] || y[i] == 77f, $"wrote value {i}");
    }

    // Values, scaled ones (in part as large as 1e-38) and sums that are subnormal count as zeros, as the processor has it; infinities and NaNs go through.
    [Theory]
    [InlineData(WeightFormat.BF16, 1e-20f, 1e-19, 1f)]
    [InlineData(WeightFormat.BF16, 1e-39f, 1, 1f)]
    [InlineData(WeightFormat.F8_E4M3, 1e-39f, 1, 1f)]
    [InlineData(WeightFormat.F8_E4M3, 1e-36f, 1, 1f)]
    [InlineData(WeightFormat.F8_E4M3, 1e38f, 1e3, 1f)]
    [InlineData(WeightFormat.F8_E4M3, 1f, 1, float.PositiveInfinity)]
    [InlineData(WeightFormat.BF16, 1f, 1, float.NaN)]
    public void ValuesOfAnySizeGiveTheBitsOfTheReference(WeightFormat format, float size, double deviation, float first)
    {
        Assert.SkipUnless(BfloatMatMul.Has(format), Missing);
        const int Rows = 9, Cols = 128;
        using var threads = new KernelThreads(1);
        var random = new Random(6);
        using var weight = new RandomMatrix(format, Rows, Cols, random, deviation);
        foreach (var tokens in (int[])[1, 3, 50])
        {
            var x = Array.ConvertAll(RandomMatrix.Normals(random, tokens * Cols), v => v * size);
            x[0] *= first;
            var (expected, y) = (Reference(weight.Weight, x, tokens).Bits, Multiply(weight.Weight, x, tokens, threads));
            for (var i = 0; i < y.Length; i++)
                Assert.True(float.IsNaN(expected[i]) ? float.IsNaN(y[i]) : BitConverter.SingleToInt32Bits(expected[i]) == BitConverter.SingleToInt32Bits(y[i]), $"T {tokens}: {expected[i]} and {y[i]}");
        }
    }

    // A kernel that fails its self-test would be missed by nothing but the clock; this processor asks ahead in one way of two.
    [Theory]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.F8_E4M3)]
    public void AssembledKernelsPassTheirSelfTestWhereTheProcessorRunsThem(WeightFormat format)
    {
        Assert.Equal(BfloatKernels.Runs(format), BfloatMatMul.Has(format));
        for (var tokens = 1; tokens <= BfloatRows.MaxTokens(format); tokens++)
        {
            Assert.Equal(BfloatKernels.Runs(format), BfloatKernels.PassesSelfTest(format, tokens, everyLine: false));
            Assert.Equal(BfloatKernels.Runs(format), BfloatKernels.PassesSelfTest(format, tokens, everyLine: true));
        }
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    [InlineData(3, false)]
    [InlineData(3, true)]
    public unsafe void AssembledTilesPassTheirSelfTestWhereTheProcessorRunsThem(int tokens, bool asks) =>
        Assert.Equal(BfloatKernels.Runs(WeightFormat.BF16), BfloatKernels.Tile(tokens, asks) != null);

    [Fact]
    public void WhatDoesNotFitIsRefused()
    {
        using var threads = new KernelThreads(1);
        using var other = new RandomMatrix(WeightFormat.F32, 3, 4, new Random(5));
        using var weight = new RandomMatrix(WeightFormat.BF16, 3, 4, new Random(5));
        void Multiply(WeightMatrix w, int inputs, int outputs, long workspace) =>
            BfloatMatMul.Multiply([new Product(w, 0, 2, 0)], new float[inputs], new float[outputs], new byte[workspace], threads);
        var enough = BfloatMatMul.WorkspaceBytes(2, 4);
        Assert.Contains("F32", Assert.Throws<ArgumentException>(() => Multiply(other.Weight, 8, 6, enough)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Multiply(weight.Weight, 4, 6, enough));
        Assert.Throws<ArgumentException>(() => Multiply(weight.Weight, 8, 5, enough));
        Assert.Throws<ArgumentException>(() => Multiply(weight.Weight, 8, 6, enough - 1));
        Assert.Throws<ArgumentException>(() => Multiply(default, 8, 6, enough));
        Assert.False(BfloatMatMul.Has(WeightFormat.F32));
    }

    private static float[] Multiply(WeightMatrix weight, float[] x, int tokens, KernelThreads threads)
    {
        var y = Enumerable.Repeat(77f, (tokens * weight.Rows) + 1).ToArray();
        BfloatMatMul.Multiply([new Product(weight, 0, tokens, 0)], x, y.AsSpan(0, tokens * weight.Rows), new byte[BfloatMatMul.WorkspaceBytes(tokens, weight.Cols)], threads);
        Assert.Equal(77f, y[^1]);
        return y[..^1];
    }

    // Bound: half a unit in the last of 8 bits for each activation, and what float32 sums lose.
    private static (float[] Bits, double[] Exact, double[] Bound) Reference(WeightMatrix weight, float[] x, int tokens)
    {
        var (rows, cols) = (weight.Rows, weight.Cols);
        var bits = new float[tokens * rows];
        var exact = new double[bits.Length];
        var bound = new double[bits.Length];
        var w = new float[cols];
        BfloatMatMul.MultiplyReference(weight, x, bits, tokens);
        for (var i = 0; i < bits.Length; i++)
        {
            weight.DecodeRow(i % rows, w);
            (exact[i], var magnitude) = DotProductTests.Exact(x.AsSpan(i / rows * cols, cols), w);
            bound[i] = DotProductTests.ErrorBound(cols, magnitude) + (magnitude * Math.ScaleB(1.01, -8));
        }

        return (bits, exact, bound);
    }
}
