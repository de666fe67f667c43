using Hadal.Inference.Constraints;
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

    /// <summary>What the output may look like; null for anything. It ends where nothing more may follow.</summary>
    public TokenConstraint? Constraint { get; init; }

    /// <summary>
    /// How many of the most probable alternatives to report with each token of the prompt; null scores no prompt. The whole prompt is computed then, whatever
    /// the prefix cache holds, and <see cref="MaxNewTokens"/> may be 0.
    /// </summary>
    public int? PromptLogprobs { get; init; }

    /// <summary>Texts that end the generation; they are not part of the output.</summary>
    public IReadOnlyList<string> StopStrings { get; init; } = [];

    /// <summary>Tokens that end the generation beside the model's own; they are not part of the output.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>Whether the model's end-of-text tokens are treated like any other.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>Requests of higher priority are served first, and pre-empt lower ones when memory runs out; equals in the order they came.</summary>
    public int Priority { get; init; }

    /// <summary>
    /// Whether this is beside the conversation (a title, tags, a follow-up question): it uses what the prefix cache holds, but puts nothing there and
    /// displaces nothing from it.
    /// </summary>
    public bool IsSideRequest { get; init; }

    /// <summary>Ends the generation this long after it was submitted, waiting included; null for no limit.</summary>
    public TimeSpan? TimeLimit { get; init; }

    /// <summary>Told how many prompt tokens are processed, on the engine's thread.</summary>
    public IProgress<int>? Progress { get; init; }
}

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>The model ended its text, or a stop string or token came.</summary>
    Stop,

    /// <summary>The limit of new tokens, or the end of the context, was reached.</summary>
    Length,

    /// <summary><see cref="GenerationRequest.TimeLimit"/> passed.</summary>
    TimeLimit,
}

/// <summary>One step of a generation.</summary>
/// <param name="Id">The token, or null in a last event that only brings held-back text and the reason.</param>
/// <param name="Text">Text that is now certain: whole characters, and no part of a stop string. May be empty. Empty throughout without a tokenizer.</param>
/// <param name="Logprob">ln p of the token, where asked for.</param>
/// <param name="TopLogprobs">The most probable alternatives, where asked for.</param>
/// <param name="FinishReason">Set in the last event.</param>
/// <param name="Usage">Set in the last event.</param>
public sealed record GenerationEvent(
    int? Id, string Text, double? Logprob = null, IReadOnlyList<TokenLogprob>? TopLogprobs = null, FinishReason? FinishReason = null, GenerationUsage? Usage = null)
{
    /// <summary>Of every token of the prompt but the first, how probable it was; in the first event, where asked for.</summary>
    public IReadOnlyList<ScoredToken>? PromptLogprobs { get; init; }
}

/// <summary>A token of a prompt with the probability that the model gives it after those before it.</summary>
/// <param name="Id">Token id.</param>
/// <param name="Logprob">ln p.</param>
/// <param name="Top">The most probable tokens at its place, most probable first.</param>
public sealed record ScoredToken(int Id, double Logprob, IReadOnlyList<TokenLogprob> Top);

/// <summary>What a generation took.</summary>
public sealed record GenerationUsage
{
    /// <summary>Tokens of the prompt.</summary>
    public required int PromptTokens { get; init; }

    /// <summary>Tokens of the prompt that were found in the prefix cache.</summary>
    public required int CachedTokens { get; init; }

    /// <summary>Tokens generated, a stop token included.</summary>
    public required int GeneratedTokens { get; init; }

    /// <summary>Forward passes that gave these tokens; fewer than tokens where drafts were accepted.</summary>
    public required int Steps { get; init; }

    /// <summary>Tokens drafted.</summary>
    public int DraftedTokens { get; init; }

    /// <summary>Of these, tokens that the model chose too.</summary>
    public int AcceptedTokens { get; init; }

    /// <summary>Accepted part of the drafts; null without drafts.</summary>
    public double? AcceptanceRate => DraftedTokens == 0 ? null : (double)AcceptedTokens / DraftedTokens;

    /// <summary>Tokens for each forward pass (the accepted drafts and one more); null before the first.</summary>
    public double? AcceptedLength => Steps == 0 ? null : (double)GeneratedTokens / Steps;
}
