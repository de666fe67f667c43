using Hadal.Inference.Model;
using Hadal.Inference.Speculation;

namespace Hadal.Inference.Engine;

/// <summary>How an <see cref="InferenceEngine"/> divides its memory and time. None of it changes what a request's seed generates.</summary>
public sealed record EngineOptions
{
    /// <summary>Tokens of all sequences and of the prefix cache together.</summary>
    public int CacheTokens { get; init; } = 8192;

    /// <summary>Tokens of one sequence, prompt and output; null for as many as the model and the cache have.</summary>
    public int? ContextTokens { get; init; }

    /// <summary>Rows in a cache page, a power of two.</summary>
    public int PageTokens { get; init; } = 64;

    /// <summary>Sequences in a step.</summary>
    public int MaxSequences { get; init; } = 32;

    /// <summary>Requests that may wait; one more is refused with <see cref="QueueFullException"/>.</summary>
    public int MaxWaiting { get; init; } = 256;

    /// <summary>Prompt tokens in a step while nothing is being decoded.</summary>
    public int PrefillTokens { get; init; } = 512;

    /// <summary>Prompt tokens in a step beside decoding sequences, which wait for them: small keeps a long prompt from stalling the others.</summary>
    public int PrefillTokensBesideDecode { get; init; } = 64;

    /// <summary>Events a reader may be behind; its sequence pauses then.</summary>
    public int MaxUnread { get; init; } = 256;

    /// <summary>Part of the pages that the prefix cache leaves to side requests.</summary>
    public double SidePart { get; init; } = 1.0 / 16;

    /// <summary>Speculative decoding; null for none.</summary>
    public SpeculationOptions? Speculation { get; init; }

    /// <summary>Arithmetic choices; weights in integer formats are multiplied with 8-bit activations unless it says otherwise.</summary>
    public ForwardOptions Forward { get; init; } = new() { Activations = ActivationPrecision.Int8 };

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range; the message names it.</exception>
    public void Validate()
    {
        Check(CacheTokens > 0, nameof(CacheTokens), CacheTokens, "above 0");
        Check(ContextTokens is null or > 0, nameof(ContextTokens), ContextTokens ?? 0, "above 0");
        Check(int.IsPow2(PageTokens), nameof(PageTokens), PageTokens, "a power of two");
        Check(MaxSequences > 0, nameof(MaxSequences), MaxSequences, "above 0");
        Check(MaxWaiting > 0, nameof(MaxWaiting), MaxWaiting, "above 0");
        Check(PrefillTokens > 0, nameof(PrefillTokens), PrefillTokens, "above 0");
        Check(PrefillTokensBesideDecode > 0, nameof(PrefillTokensBesideDecode), PrefillTokensBesideDecode, "above 0");
        Check(MaxUnread >= 32, nameof(MaxUnread), MaxUnread, "at least 32");
        Check(SidePart is >= 0 and <= 0.5, nameof(SidePart), SidePart, "from 0 to 0.5");
        Speculation?.Validate();
    }

    private static void Check(bool ok, string name, object value, string expected)
    {
        if (!ok)
            throw new ArgumentOutOfRangeException(name, value, $"{name} must be {expected}");
    }
}

/// <summary>What an engine is doing and has done.</summary>
public readonly record struct EngineStatistics
{
    /// <summary>Sequences being processed.</summary>
    public int Running { get; init; }

    /// <summary>Requests waiting.</summary>
    public int Waiting { get; init; }

    /// <summary>Cache pages.</summary>
    public int Pages { get; init; }

    /// <summary>Cache pages that nothing holds.</summary>
    public int FreePages { get; init; }

    /// <summary>Cache pages of the prefix cache.</summary>
    public int PrefixPages { get; init; }

    /// <summary>Forward passes.</summary>
    public long Steps { get; init; }

    /// <summary>Prompt tokens of requests begun.</summary>
    public long PromptTokens { get; init; }

    /// <summary>Of these, tokens found in the prefix cache.</summary>
    public long CachedTokens { get; init; }

    /// <summary>Tokens generated.</summary>
    public long GeneratedTokens { get; init; }

    /// <summary>Tokens drafted.</summary>
    public long DraftedTokens { get; init; }

    /// <summary>Drafted tokens that the model chose too.</summary>
    public long AcceptedTokens { get; init; }

    /// <summary>How often a sequence gave up its pages for a more urgent one and was computed again.</summary>
    public long Preemptions { get; init; }
}

/// <summary>As many requests wait as may wait; try again later.</summary>
/// <param name="limit">Requests that may wait.</param>
public sealed class QueueFullException(int limit) : Exception($"{limit} requests are waiting already")
{
    /// <summary>Requests that may wait.</summary>
    public int Limit { get; } = limit;
}

/// <summary>The engine is shutting down, or has.</summary>
public sealed class EngineStoppedException() : Exception("the engine is shutting down");
