namespace Hadal.Training.Model;

/// <summary>The loss of one batch, term by term. Cross-entropies are means over scored positions, in nats.</summary>
public sealed record LossReport
{
    /// <summary>Cross-entropy of the next token.</summary>
    public required double Main { get; init; }

    /// <summary>Positions that <see cref="Main"/> is the mean of.</summary>
    public required int ScoredTokens { get; init; }

    /// <summary>Cross-entropy of each MTP module, unweighted.</summary>
    public required IReadOnlyList<double> Mtp { get; init; }

    /// <summary>lambda / D * sum of <see cref="Mtp"/>.</summary>
    public required double MtpWeighted { get; init; }

    /// <summary>Sequence-wise balance loss of all layers, alpha included.</summary>
    public required double SequenceBalance { get; init; }

    /// <summary>Batch-wise balance loss of all layers, alpha included.</summary>
    public required double BatchBalance { get; init; }

    /// <summary>What is differentiated: the sum of all terms.</summary>
    public double Total => Main + MtpWeighted + SequenceBalance + BatchBalance;
}

/// <summary>Tokens that each expert of a layer was given.</summary>
/// <param name="Layer">Layer; MTP modules follow the main model.</param>
/// <param name="Counts">[E].</param>
public sealed record ExpertLoad(int Layer, int[] Counts);

/// <summary>What a forward and backward pass found.</summary>
/// <param name="Losses">Each term of the loss.</param>
/// <param name="ExpertLoads">One entry for each mixture-of-experts layer, in order.</param>
public sealed record StepStatistics(LossReport Losses, IReadOnlyList<ExpertLoad> ExpertLoads);
