using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

/// <summary>Several products as one job have the bits of each by itself, whatever they share.</summary>
public sealed class ProductTests
{
    private const int Cols = 512;
    private const int Rows = 9;

    [Theory]
    [InlineData(WeightFormat.Q4_K, WeightFormat.Q6_K, 1, false)]
    [InlineData(WeightFormat.Q4_K, WeightFormat.Q6_K, 1, true)]
    [InlineData(WeightFormat.Q4_K, WeightFormat.Q4_K, 3, false)]
    [InlineData(WeightFormat.Q5_0, WeightFormat.Q8_0, 2, false)]
    [InlineData(WeightFormat.Q5_0, WeightFormat.Q8_0, 2, true)]
    [InlineData(WeightFormat.IQ4_NL, WeightFormat.Q4_1, 3, false)]
    [InlineData(WeightFormat.IQ4_NL, WeightFormat.Q4_1, 3, true)]
    public void Integer_products_of_listed_rows_equal_each_by_itself(WeightFormat first, WeightFormat second, int threadCount, bool interleaved)
    {
        var random = new Random(21);
        var block = WeightFormats.BlockLength(first);
        var rowBytes = IntegerActivations.RowBytes(Cols, block);
        var values = RandomMatrix.Normals(random, Rows * Cols);
        var x = new byte[Rows * rowBytes];
        using var threads = new KernelThreads(threadCount);
        IntegerActivations.Quantize(values, Cols, block, x, threads);

        // Pairs that share their rows (as gate and up do), one row, a few, many, rows taken twice and backwards; the last ones in their own order.
        int[] rows = [8, 3, 3, 0, 5, 7, 1, 2, 6, 4, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        (int First, int Tokens, WeightFormat Format, int Height)[] shapes =
            [(0, 1, first, 40), (0, 1, first, 40), (1, 3, first, 33), (1, 3, second, 33), (4, 8, first, 70), (4, 8, first, 70), (12, 9, second, 31), (2, 2, second, 64), (1, 2, first, 48), (13, 4, first, 20)];
        var matrices = shapes.Select(s => new RandomMatrix(s.Format, s.Height, Cols, random)).ToArray();
        var products = new Product[shapes.Length];
        var next = 0;
        for (var i = 0; i < shapes.Length; i++)
        {
            products[i] = new Product(matrices[i].InOrder(interleaved, threads), shapes[i].First, shapes[i].Tokens, next);
            next += shapes[i].Tokens * shapes[i].Height;
        }

        var actual = new float[next];
        IntegerMatMul.Multiply(products, x, rows, actual, new byte[IntegerMatMul.WorkspaceBytes(products, listed: true)], threads);
        for (var i = 0; i < shapes.Length; i++)
        {
            var chosen = rows.Skip(shapes[i].First).Take(shapes[i].Tokens).SelectMany(r => x.AsSpan(r * rowBytes, rowBytes).ToArray()).ToArray();
            var expected = new float[shapes[i].Tokens * shapes[i].Height];
            IntegerMatMul.MultiplyReference(matrices[i].Weight, chosen, expected, shapes[i].Tokens);
            Assert.Equal(expected, actual.AsSpan(products[i].Output, expected.Length).ToArray());
            matrices[i].Dispose();
        }
    }

    [Theory]
    [InlineData(WeightFormat.F32)]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.Q4_K)]
    public void Float_products_equal_each_by_itself(WeightFormat format)
    {
        var random = new Random(22);
        var x = RandomMatrix.Normals(random, Rows * Cols);
        using var threads = new KernelThreads(2);
        using var a = new RandomMatrix(format, 50, Cols, random);
        using var b = new RandomMatrix(format, 17, Cols, random);
        Product[] products = [new(a.Weight, 0, 5, 0), new(b.Weight, 5, 4, 5 * 50), new(b.Weight, 2, 1, (5 * 50) + (4 * 17))];
        var actual = new float[(5 * 50) + (4 * 17) + 17];
        MatMul.Multiply(products, x, actual, threads);
        foreach (var product in products)
        {
            var expected = new float[product.Tokens * product.Weight.Rows];
            MatMul.Multiply(product.Weight, x.AsSpan(product.FirstRow * Cols, product.Tokens * Cols), expected, product.Tokens, threads);
            Assert.Equal(expected, actual.AsSpan(product.Output, expected.Length).ToArray());
        }
    }

    [Fact]
    public void What_lies_outside_is_refused()
    {
        using var threads = new KernelThreads(1);
        using var matrix = new RandomMatrix(WeightFormat.Q8_0, 4, Cols, new Random(23));
        var weight = matrix.Weight;
        var x = new byte[2 * IntegerActivations.RowBytes(Cols, 32)];
        void Multiply(Product product, int[] rows, int outputs) => IntegerMatMul.Multiply([product], x, rows, new float[outputs], new byte[IntegerMatMul.WorkspaceBytes([product], rows.Length > 0)], threads);
        Multiply(new Product(weight, 0, 2, 0), [], 8);
        Assert.Throws<ArgumentException>(() => Multiply(new Product(weight, 1, 2, 0), [], 8));
        Assert.Throws<ArgumentException>(() => Multiply(new Product(weight, 0, 2, 1), [], 8));
        Assert.Throws<ArgumentException>(() => Multiply(new Product(weight, 0, 1, -1), [], 8));
        Assert.Throws<ArgumentException>(() => Multiply(new Product(weight, 0, 2, 0), [0, 2], 8));
        Assert.Throws<ArgumentException>(() => Multiply(new Product(weight, 0, 0, 0), [], 8));
    }

    [Fact]
    public void A_weighted_sum_takes_rows_in_their_order()
    {
        using var threads = new KernelThreads(2);
        var random = new Random(24);
        const int Tokens = 11, K = 3, Width = 37;
        var x = RandomMatrix.Normals(random, 40 * Width);
        var rows = Enumerable.Range(0, Tokens * K).Select(_ => random.Next(40)).ToArray();
        var weights = RandomMatrix.Normals(random, Tokens * K);
        var actual = RandomMatrix.Normals(random, Tokens * Width);
        var expected = actual.Select(v => (double)v).ToArray();
        for (var i = 0; i < Tokens * K * Width; i++)
            expected[(i / (K * Width) * Width) + (i % Width)] += (double)weights[i / Width] * x[(rows[i / Width] * Width) + (i % Width)];
        WeightedSum.Add(x, rows, weights, K, Width, actual, threads);
        for (var i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], actual[i], 1e-5);
        Assert.Throws<ArgumentException>(() => WeightedSum.Add(x, [40, 0, 0], [1, 1, 1], 3, Width, new float[Width], threads));
    }

    [Fact]
    public void SwiGlu_on_threads_has_the_same_bits()
    {
        using var threads = new KernelThreads(3);
        var random = new Random(25);
        var gate = RandomMatrix.Normals(random, 70_001);
        var expected = RandomMatrix.Normals(random, gate.Length);
        var actual = expected.ToArray();
        SwiGlu.InPlace(gate, expected);
        SwiGlu.InPlace(gate, actual, threads);
        Assert.Equal(expected, actual);
    }
}
