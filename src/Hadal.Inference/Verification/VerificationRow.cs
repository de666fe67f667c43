namespace Hadal.Inference.Verification;

/// <summary>What became of one comparison.</summary>
public enum Verdict
{
    /// <summary>Within the tolerance.</summary>
    Pass,

    /// <summary>Outside the tolerance.</summary>
    Fail,

    /// <summary>Reported without a bar.</summary>
    Info,
}

/// <summary>One line of a verification table.</summary>
/// <param name="Group">What was run: a prompt and the arithmetic it was run with.</param>
/// <param name="Name">What was compared.</param>
/// <param name="MaxAbs">Largest absolute difference, or the number of entries that differ where the tolerance is 0.</param>
/// <param name="Tolerance">Largest difference allowed; null where there is no bar.</param>
/// <param name="Verdict">Outcome.</param>
/// <param name="Detail">What else there is to say; may be empty.</param>
public sealed record VerificationRow(string Group, string Name, double MaxAbs, double? Tolerance, Verdict Verdict, string Detail = "")
{
    /// <summary>Compares values within an absolute tolerance; a NaN on either side fails.</summary>
    internal static VerificationRow Compare(string group, string name, ReadOnlySpan<float> actual, ReadOnlySpan<float> expected, double tolerance)
    {
        if (actual.Length != expected.Length)
            return new VerificationRow(group, name, double.NaN, tolerance, Verdict.Fail, $"{actual.Length} values, expected {expected.Length}");
        var max = MaxDifference(actual, expected);
        return new VerificationRow(group, name, max, tolerance, max <= tolerance ? Verdict.Pass : Verdict.Fail);
    }

    /// <summary>Compares ids, which have to be equal.</summary>
    internal static VerificationRow CompareIds(string group, string name, ReadOnlySpan<int> actual, ReadOnlySpan<int> expected)
    {
        if (actual.Length != expected.Length)
            return new VerificationRow(group, name, double.NaN, 0, Verdict.Fail, $"{actual.Length} ids, expected {expected.Length}");
        var different = 0;
        for (var i = 0; i < actual.Length; i++)
            different += actual[i] == expected[i] ? 0 : 1;
        return new VerificationRow(group, name, different, 0, different == 0 ? Verdict.Pass : Verdict.Fail);
    }

    /// <summary>The largest absolute difference; NaN when any value is NaN.</summary>
    internal static double MaxDifference(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        double max = 0;
        for (var i = 0; i < x.Length; i++)
            max = Math.Max(max, Math.Abs((double)x[i] - y[i]));
        return max;
    }

    /// <summary>1 - 2 x.y / (|x|^2 + |y|^2): 0 for equal vectors, the measure of low-precision results.</summary>
    internal static double CalcDiff(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        double dot = 0, squares = 0;
        for (var i = 0; i < x.Length; i++)
        {
            dot += (double)x[i] * y[i];
            squares += ((double)x[i] * x[i]) + ((double)y[i] * y[i]);
        }

        return squares == 0 ? 0 : 1 - (2 * dot / squares);
    }
}
