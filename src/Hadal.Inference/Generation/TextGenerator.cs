using System.Runtime.CompilerServices;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Generation;

/// <summary>
/// Generates from one model, one sequence at a time. What the cache holds of an earlier call is used again where the new prompt begins with the same
/// tokens, as the turns of a chat do; the result is the same bit for bit. For one caller at a time.
/// </summary>
public sealed class TextGenerator : IDisposable
{
    private readonly DeepSeek model;
    private readonly Tokenizer? tokenizer;
    private readonly CachePool pool;
    private readonly SequenceCache cache;
    private readonly ForwardContext context;
    private readonly ForwardBatch batch = new();
    private readonly List<int> cached = [];
    private readonly float[] logits;
    private readonly int prefillChunk;

    /// <summary>Allocates the cache.</summary>
    /// <param name="model">Model; its checkpoint must stay open.</param>
    /// <param name="tokenizer">Tokenizer for text, or null to work with ids alone.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <param name="contextTokens">Tokens of prompt and output together.</param>
    /// <param name="options">Arithmetic choices.</param>
    /// <param name="prefillChunk">Prompt tokens processed at a time; no influence on the result.</param>
    public TextGenerator(DeepSeek model, Tokenizer? tokenizer, KernelThreads threads, int contextTokens, ForwardOptions? options = null, int prefillChunk = 256)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(prefillChunk);
        this.model = model;
        this.tokenizer = tokenizer;
        this.prefillChunk = prefillChunk;
        ContextTokens = Math.Min(contextTokens, model.Config.MaxPositionEmbeddings);
        pool = new CachePool(model.Config, ContextTokens);
        cache = new SequenceCache(pool);
        context = new ForwardContext(threads, options);
        logits = new float[model.Config.VocabSize];
    }

    /// <summary>Tokens that prompt and output may have together.</summary>
    public int ContextTokens { get; }

    /// <summary>Prompt tokens of the last call that were found in the cache.</summary>
    public int CachedPromptTokens { get; private set; }

    /// <summary>Generates, one event for each token; the last event has a <see cref="GenerationEvent.FinishReason"/>.</summary>
    /// <param name="request">What to do.</param>
    /// <param name="progress">Told how many prompt tokens are processed.</param>
    /// <param name="cancellation">Ends the generation between two steps.</param>
    /// <exception cref="ContextOverflowException">Prompt and <see cref="GenerationRequest.MaxNewTokens"/> do not fit the context; thrown before anything is computed.</exception>
    /// <exception cref="ArgumentException">The prompt is empty or has an id outside the vocabulary, or an option is outside its range.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; the cache stays usable.</exception>
    public IEnumerable<GenerationEvent> Generate(GenerationRequest request, IProgress<int>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        if (request.Prompt.Count == 0)
            throw new ArgumentException("the prompt has no token", nameof(request));
        foreach (var id in request.Prompt)
        {
            if ((uint)id >= (uint)model.Config.VocabSize)
                throw new ArgumentException($"token id {id} is outside the vocabulary of {model.Config.VocabSize}", nameof(request));
        }

        var needed = request.Prompt.Count + (long)(request.MaxNewTokens ?? 1);
        if (needed > ContextTokens)
            throw new ContextOverflowException((int)Math.Min(needed, int.MaxValue), ContextTokens);
        if (request.MaxNewTokens < 0)
            throw new ArgumentOutOfRangeException(nameof(request), request.MaxNewTokens, "the number of new tokens must be 0 or more");
        var run = new Run(this, request);
        return Steps(run, progress, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        cache.Dispose();
        pool.Dispose();
    }

    private IEnumerable<GenerationEvent> Steps(Run run, IProgress<int>? progress, CancellationToken cancellation)
    {
        if (run.Limit == 0)
        {
            yield return new GenerationEvent(null, string.Empty, FinishReason: FinishReason.Length);
            yield break;
        }

        Prefill(run.Request.Prompt, progress, cancellation);
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            var step = run.Next();
            yield return step;
            if (step.FinishReason is not null)
                yield break;
            Forward([step.Id!.Value]);
        }
    }

    private void Prefill(IReadOnlyList<int> prompt, IProgress<int>? progress, CancellationToken cancellation)
    {
        // The last prompt token is always computed: its logits are needed.
        var kept = 0;
        while (kept < Math.Min(cached.Count, prompt.Count - 1) && cached[kept] == prompt[kept])
            kept++;
        cache.Truncate(kept);
        cached.RemoveRange(kept, cached.Count - kept);
        CachedPromptTokens = kept;
        var chunk = new int[Math.Min(prefillChunk, prompt.Count)];
        for (var start = kept; start < prompt.Count; start += chunk.Length)
        {
            cancellation.ThrowIfCancellationRequested();
            var count = Math.Min(chunk.Length, prompt.Count - start);
            for (var i = 0; i < count; i++)
                chunk[i] = prompt[start + i];
            Forward(chunk.AsSpan(0, count), start + count == prompt.Count);
            progress?.Report(start + count);
        }
    }

    private void Forward(ReadOnlySpan<int> tokens, bool wantLogits = true)
    {
        batch.Clear();
        batch.Add(cache, tokens, wantLogits ? LogitRequest.Last : LogitRequest.None);
        model.Forward(batch, context).Logits.CopyTo(logits);
        cached.AddRange(tokens);
    }

    // The state of one call: sampling, text, and the conditions that end it.
    private sealed class Run
    {
        private readonly TextGenerator owner;
        private readonly Sampler sampler;
        private readonly StopMatcher stops;
        private readonly StreamingDetokenizer? detokenizer;
        private readonly HashSet<int> stopTokens;
        private int count;

        public Run(TextGenerator owner, GenerationRequest request)
        {
            this.owner = owner;
            Request = request;
            sampler = new Sampler(request.Sampling, request.Prompt.ToArray());
            stops = new StopMatcher(request.StopStrings);
            detokenizer = owner.tokenizer is { } t ? new StreamingDetokenizer(t) : null;
            if (detokenizer is null && request.StopStrings.Count > 0)
                throw new ArgumentException("stop strings need a tokenizer, and this model has none", nameof(request));
            stopTokens = [.. request.StopTokens];
            if (!request.IgnoreEos)
                stopTokens.UnionWith(owner.model.Config.EosTokenIds);
            Limit = Math.Min(request.MaxNewTokens ?? int.MaxValue, owner.ContextTokens - request.Prompt.Count);
        }

        public GenerationRequest Request { get; }

        public int Limit { get; }

        public GenerationEvent Next()
        {
            var (logSum, top) = Request.Sampling.TopLogprobs is { } n ? Sampler.Logprobs(owner.logits, n) : (0, null);
            var untouched = top is null ? null : (float[])owner.logits.Clone();
            var id = sampler.Sample(owner.logits);
            double? logprob = untouched is null ? null : untouched[id] - logSum;
            count++;
            if (stopTokens.Contains(id))
                return new GenerationEvent(null, Finish(), FinishReason: FinishReason.Stop);
            var text = stops.Push(detokenizer?.Push(id) ?? string.Empty);
            if (stops.Stopped)
                return new GenerationEvent(id, text, logprob, top, FinishReason.Stop);
            if (count == Limit)
                return new GenerationEvent(id, text + Finish(), logprob, top, FinishReason.Length);
            return new GenerationEvent(id, text, logprob, top);
        }

        private string Finish() => stops.Push(detokenizer?.Flush() ?? string.Empty) + stops.Flush();
    }
}
