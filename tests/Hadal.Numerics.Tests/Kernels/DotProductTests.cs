using CsCheck;
using Hadal.Numerics.Kernels;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class DotProductTests
{
    [Fact]
    public void EveryLengthGivesTheBitsOfTheReference()
    {
        var random = new Random(1);
        for (var length = 0; length <= 300; length++)
            Check(RandomMatrix.Normals(random, length), RandomMatrix.Normals(random, length));
    }

    [Fact]
    public void AnyValuesGiveTheBitsOfTheReference() =>
        Gen.Int[0, 2000].SelectMany(n => Gen.Select(Gen.Float.Array[n], Gen.Float.Array[n])).Sample((x, y) => Check(x, y), iter: 200);

    // Products that vanish leave negative zeros in the running sums; what is missing at the end counts as zero all the same.
    [Fact]
    public void VanishingProductsGiveTheBitsOfTheReference()
    {
        foreach (var length in new[] { 1, 63, 64, 65, 100, 128, 130 })
            Check(Enumerable.Repeat(-1e-30f, length).ToArray(), Enumerable.Repeat(1e-30f, length).ToArray());
    }

    [Fact]
    public void IsWithinTheErrorOfItsRoundings()
    {
        var random = new Random(2);
        for (var length = 1; length < 3000; length += 37)
        {
            var (x, y) = (RandomMatrix.Normals(random, length), RandomMatrix.Normals(random, length));
            var (exact, magnitude) = Exact(x, y);
            Assert.True(Math.Abs(DotProduct.Dot(x, y) - exact) <= ErrorBound(length, magnitude), $"length {length}");
        }
    }

    [Fact]
    public void LengthsThatDifferAreRefused() => Assert.Throws<ArgumentException>(() => DotProduct.Dot(new float[3], new float[4]));

    /// <summary>The sum in double, and the sum of magnitudes.</summary>
    internal static (double Sum, double Magnitude) Exact(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        double sum = 0, magnitude = 0;
        for (var k = 0; k < x.Length; k++)
        {
            sum += (double)x[k] * y[k];
            magnitude += Math.Abs((double)x[k] * y[k]);
        }

        return (sum, magnitude);
    }

    /// <summary>Each term passes one rounding for each 64 elements and eight more where the lanes are added.</summary>
    internal static double ErrorBound(int length, double magnitude) => ((length / 64) + 10) * Math.Pow(2, -24) * magnitude;

    private static void Check(float[] x, float[] y)
    {
        var (expected, found) = (DotProduct.DotReference(x, y), DotProduct.Dot(x, y));
        if (!float.IsNaN(expected) || !float.IsNaN(found))
            Bits.AssertEqual([expected], [found], $"{x.Length} values");
    }
}
