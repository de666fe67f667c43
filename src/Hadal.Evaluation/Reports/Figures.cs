using System.Globalization;
using Hadal.Evaluation.Running;

namespace Hadal.Evaluation.Reports;

/// <summary>Scores and counts as people read them, the same in every report.</summary>
public static class Figures
{
    /// <summary><c>88.9</c> percent, or <c>0.548</c> bits per byte.</summary>
    public static string Score(string metricName, double score) =>
        double.IsNaN(score) ? "–" : score.ToString(metricName == "BPB" ? "0.000" : "0.0", CultureInfo.InvariantCulture);

    /// <summary><c>± 1.2</c>, or nothing.</summary>
    public static string Error(TaskResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return result.StandardError is { } error ? string.Create(CultureInfo.InvariantCulture, $"± {error:0.0}") : string.Empty;
    }

    /// <summary>The 95% interval, or nothing.</summary>
    public static string Interval(TaskResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return result.Interval is [var low, var high] ? string.Create(CultureInfo.InvariantCulture, $"{low:0.0} to {high:0.0}") : string.Empty;
    }

    /// <summary><c>25</c>, or nothing where a guess is never right.</summary>
    public static string Chance(TaskResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return result.Chance > 0 ? result.Chance.ToString("0", CultureInfo.InvariantCulture) : string.Empty;
    }

    /// <summary><c>37B</c> parameters; a dash where nobody says.</summary>
    public static string Parameters(long? count) => count switch
    {
        null => "–",
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e9:0.#}B"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e6:0.#}M"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{count / 1e3:0.#}K"),
    };
}
