namespace Hadal.Evaluation.Scoring;

/// <summary>The unbiased estimator of pass@k (Chen et al., arXiv 2107.03374, equation 1).</summary>
public static class PassAtK
{
    /// <summary>1 - C(n - c, k) / C(n, k): the chance that of k samples drawn from n one is among the c that pass.</summary>
    /// <param name="samples">n, at least k.</param>
    /// <param name="passed">c.</param>
    /// <param name="k">Samples a user would look at.</param>
    public static double Estimate(int samples, int passed, int k)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(k);
        ArgumentOutOfRangeException.ThrowIfLessThan(samples, k);
        ArgumentOutOfRangeException.ThrowIfNegative(passed);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(passed, samples);
        if (samples - passed < k)
            return 1;
        var none = 1.0;
        for (var i = samples - passed + 1; i <= samples; i++)
            none *= 1 - ((double)k / i);
        return 1 - none;
    }
}
