using Hadal.Inference.Generation;

namespace Hadal.Server.Answers;

/// <summary>What an answer took, in the fields of OpenAI and of DeepSeek.</summary>
internal sealed record Usage(int PromptTokens, int CompletionTokens, int TotalTokens, int PromptCacheHitTokens, int PromptCacheMissTokens)
{
    /// <summary>OpenAI's form of the cached tokens.</summary>
    public PromptDetails PromptTokensDetails => new(PromptCacheHitTokens);

    /// <summary>Thinking, and drafts.</summary>
    public required CompletionDetails CompletionTokensDetails { get; init; }

    /// <summary>The usage of several generations on one prompt: the prompt counts once, cached as far as the first found it.</summary>
    public static Usage Of(IEnumerable<(GenerationUsage Usage, int ReasoningTokens)> generations)
    {
        var all = generations.ToList();
        var prompt = all.Max(g => g.Usage.PromptTokens);
        var cached = all.Min(g => g.Usage.CachedTokens);
        var generated = all.Sum(g => g.Usage.GeneratedTokens);
        return new Usage(prompt, generated, prompt + generated, cached, prompt - cached)
        {
            CompletionTokensDetails = new(
                all.Sum(g => g.ReasoningTokens), all.Sum(g => g.Usage.AcceptedTokens), all.Sum(g => g.Usage.DraftedTokens - g.Usage.AcceptedTokens)),
        };
    }
}

/// <summary>Tokens of the prompt that were in the prefix cache.</summary>
internal sealed record PromptDetails(int CachedTokens);

/// <summary>Of the generated tokens, those of the thinking; and drafts that held or not.</summary>
internal sealed record CompletionDetails(int ReasoningTokens, int AcceptedPredictionTokens, int RejectedPredictionTokens);
