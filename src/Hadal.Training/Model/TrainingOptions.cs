using Hadal.Training.Precision;

namespace Hadal.Training.Model;

/// <summary>Which experts count as chosen in the f of the balance losses.</summary>
public enum BalanceCounts
{
    /// <summary>The K best of the affinities themselves, without bias and groups (DeepSeek-V3 report equation 18).</summary>
    UnbiasedTopK,

    /// <summary>The experts that the token was sent to (DeepSeek-V2 report equation 24).</summary>
    Selected,
}

/// <summary>What is computed again in the backward pass instead of being kept; results do not change by a bit.</summary>
[Flags]
public enum Recompute
{
    /// <summary>Everything that the backward pass needs is kept.</summary>
    None = 0,

    /// <summary>Outputs of the norms before attention and feed-forward layers (DeepSeek-V3 report section 3.2.3).</summary>
    Norms = 1,

    /// <summary>MLA's up-projections: queries, keys and values (the same section).</summary>
    UpProjections = 2,
}

/// <summary>How a model is trained, as far as one forward and backward pass is concerned.</summary>
public sealed record TrainingOptions
{
    /// <summary>What the matrix products read.</summary>
    public TrainingPrecision Precision { get; init; } = TrainingPrecision.Bf16;

    /// <summary>Most tokens of one batch (B*S); the memory for activations is made for that many.</summary>
    public required int MaxTokens { get; init; }

    /// <summary>Weight lambda of the MTP losses: L_MTP = lambda / D * sum of the D modules' losses (DeepSeek-V3 report equation 25). May be changed between steps: the report lowers it.</summary>
    public double MtpLambda { get; set; } = 0.3;

    /// <summary>Alpha of the sequence-wise balance loss (DeepSeek-V3 report equations 17-20); 0 leaves it out.</summary>
    public double SequenceAlpha { get; init; } = 1e-4;

    /// <summary>Alpha of the batch-wise balance loss (DeepSeek-V3 report section 4.5.3), over the tokens of one call; 0 leaves it out.</summary>
    public double BatchAlpha { get; init; }

    /// <summary>Which experts the balance losses count.</summary>
    public BalanceCounts BalanceCounts { get; init; }

    /// <summary>What is computed twice to save memory.</summary>
    public Recompute Recompute { get; init; }

    /// <summary>Whether AdamW's moments are kept in bfloat16 (DeepSeek-V3 report section 3.3.3) rather than float32.</summary>
    public bool Bf16Moments { get; init; }

    /// <summary>Standard deviation of initial weights (0.006 in every DeepSeek report).</summary>
    public double InitializerRange { get; init; } = 0.006;
}
