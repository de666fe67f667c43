using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Tests.Formats;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class ActivationQuantizationTests
{
    [Theory]
    [InlineData("a", "a_q", "a_s", ScaleKind.Float32)]
    [InlineData("a", "a_q_ue8m0", "a_s_ue8m0", ScaleKind.PowerOfTwo)]
    [InlineData("dgrad.dy", "dgrad.dy_q", "dgrad.dy_s", ScaleKind.Float32)]
    [InlineData("wgrad.x", "requant.x_q_1x128", "requant.x_s_1x128", ScaleKind.PowerOfTwo)]
    public void AgreesWithTheGoldenTiles(string input, string codes, string scales, ScaleKind kind)
    {
        var goldens = new KernelGoldens();
        Check(goldens.Values(input), goldens.Dimension(input, 1), goldens.Codes(codes), goldens.Values(scales), kind);
    }

    // A 128x1 tile is a 1x128 tile of the transposed matrix.
    [Theory]
    [InlineData("wgrad.x", "wgrad.x_q", "wgrad.x_s")]
    [InlineData("wgrad.dy", "wgrad.dy_q", "wgrad.dy_s")]
    public void AgreesWithTheGoldenColumns(string input, string codes, string scales)
    {
        var goldens = new KernelGoldens();
        var (rows, cols) = (goldens.Dimension(input, 0), goldens.Dimension(input, 1));
        Check(
            Transpose(goldens.Values(input), rows, cols),
            rows,
            Transpose(goldens.Codes(codes), rows, cols),
            Transpose(goldens.Values(scales), ActivationQuantization.ScaleCount(rows), cols),
            ScaleKind.Float32);
    }

    [Fact]
    public void TheScaleOfATileOfZerosIsTheClamp()
    {
        var scales = new float[2];
        var codes = new byte[200];
        var values = new float[200];
        values[150] = 1e-5f;
        ActivationQuantization.Quantize(values, 200, codes, scales, ScaleKind.Float32);
        Assert.Equal([1e-4f / 448, 1e-4f / 448], scales);
        Assert.Equal(F8_E4M3.FromSingle(1e-5f / (1e-4f / 448)), codes[150]);
        Assert.Equal(199, codes.Count(c => c == 0));
    }

    [Fact]
    public void PowersOfTwoAreRoundedUpExactly()
    {
        for (var exponent = -13; exponent < 100; exponent++)
        {
            var scale = MathF.ScaleB(1, exponent);
            foreach (var max in new[] { 300 * scale, float.BitDecrement(448 * scale), 448 * scale, float.BitIncrement(448 * scale), 449 * scale })
            {
                var found = new float[1];
                ActivationQuantization.Quantize([max], 1, new byte[1], found, ScaleKind.PowerOfTwo);
                Assert.Equal(max / 448f > scale ? 2 * scale : scale, found[0]);
            }
        }
    }

    [Fact]
    public void ValuesThatAreNotFiniteStandOutAndDoNoHarm()
    {
        float[] values = [float.NaN, float.PositiveInfinity, float.NegativeInfinity, 448, -1];
        var codes = new byte[5];
        var scales = new float[1];
        ActivationQuantization.Quantize(values, 5, codes, scales, ScaleKind.Float32);
        Assert.Equal(1, scales[0]);
        Assert.Equal(0x7F, codes[0] & 0x7F);
        Assert.Equal(new byte[] { 0x7E, 0xFE, 0x7E, 0xB8 }, codes[1..]);
    }

    [Fact]
    public void WrongLengthsAreRefused()
    {
        Assert.Throws<ArgumentException>(() => ActivationQuantization.Quantize(new float[10], 3, new byte[10], new float[4], ScaleKind.Float32));
        Assert.Throws<ArgumentException>(() => ActivationQuantization.Quantize(new float[10], 5, new byte[10], new float[3], ScaleKind.Float32));
        Assert.Throws<ArgumentException>(() => ActivationQuantization.Quantize(new float[10], 5, new float[9], new float[2], ScaleKind.Float32));
    }

    private static void Check(float[] input, int cols, byte[] expectedCodes, float[] expectedScales, ScaleKind kind)
    {
        var codes = new byte[input.Length];
        var scales = new float[expectedScales.Length];
        ActivationQuantization.Quantize(input, cols, codes, scales, kind);
        Assert.Equal(expectedScales, scales);
        Assert.Equal(expectedCodes, codes);

        Array.Clear(scales);
        ActivationQuantization.Quantize(input, cols, input, scales, kind);
        Assert.Equal(expectedScales, scales);
        Assert.Equal(Array.ConvertAll(expectedCodes, F8_E4M3.ToSingle), input);
    }

    private static T[] Transpose<T>(T[] matrix, int rows, int cols)
    {
        var transposed = new T[matrix.Length];
        for (var r = 0; r < rows; r++)
        {
            for (var c = 0; c < cols; c++)
                transposed[c * rows + r] = matrix[r * cols + c];
        }

        return transposed;
    }
}
