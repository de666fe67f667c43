namespace Hadal.Inference.Benchmarks;

/// <summary>What to measure.</summary>
public sealed record BenchmarkPlan
{
    /// <summary>Tokens of each prompt, random ids.</summary>
    public int PromptTokens { get; init; } = 512;

    /// <summary>Decoding steps, at least 2.</summary>
    public int GenerateTokens { get; init; } = 64;

    /// <summary>Times that those steps are decoded, always behind the prompt, with the bandwidth measured between: where it changes, single rounds say more than their mean.</summary>
    public int Rounds { get; init; } = 1;

    /// <summary>Sequences decoded together, each with a prompt of its own.</summary>
    public int Batch { get; init; } = 1;

    /// <summary>Numbers of cached tokens at which attention is measured.</summary>
    public IReadOnlyList<int> Contexts { get; init; } = [];

    /// <summary>Whether the time from the start of this process to the first token of a prompt of 32 is measured, before anything else.</summary>
    public bool FirstToken { get; init; }

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(PromptTokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(GenerateTokens, 2);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Rounds);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Batch);
        foreach (var context in Contexts)
            ArgumentOutOfRangeException.ThrowIfNegativeOrZero(context, nameof(Contexts));
    }
}

/// <summary>What a measurement found; names as <c>hadal bench --json</c> prints them, in snake case.</summary>
public sealed record BenchmarkResult
{
    /// <summary>The model's file, or its shape and format.</summary>
    public required string Model { get; init; }

    /// <summary>Workers computed with.</summary>
    public required int Threads { get; init; }

    /// <summary>Precision of activations.</summary>
    public required string Activations { get; init; }

    /// <summary>Whether weights were copied at load into an order that is multiplied faster, or into huge pages.</summary>
    public bool Repacked { get; init; }

    /// <summary>Bytes of the process in <see cref="Hadal.Numerics.HugePages"/>.</summary>
    public long HugePagesBytes { get; init; }

    /// <summary>How many of them the weights would take; 0 where the system has no such pages, or weights are not copied for these activations.</summary>
    public long HugePagesWanted { get; init; }

    /// <summary>How the cache was stored.</summary>
    public required string CacheType { get; init; }

    /// <summary>Tokens of each prompt.</summary>
    public required int PromptTokens { get; init; }

    /// <summary>Decoding steps of a round.</summary>
    public required int GenerateTokens { get; init; }

    /// <summary>Sequences decoded together.</summary>
    public required int Batch { get; init; }

    /// <summary>Prompt tokens of all sequences per second.</summary>
    public required double PrefillTokensPerSecond { get; init; }

    /// <summary>Generated tokens of all sequences per second.</summary>
    public required double DecodeTokensPerSecond { get; init; }

    /// <summary>Bytes of distinct weights that a decoding step reads, the mean of all steps: counted from the experts they chose.</summary>
    public required double WeightBytesPerStep { get; init; }

    /// <summary>The same, divided by the tokens that a step decodes.</summary>
    public required double WeightBytesPerToken { get; init; }

    /// <summary>Read bandwidth of all workers together, the mean of before and after, and of all rounds, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthGbS { get; init; }

    /// <summary>Read bandwidth before, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthBeforeGbS { get; init; }

    /// <summary>Read bandwidth after, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthAfterGbS { get; init; }

    /// <summary>What a plain loop reads with all workers, measured beside each of those, the mean, in 10^9 bytes per second; it can be less, on some processors by a third.</summary>
    public required double PlainReadBandwidthGbS { get; init; }

    /// <summary>Tokens per second if decoding did nothing but read its weights at that bandwidth.</summary>
    public required double WallTokensPerSecond { get; init; }

    /// <summary>Decoding's part of that wall.</summary>
    public required double RooflineFraction { get; init; }

    /// <summary>Managed bytes that the threads at work allocate for each decoding step.</summary>
    public required double GcBytesPerToken { get; init; }

    /// <summary>Seconds of a decoding step, the median.</summary>
    public required double MedianStepSeconds { get; init; }

    /// <summary>Part of the decoding time that attention took, without its projections.</summary>
    public required double AttentionFraction { get; init; }

    /// <summary>What the workers reach in float32 multiply-adds on registers alone, in 10^9 operations per second.</summary>
    public required double PeakGflops { get; init; }

    /// <summary>Parameters that a token passes.</summary>
    public required long ActivatedParameters { get; init; }

    /// <summary>Bytes of all weights.</summary>
    public required long WeightsBytes { get; init; }

    /// <summary>Bytes of the cache that was allocated.</summary>
    public required long CacheBytes { get; init; }

    /// <summary>The most physical memory that the process has had, mapped files included, what the measurement itself takes not; since the weights were copied where they lie in huge pages.</summary>
    public required long PeakRssBytes { get; init; }

    /// <summary>Seconds from the start of the process to the first token of a prompt of 32 tokens, where it was asked for.</summary>
    public double? FirstTokenSeconds { get; init; }

    /// <summary>The rounds, where there were several.</summary>
    public IReadOnlyList<RoundResult> Rounds { get; init; } = [];

    /// <summary>Attention at the contexts that were asked for.</summary>
    public IReadOnlyList<ContextResult> Contexts { get; init; } = [];

    /// <summary>Speculative decoding, where it was asked for.</summary>
    public SpeculationResult? Speculation { get; init; }
}

/// <summary>One round of decoding.</summary>
public sealed record RoundResult
{
    /// <summary>Read bandwidth before, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthBeforeGbS { get; init; }

    /// <summary>Read bandwidth after, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthAfterGbS { get; init; }

    /// <summary>Generated tokens of all sequences per second.</summary>
    public required double DecodeTokensPerSecond { get; init; }

    /// <summary>Decoding's part of what the mean of the two allows.</summary>
    public required double RooflineFraction { get; init; }
}

/// <summary>Attention behind a number of cached tokens: all layers together, without the projections around it.</summary>
public sealed record ContextResult
{
    /// <summary>Cached tokens.</summary>
    public required int Context { get; init; }

    /// <summary>Seconds of attention for one decoded token, the median.</summary>
    public required double DecodeAttentionSeconds { get; init; }

    /// <summary>Seconds of the whole decoding step, the median.</summary>
    public required double DecodeStepSeconds { get; init; }

    /// <summary>Bytes of the cache that a decoded token reads.</summary>
    public required long CacheBytesRead { get; init; }

    /// <summary>That, over the time of attention, in 10^9 bytes per second.</summary>
    public required double CacheReadGbS { get; init; }

    /// <summary>The same as a part of the read bandwidth.</summary>
    public required double CacheReadFraction { get; init; }

    /// <summary>Arithmetic of a decoded token's attention, in 10^9 floating-point operations per second.</summary>
    public required double DecodeGflops { get; init; }

    /// <summary>Tokens of the prefill chunk.</summary>
    public required int PrefillTokens { get; init; }

    /// <summary>Seconds of attention for that chunk.</summary>
    public required double PrefillAttentionSeconds { get; init; }

    /// <summary>Seconds of the whole chunk.</summary>
    public required double PrefillSeconds { get; init; }

    /// <summary>Arithmetic of the chunk's attention, in 10^9 floating-point operations per second.</summary>
    public required double PrefillGflops { get; init; }

    /// <summary>What the workers reach in float32 multiply-adds on registers alone, in the same unit.</summary>
    public required double PeakGflops { get; init; }
}

/// <summary>What drafts bring.</summary>
public sealed record SpeculationResult
{
    /// <summary>Most tokens drafted for each step.</summary>
    public required int DraftTokens { get; init; }

    /// <summary>Where they came from: mtp or lookup.</summary>
    public required string Source { get; init; }

    /// <summary>Part of the drafted tokens that the model chose too; null where none was drafted.</summary>
    public required double? AcceptanceRate { get; init; }

    /// <summary>Tokens for each forward pass.</summary>
    public required double AcceptedLength { get; init; }

    /// <summary>Tokens per second with drafts.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Tokens per second without, in the same run.</summary>
    public required double PlainTokensPerSecond { get; init; }

    /// <summary>The first over the second.</summary>
    public required double Gain { get; init; }

    /// <summary>Whether both gave the same tokens, as they must.</summary>
    public required bool SameTokens { get; init; }
}
