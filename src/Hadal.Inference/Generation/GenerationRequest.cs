using Hadal.Inference.Sampling;

namespace Hadal.Inference.Generation;

/// <summary>What to generate from, how, and when to stop.</summary>
public sealed record GenerationRequest
{
    /// <summary>Prompt ids, at least one.</summary>
    public required IReadOnlyList<int> Prompt { get; init; }

    /// <summary>Most tokens to generate; null generates until the model stops or the context is full.</summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>How tokens are chosen.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Texts that end the generation; they are not part of the output.</summary>
    public IReadOnlyList<string> StopStrings { get; init; } = [];

    /// <summary>Tokens that end the generation beside the model's own; they are not part of the output.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>Whether the model's end-of-text tokens are treated like any other.</summary>
    public bool IgnoreEos { get; init; }
}

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>The model ended its text, or a stop string or token came.</summary>
    Stop,

    /// <summary>The limit of new tokens, or the end of the context, was reached.</summary>
    Length,
}

/// <summary>One step of a generation.</summary>
/// <param name="Id">The token, or null in a last event that only brings held-back text and the reason.</param>
/// <param name="Text">Text that is now certain: whole characters, and no part of a stop string. May be empty. Empty throughout without a tokenizer.</param>
/// <param name="Logprob">ln p of the token, where asked for.</param>
/// <param name="TopLogprobs">The most probable alternatives, where asked for.</param>
/// <param name="FinishReason">Set in the last event.</param>
public sealed record GenerationEvent(int? Id, string Text, double? Logprob = null, IReadOnlyList<TokenLogprob>? TopLogprobs = null, FinishReason? FinishReason = null);
