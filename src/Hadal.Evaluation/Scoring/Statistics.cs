namespace Hadal.Evaluation.Scoring;

/// <summary>Means of item scores, how sure they are, and averages over categories.</summary>
public static class Statistics
{
    /// <summary>Resamples of a bootstrap interval.</summary>
    public const int Resamples = 1000;

    private const int Seed = 20241227;

    /// <summary>The standard error of a mean: the sample standard deviation (divisor n - 1) over the root of n; 0 for fewer than two values.</summary>
    public static double StandardError(IReadOnlyList<double> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        if (values.Count < 2)
            return 0;
        var mean = values.Average();
        return Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Count - 1) / values.Count);
    }

    /// <summary>The mean of all values.</summary>
    public static double Micro(IEnumerable<IReadOnlyList<double>> categories)
    {
        ArgumentNullException.ThrowIfNull(categories);
        return categories.SelectMany(c => c).DefaultIfEmpty(double.NaN).Average();
    }

    /// <summary>The mean of the categories' means.</summary>
    public static double Macro(IEnumerable<IReadOnlyList<double>> categories)
    {
        ArgumentNullException.ThrowIfNull(categories);
        return categories.Where(c => c.Count > 0).Select(c => c.Average()).DefaultIfEmpty(double.NaN).Average();
    }

    /// <summary>
    /// The standard error of the mean of the categories' means: from the spread within categories; from the spread between them where one has a single item,
    /// which shows none.
    /// </summary>
    public static double MacroStandardError(IReadOnlyList<IReadOnlyList<double>> categories)
    {
        ArgumentNullException.ThrowIfNull(categories);
        return categories.Any(c => c.Count < 2)
            ? StandardError([.. categories.Where(c => c.Count > 0).Select(c => c.Average())])
            : Math.Sqrt(categories.Sum(c => Math.Pow(StandardError(c), 2))) / categories.Count;
    }

    /// <summary>
    /// The 95% percentile interval of an average: 1000 resamples with a fixed seed, so that the same values always give the same interval. Of a mean over
    /// categories, items are drawn within their categories, or whole categories where one has a single item.
    /// </summary>
    /// <param name="categories">Item scores by category.</param>
    /// <param name="macro">Whether the average is over categories.</param>
    public static (double Low, double High) Bootstrap(IReadOnlyList<IReadOnlyList<double>> categories, bool macro)
    {
        ArgumentNullException.ThrowIfNull(categories);
        IReadOnlyList<IReadOnlyList<double>> strata = !macro ? [[.. categories.SelectMany(c => c)]]
            : categories.Any(c => c.Count < 2) ? [[.. categories.Where(c => c.Count > 0).Select(c => c.Average())]]
            : categories;
        if (strata.Any(s => s.Count == 0))
            return (double.NaN, double.NaN);
        var random = new Random(Seed);
        var averages = new double[Resamples];
        for (var r = 0; r < Resamples; r++)
        {
            foreach (var stratum in strata)
            {
                double sum = 0;
                for (var i = 0; i < stratum.Count; i++)
                    sum += stratum[random.Next(stratum.Count)];
                averages[r] += sum / stratum.Count / strata.Count;
            }
        }

        Array.Sort(averages);
        return (Quantile(averages, 0.025), Quantile(averages, 0.975));
    }

    // Linear between order statistics, as NumPy's default.
    private static double Quantile(double[] sorted, double q)
    {
        var at = q * (sorted.Length - 1);
        var below = (int)at;
        return below + 1 == sorted.Length ? sorted[below] : sorted[below] + ((at - below) * (sorted[below + 1] - sorted[below]));
    }
}
