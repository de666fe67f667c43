namespace Hadal.Inference.Sampling;

/// <summary>
/// How the next token is chosen. Applied in this order: logit bias; repetition, frequency and presence penalties; temperature; top-k; top-p; min-p.
/// </summary>
public sealed record SamplingOptions
{
    /// <summary>Divisor of the logits; 0 chooses the highest logit (the lowest id among equals).</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Keeps the most probable k tokens; 0 keeps all.</summary>
    public int TopK { get; init; }

    /// <summary>Keeps the fewest most probable tokens whose probabilities reach this sum; 1 keeps all.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Keeps tokens at least this fraction as probable as the most probable; 0 keeps all (arXiv 2407.01082).</summary>
    public double MinP { get; init; }

    /// <summary>Logits of tokens in prompt or output are divided (if positive) or multiplied (if negative) by this; 1 does nothing (arXiv 1909.05858).</summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from the logit of each token once for every time it was generated.</summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>Subtracted from the logit of each token that was generated.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Added to the logits of single tokens; minus infinity forbids one.</summary>
    public IReadOnlyDictionary<int, double> LogitBias { get; init; } = new Dictionary<int, double>();

    /// <summary>Seed of the choices; null takes one at random.</summary>
    public int? Seed { get; init; }

    /// <summary>How many of the most probable alternatives to report with each token; null reports no probabilities at all.</summary>
    public int? TopLogprobs { get; init; }

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range; the message names it.</exception>
    public void Validate()
    {
        Check(double.IsFinite(Temperature) && Temperature >= 0, nameof(Temperature), Temperature, "a number of at least 0");
        Check(TopK >= 0, nameof(TopK), TopK, "0 (off) or more");
        Check(TopP is > 0 and <= 1, nameof(TopP), TopP, "above 0 and at most 1");
        Check(MinP is >= 0 and <= 1, nameof(MinP), MinP, "from 0 to 1");
        Check(double.IsFinite(RepetitionPenalty) && RepetitionPenalty > 0, nameof(RepetitionPenalty), RepetitionPenalty, "above 0");
        Check(double.IsFinite(FrequencyPenalty), nameof(FrequencyPenalty), FrequencyPenalty, "finite");
        Check(double.IsFinite(PresencePenalty), nameof(PresencePenalty), PresencePenalty, "finite");
        foreach (var (id, bias) in LogitBias)
            Check(bias < double.PositiveInfinity, $"{nameof(LogitBias)}[{id}]", bias, "a number below infinity");
        Check(TopLogprobs is null or >= 0, nameof(TopLogprobs), TopLogprobs ?? 0, "0 or more");
    }

    private static void Check(bool ok, string name, object value, string expected)
    {
        if (!ok)
            throw new ArgumentOutOfRangeException(name, value, $"{name} must be {expected}");
    }
}

/// <summary>A token with the natural logarithm of its probability under the model, before penalties and temperature.</summary>
/// <param name="Id">Token id.</param>
/// <param name="Logprob">ln p.</param>
public readonly record struct TokenLogprob(int Id, double Logprob);
