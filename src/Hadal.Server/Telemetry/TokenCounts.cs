using Hadal.Inference.Generation;

namespace Hadal.Server.Telemetry;

/// <summary>Counts the tokens of a request's generations as they come, so that those of a client that went away are known, too. Safe for use from several threads.</summary>
internal sealed class TokenCounts
{
    private long input;
    private long cached;
    private long output;

    /// <summary>Tokens of prompts; a prompt with several answers counts once for each, one whose client went away before the first token not at all.</summary>
    public long Input => Interlocked.Read(ref input);

    /// <summary>Those of them that were found in the cache, as far as generations came to an end.</summary>
    public long Cached => Interlocked.Read(ref cached);

    /// <summary>Tokens generated.</summary>
    public long Output => Interlocked.Read(ref output);

    /// <summary>Begins a generation, which is counted while it is read.</summary>
    /// <param name="engine">What generates.</param>
    /// <param name="request">The request.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="Inference.Engine.QueueFullException">Too many requests are waiting.</exception>
    public IAsyncEnumerable<GenerationEvent> Submit(Inference.Engine.InferenceEngine engine, GenerationRequest request, CancellationToken cancellation) =>
        Count(engine.Submit(request, cancellation), request.Prompt.Count);

    private async IAsyncEnumerable<GenerationEvent> Count(IAsyncEnumerable<GenerationEvent> events, int promptTokens)
    {
        var tokens = 0;
        GenerationUsage? usage = null;
        try
        {
            await foreach (var step in events)
            {
                tokens += step.Id is null ? 0 : 1;
                usage ??= step.Usage;
                yield return step;
            }
        }
        finally
        {
            Interlocked.Add(ref input, usage?.PromptTokens ?? (tokens > 0 ? promptTokens : 0));
            Interlocked.Add(ref cached, usage?.CachedTokens ?? 0);
            Interlocked.Add(ref output, usage?.GeneratedTokens ?? tokens);
        }
    }
}
