using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

/// <summary>Gated MLPs' first halves as one job have the bits of products, SwiGLU and quantisation one after the other.</summary>
public sealed class GatedMatMulTests
{
    private const int Cols = 256;

    // MLPs of one token, of several, of so many that they come in pieces or are unpacked once; I of blocks of 32 and of 256, and matrices of two formats.
    [Theory]
    [InlineData(WeightFormat.Q4_K, WeightFormat.Q4_K, 1, false)]
    [InlineData(WeightFormat.Q4_K, WeightFormat.Q4_K, 1, true)]
    [InlineData(WeightFormat.Q4_K, WeightFormat.Q6_K, 2, false)]
    [InlineData(WeightFormat.Q4_K, WeightFormat.Q6_K, 2, true)]
    [InlineData(WeightFormat.Q5_0, WeightFormat.Q8_0, 3, false)]
    [InlineData(WeightFormat.Q5_0, WeightFormat.Q8_0, 3, true)]
    [InlineData(WeightFormat.Q3_K, WeightFormat.Q5_K, 2, true)]
    public void Rows_have_the_bits_of_the_steps_one_after_the_other(WeightFormat gateFormat, WeightFormat upFormat, int threadCount, bool interleaved)
    {
        (int Width, WeightFormat Down, int First, int Tokens)[] shapes =
            [(1408, WeightFormat.Q8_0, 0, 1), (1408, WeightFormat.Q5_0, 1, 1), (96, WeightFormat.Q8_0, 2, 3), (2816, WeightFormat.Q6_K, 4, 1), (512, WeightFormat.Q4_K, 5, 9), (1024, WeightFormat.Q6_K, 0, 40), (160, WeightFormat.Q5_1, 3, 70), (64, WeightFormat.Q8_0, 7, 2)];
        Compare(gateFormat, upFormat, threadCount, shapes, listed: true, interleaved);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Rows_in_their_own_order_of_one_wide_MLP(bool interleaved) => Compare(WeightFormat.Q4_K, WeightFormat.Q4_K, 2, [(10_944, WeightFormat.Q8_0, 3, 5)], listed: false, interleaved);

    // Results of one block come from several items and so from several workers: whoever is last quantises it, over and over.
    [Fact]
    public void Blocks_that_several_workers_make_are_whole()
    {
        for (var i = 0; i < 50; i++)
            Compare(WeightFormat.Q8_0, WeightFormat.Q8_0, 4, [(768, WeightFormat.Q4_K, 0, 2), (256, WeightFormat.Q6_K, 2, 1)], listed: true, interleaved: i % 2 == 0);
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using var threads = new KernelThreads(1);
        var random = new Random(3);
        using var gate = new RandomMatrix(WeightFormat.Q4_K, 96, Cols, random);
        using var otherUp = new RandomMatrix(WeightFormat.Q4_K, 64, Cols, random);
        using var block32 = new RandomMatrix(WeightFormat.Q8_0, 96, Cols, random);
        using var down = new RandomMatrix(WeightFormat.Q8_0, 16, 96, random);
        using var otherDown = new RandomMatrix(WeightFormat.Q8_0, 16, 128, random);
        using var floats = new RandomMatrix(WeightFormat.F32, 16, 96, random);
        var x = new byte[2 * IntegerActivations.RowBytes(Cols, 256)];
        void Multiply(GatedProduct product, int[] rows, int spare = 0) => GatedMatMul.Multiply(
            [product], x, rows, new byte[GatedMatMul.ResultBytes([product]) + spare], new byte[GatedMatMul.WorkspaceBytes([product], rows.Length > 0)], threads);
        var whole = new GatedProduct(gate.Weight, gate.Weight, down.Weight, 0, 2);
        Multiply(whole, []);
        Assert.Throws<ArgumentException>(() => Multiply(whole, [], spare: 64));
        Assert.Throws<ArgumentException>(() => Multiply(whole with { FirstRow = 1 }, []));
        Assert.Throws<ArgumentException>(() => Multiply(whole with { Tokens = 0 }, []));
        Assert.Throws<ArgumentException>(() => Multiply(whole with { Up = otherUp.Weight }, []));
        Assert.Throws<ArgumentException>(() => Multiply(whole with { Up = block32.Weight }, []));
        Assert.Throws<ArgumentException>(() => Multiply(whole with { Down = otherDown.Weight }, []));
        Assert.Throws<ArgumentException>(() => Multiply(whole with { Down = floats.Weight }, []));
        Assert.Throws<ArgumentException>(() => Multiply(whole, [0, 2]));
    }

    private static void Compare(WeightFormat gateFormat, WeightFormat upFormat, int threadCount, (int Width, WeightFormat Down, int First, int Tokens)[] shapes, bool listed, bool interleaved)
    {
        var random = new Random(27);
        const int Available = 75;
        var block = WeightFormats.BlockLength(gateFormat);
        var rowBytes = IntegerActivations.RowBytes(Cols, block);
        var x = new byte[Available * rowBytes];
        using var threads = new KernelThreads(threadCount);
        IntegerActivations.Quantize(RandomMatrix.Normals(random, Available * Cols), Cols, block, x, threads);
        int[] rows = listed ? [.. Enumerable.Range(0, Available).Select(_ => random.Next(Available))] : [];

        var matrices = shapes.SelectMany(s => new RandomMatrix[] { new(gateFormat, s.Width, Cols, random), new(upFormat, s.Width, Cols, random), new(s.Down, 8, s.Width, random) }).ToArray();
        var products = shapes.Select((s, i) => new GatedProduct(matrices[3 * i].InOrder(interleaved, threads), matrices[(3 * i) + 1].InOrder(interleaved, threads), matrices[(3 * i) + 2].Weight, s.First, s.Tokens)).ToArray();
        var actual = new byte[GatedMatMul.ResultBytes(products)];
        var workspace = new byte[GatedMatMul.WorkspaceBytes(products, listed)];
        random.NextBytes(workspace);
        GatedMatMul.Multiply(products, x, rows, actual, workspace, threads);

        var next = 0;
        foreach (var (gate, up, down, first, tokens) in products)
        {
            var chosen = Enumerable.Range(first, tokens).Select(i => listed ? rows[i] : i).SelectMany(r => x.AsSpan(r * rowBytes, rowBytes).ToArray()).ToArray();
            float[] gates = new float[tokens * gate.Rows], ups = new float[tokens * gate.Rows];
            IntegerMatMul.MultiplyReference(gate, chosen, gates, tokens);
            IntegerMatMul.MultiplyReference(up, chosen, ups, tokens);
            SwiGlu.InPlace(gates, ups);
            var bytes = tokens * IntegerActivations.RowBytes(gate.Rows, WeightFormats.BlockLength(down.Format));
            var expected = new byte[bytes];
            IntegerActivations.Quantize(ups, gate.Rows, WeightFormats.BlockLength(down.Format), expected, threads);

            // What fills a row up to a multiple of 64 bytes is nobody's.
            Assert.Equal(Named(expected, gate.Rows, down, tokens), Named(actual.AsSpan(next, bytes).ToArray(), gate.Rows, down, tokens));
            next += bytes;
        }

        foreach (var matrix in matrices)
            matrix.Dispose();
    }

    private static byte[] Named(byte[] rows, int cols, WeightMatrix down, int tokens)
    {
        var block = WeightFormats.BlockLength(down.Format);
        var (stride, bytes) = (IntegerActivations.RowBytes(cols, block), cols + (cols / 16 * 2) + (cols / 32 * 2) + (cols / block * 4));
        return [.. Enumerable.Range(0, tokens).SelectMany(t => rows.AsSpan(t * stride, bytes).ToArray())];
    }
}
