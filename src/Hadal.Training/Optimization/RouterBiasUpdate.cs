using Hadal.Training.Model;

namespace Hadal.Training.Optimization;

/// <summary>
/// Balance without a loss (arXiv 2408.15664, algorithm 1; DeepSeek-V3 report section 2.1.2): after a step, b_e += gamma * sign(mean load - load_e), sign(0) = 0.
/// </summary>
public static class RouterBiasUpdate
{
    /// <summary>Moves every router bias of a model.</summary>
    /// <param name="model">V3-style model; others have no bias and are left alone.</param>
    /// <param name="loads">Tokens of each expert over the whole step, one entry for each layer.</param>
    /// <param name="gamma">Bias update speed.</param>
    public static void Apply(TrainingModel model, IReadOnlyList<ExpertLoad> loads, double gamma)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(loads);
        foreach (var bias in model.RouterBiases)
            Apply(bias.Values, loads.Single(load => load.Layer == bias.Layer).Counts, gamma);
    }

    /// <summary>Moves one bias.</summary>
    /// <param name="bias">[E].</param>
    /// <param name="counts">[E].</param>
    /// <param name="gamma">Bias update speed.</param>
    internal static void Apply(Span<float> bias, ReadOnlySpan<int> counts, double gamma)
    {
        if (bias.Length != counts.Length)
            throw new ArgumentException($"a bias of {bias.Length} experts and counts of {counts.Length}");
        var total = 0L;
        foreach (var count in counts)
            total += count;

        // Compared as total against count times experts: exact, so that an expert at the mean keeps its bias.
        for (var e = 0; e < bias.Length; e++)
            bias[e] = (float)(bias[e] + (gamma * Math.Sign(total - ((long)counts[e] * bias.Length))));
    }
}
