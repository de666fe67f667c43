using System.Runtime.InteropServices;

namespace Hadal.Numerics.Tests.Kernels;

/// <summary>Comparisons of float32 results.</summary>
internal static class Bits
{
    /// <summary>Fails at the first value whose bits differ.</summary>
    public static void AssertEqual(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, string what)
    {
        Assert.True(expected.Length == actual.Length, $"{what}: {actual.Length} values, expected {expected.Length}");
        var x = MemoryMarshal.Cast<float, int>(expected);
        var y = MemoryMarshal.Cast<float, int>(actual);
        if (x.SequenceEqual(y))
            return;
        var i = x.CommonPrefixLength(y);
        Assert.Fail($"{what}: value {i} is {actual[i]:R}, expected {expected[i]:R}");
    }

    /// <summary>Fails where a value is further from its reference than the tolerance, or is no number.</summary>
    public static void AssertNear(ReadOnlySpan<double> expected, ReadOnlySpan<float> actual, double tolerance, string what)
    {
        Assert.True(expected.Length == actual.Length, $"{what}: {actual.Length} values, expected {expected.Length}");
        for (var i = 0; i < expected.Length; i++)
        {
            if (!(Math.Abs(expected[i] - actual[i]) <= tolerance))
                Assert.Fail($"{what}: value {i} is {actual[i]:R}, expected {expected[i]:R} within {tolerance}");
        }
    }
}
