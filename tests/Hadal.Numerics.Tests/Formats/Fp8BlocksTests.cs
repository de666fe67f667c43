using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Tests.Formats;

public sealed class Fp8BlocksTests
{
    [Fact]
    public void AgreesWithTheGoldenWeights()
    {
        var goldens = new KernelGoldens();
        var (rows, cols) = (goldens.Dimension("b", 0), goldens.Dimension("b", 1));
        var codes = new byte[rows * cols];
        var scales = new float[Fp8Blocks.Count(rows) * Fp8Blocks.Count(cols)];
        Fp8Blocks.Encode(goldens.Values("b"), rows, cols, codes, scales);
        Assert.Equal(goldens.Values("b_s"), scales);
        Assert.Equal(goldens.Codes("b_q"), codes);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 129)]
    [InlineData(130, 5)]
    [InlineData(257, 300)]
    [InlineData(128, 256)]
    [InlineData(0, 7)]
    public void RaggedEdgesAreShortBlocksOfTheirOwn(int rows, int cols)
    {
        var random = new Random(rows * 1000 + cols);
        var matrix = new float[rows * cols];
        foreach (ref var value in matrix.AsSpan())
            value = (float)(random.NextDouble() - 0.5) * MathF.Pow(2, random.Next(-10, 3));
        foreach (var kind in Enum.GetValues<ScaleKind>())
        {
            var codes = new byte[rows * cols];
            var scales = new float[Fp8Blocks.Count(rows) * Fp8Blocks.Count(cols)];
            Fp8Blocks.Encode(matrix, rows, cols, codes, scales, kind);
            for (var block = 0; block < scales.Length; block++)
            {
                var (firstRow, firstCol) = (block / Fp8Blocks.Count(cols) * 128, block % Fp8Blocks.Count(cols) * 128);
                var max = 0f;
                for (var r = firstRow; r < Math.Min(rows, firstRow + 128); r++)
                {
                    for (var c = firstCol; c < Math.Min(cols, firstCol + 128); c++)
                        max = Math.Max(max, Math.Abs(matrix[r * cols + c]));
                }

                Assert.Equal(kind == ScaleKind.PowerOfTwo ? (float)Math.Pow(2, Math.Ceiling(Math.Log2(max / 448f))) : max / 448f, scales[block]);
                for (var r = firstRow; r < Math.Min(rows, firstRow + 128); r++)
                {
                    for (var c = firstCol; c < Math.Min(cols, firstCol + 128); c++)
                        Assert.Equal(F8_E4M3.FromSingle(matrix[r * cols + c] / scales[block]), codes[r * cols + c]);
                }
            }
        }
    }

    [Theory]
    [InlineData(ScaleKind.Float32)]
    [InlineData(ScaleKind.PowerOfTwo)]
    public void ScalesStayUsableForZerosTinyHugeAndNonFiniteBlocks(ScaleKind kind)
    {
        float[] row = [0, float.Epsilon, 1e-38f, float.MaxValue, float.NaN, float.PositiveInfinity];
        var matrix = new float[row.Length * 128];
        for (var i = 0; i < row.Length; i++)
            matrix[i * 128 + 7] = row[i];
        matrix[5 * 128] = -3;
        var codes = new byte[matrix.Length];
        var scales = new float[row.Length];
        Fp8Blocks.Encode(matrix, 1, matrix.Length, codes, scales, kind);
        Assert.Equal(1, scales[0]);
        Assert.All(scales, s => Assert.True(float.IsNormal(s) && s > 0));
        if (kind == ScaleKind.PowerOfTwo)
            Assert.All(scales, s => Assert.True(float.IsPow2(s)));
        Assert.Equal(0, codes[7]);
        Assert.Equal(0, codes[128 + 7]);
        Assert.Equal(0x7F, codes[4 * 128 + 7] & 0x7F);
        Assert.Equal(0x7E, codes[5 * 128 + 7]);
        Assert.Equal(-3, F8_E4M3.ToSingle(codes[5 * 128]) * scales[5], 0.1);
    }

    [Fact]
    public void WrongLengthsAreRefused()
    {
        Assert.Throws<ArgumentException>(() => Fp8Blocks.Encode(new float[10], 2, 5, new byte[10], new float[2]));
        Assert.Throws<ArgumentException>(() => Fp8Blocks.Encode(new float[10], 2, 5, new byte[9], new float[1]));
        Assert.Throws<ArgumentException>(() => Fp8Blocks.Encode(new float[10], 2, 6, new byte[10], new float[1]));
    }
}
