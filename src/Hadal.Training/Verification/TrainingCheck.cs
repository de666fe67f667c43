namespace Hadal.Training.Verification;

/// <summary>One comparison with a recorded value.</summary>
/// <param name="Group">Which recording.</param>
/// <param name="Name">What was compared.</param>
/// <param name="Error">The difference, in the measure that the name says.</param>
/// <param name="Tolerance">The largest difference allowed.</param>
public sealed record TrainingCheck(string Group, string Name, double Error, double Tolerance)
{
    /// <summary>Whether the difference is a number and within the tolerance.</summary>
    public bool Holds => Error <= Tolerance;

    /// <summary>Difference of two numbers.</summary>
    internal static TrainingCheck Absolute(string group, string name, double actual, double expected, double tolerance) =>
        new(group, name, Math.Abs(actual - expected), tolerance);

    /// <summary>|actual - expected| / |expected| in the Euclidean norm (of the difference alone where zero is expected).</summary>
    internal static TrainingCheck Relative(string group, string name, ReadOnlySpan<float> actual, ReadOnlySpan<float> expected, double tolerance)
    {
        if (actual.Length != expected.Length)
            return new TrainingCheck(group, $"{name}: {actual.Length} values, expected {expected.Length}", double.NaN, tolerance);
        double difference = 0, norm = 0;
        for (var i = 0; i < actual.Length; i++)
        {
            difference += ((double)actual[i] - expected[i]) * ((double)actual[i] - expected[i]);
            norm += (double)expected[i] * expected[i];
        }

        return new TrainingCheck(group, name, Math.Sqrt(norm == 0 ? difference : difference / norm), tolerance);
    }

    /// <summary>Entries that differ.</summary>
    internal static TrainingCheck Equal(string group, string name, ReadOnlySpan<int> actual, ReadOnlySpan<int> expected)
    {
        if (actual.Length != expected.Length)
            return new TrainingCheck(group, $"{name}: {actual.Length} values, expected {expected.Length}", double.NaN, 0);
        var different = 0;
        for (var i = 0; i < actual.Length; i++)
            different += actual[i] == expected[i] ? 0 : 1;
        return new TrainingCheck(group, name, different, 0);
    }

    /// <summary>Largest difference.</summary>
    internal static TrainingCheck Largest(string group, string name, ReadOnlySpan<double> actual, ReadOnlySpan<double> expected, double tolerance)
    {
        if (actual.Length != expected.Length)
            return new TrainingCheck(group, $"{name}: {actual.Length} values, expected {expected.Length}", double.NaN, tolerance);
        var largest = 0.0;
        for (var i = 0; i < actual.Length; i++)
            largest = Math.Max(largest, Math.Abs(actual[i] - expected[i]));
        return new TrainingCheck(group, name, largest, tolerance);
    }
}

/// <summary>
/// What is recorded of a tensor too large to record whole: its Euclidean norm, its sum, and its probe, the sum of value i times
/// ((i * 2654435761) mod 2^32) / 2^31 - 1, which notices values in the wrong place.
/// </summary>
internal readonly record struct TensorSummary(double Norm, double Sum, double Probe)
{
    public static TensorSummary Of(ReadOnlySpan<float> values)
    {
        double squares = 0, sum = 0, probe = 0;
        for (var i = 0; i < values.Length; i++)
        {
            squares += (double)values[i] * values[i];
            sum += values[i];
            probe += values[i] * ((unchecked((uint)i * 2654435761u) / 2147483648.0) - 1);
        }

        return new TensorSummary(Math.Sqrt(squares), sum, probe);
    }

    /// <summary>The largest difference in terms of the expected norm; a difference of norms counts five times.</summary>
    public double DifferenceFrom(TensorSummary expected)
    {
        var largest = Math.Max(5 * Math.Abs(Norm - expected.Norm), Math.Max(Math.Abs(Sum - expected.Sum), Math.Abs(Probe - expected.Probe)));
        return expected.Norm == 0 ? largest : largest / expected.Norm;
    }
}
