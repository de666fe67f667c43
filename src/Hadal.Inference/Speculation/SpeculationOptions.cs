namespace Hadal.Inference.Speculation;

/// <summary>Where drafts come from.</summary>
public enum DraftSource
{
    /// <summary>The MTP module where the model has one, else prompt lookup.</summary>
    Auto,

    /// <summary>The model's first MTP module, used again and again for as many tokens as are drafted.</summary>
    Mtp,

    /// <summary>What followed the last tokens when they came before (prompt lookup decoding): free, and good at copying.</summary>
    PromptLookup,
}

/// <summary>How sampled drafts are verified. Both leave the distribution of the output as it is; greedy output is the same with either and without drafts.</summary>
public enum DraftAcceptance
{
    /// <summary>
    /// Draft and model choose with the same random numbers, and the model's choice counts (arXiv 2408.07978): the output is token for token the one
    /// without speculation, whatever was drafted. The default.
    /// </summary>
    SharedNoise,

    /// <summary>
    /// Rejection sampling (arXiv 2211.17192): accepts a little more often where draft and model differ, but a seed gives other tokens than without
    /// speculation.
    /// </summary>
    Rejection,
}

/// <summary>Speculative decoding: several tokens are drafted cheaply and verified in one forward pass.</summary>
public sealed record SpeculationOptions
{
    /// <summary>Most tokens to draft for each forward pass.</summary>
    public int DraftTokens { get; init; } = 2;

    /// <summary>Where drafts come from.</summary>
    public DraftSource Source { get; init; }

    /// <summary>How sampled drafts are verified.</summary>
    public DraftAcceptance Acceptance { get; init; }

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    public void Validate()
    {
        if (DraftTokens is < 1 or > 16)
            throw new ArgumentOutOfRangeException(nameof(DraftTokens), DraftTokens, $"{nameof(DraftTokens)} must be from 1 to 16");
    }
}
