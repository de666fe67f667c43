using Hadal.Checkpoints;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Cache;
using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Numerics.Threading;

namespace Hadal.Evaluation.Models;

/// <summary>
/// A model that runs in this process: what is scored is what <c>hadal generate</c> and the server run. Log-likelihoods share every beginning that texts have
/// in common (<see cref="PrefixScorer"/>); generations go through the engine, many at once. Values depend neither on batches nor on threads.
/// </summary>
public sealed class InProcessModel : IEvaluationModel
{
    private readonly ILanguageModel model;
    private readonly Tokenizer tokenizer;
    private readonly KernelThreads threads;
    private readonly InProcessOptions options;
    private PrefixScorer? scorer;
    private InferenceEngine? engine;

    /// <summary>Takes a model that is open.</summary>
    /// <param name="model">Model; it and its checkpoint must outlive this object.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="threads">Pool of the kernels; must outlive this object.</param>
    /// <param name="identity">What it is called and how it is told apart.</param>
    /// <param name="options">Memory and arithmetic; null for the defaults.</param>
    public InProcessModel(ILanguageModel model, Tokenizer tokenizer, KernelThreads threads, ModelIdentity identity, InProcessOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(threads);
        ArgumentNullException.ThrowIfNull(identity);
        this.model = model;
        this.tokenizer = tokenizer;
        this.threads = threads;
        this.options = options ?? new InProcessOptions();
        Window = Math.Min(this.options.Window, model.Config.MaxPositionEmbeddings);
        Identity = identity;
        if (tokenizer.VocabSize > model.Config.VocabSize)
            throw new InvalidDataException($"the tokenizer has {tokenizer.VocabSize} tokens, but the model knows {model.Config.VocabSize}");
    }

    /// <inheritdoc/>
    public ModelIdentity Identity { get; }

    /// <summary>Tokens that prompt and output, or context and continuation, may have together.</summary>
    public int Window { get; }

    /// <summary>Tokens that went through the model for log-likelihoods so far.</summary>
    public long ScoredTokens => scorer?.ComputedTokens ?? 0;

    /// <summary>Names a checkpoint: its folder's name, a hash of its weights and arithmetic, its parameters.</summary>
    public static ModelIdentity IdentityOf(Checkpoint checkpoint, ForwardOptions forward, int window)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(forward);
        var count = ParameterCount.Of(checkpoint);
        var name = Path.GetFileNameWithoutExtension(Path.TrimEndingDirectorySeparator(Path.GetFullPath(checkpoint.Path)));
        return new ModelIdentity(
            name,
            Convert.ToHexStringLower(ModelFingerprint.Compute(checkpoint, forward)),
            count.Total,
            count.Activated,
            $"hadal in process, activations {forward.Activations}, window {Math.Min(window, checkpoint.Config.MaxPositionEmbeddings)} tokens");
    }

    /// <inheritdoc/>
    public Task CheckAsync(bool loglikelihood, CancellationToken cancellation) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task<IReadOnlyList<Loglikelihood>> LoglikelihoodsAsync(IReadOnlyList<LoglikelihoodRequest> requests, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(requests);
        var texts = requests.Select(r => ScoredText.Of(tokenizer, r.Context, r.Continuation, Window + 1)).ToList();
        return Compute<IReadOnlyList<Loglikelihood>>(() => Scorer().Score(texts, cancellation), cancellation);
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<Loglikelihood>> RollingAsync(IReadOnlyList<string> texts, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(texts);
        var windows = texts.Select(t => RollingWindows.Of(tokenizer, t, Window)).ToList();
        return Compute<IReadOnlyList<Loglikelihood>>(
            () =>
            {
                var scores = Scorer().Score([.. windows.SelectMany(w => w)], cancellation);
                var at = 0;
                return [.. windows.Select(w =>
                {
                    var own = scores.AsSpan(at, w.Count).ToArray();
                    at += w.Count;
                    return new Loglikelihood(own.Sum(s => s.Sum), own.Sum(s => s.Tokens), Array.TrueForAll(own, s => s.IsGreedy));
                })];
            },
            cancellation);
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<Generation>> GenerateAsync(IReadOnlyList<GenerationInput> inputs, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        var results = new Generation[inputs.Count];
        using var places = new SemaphoreSlim(options.MaxSequences);
        await Task.WhenAll(inputs.Select(async (input, i) =>
        {
            await places.WaitAsync(cancellation);
            try
            {
                results[i] = await GenerateAsync(input, cancellation);
            }
            finally
            {
                places.Release();
            }
        }));
        return results;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        scorer?.Dispose();
        if (engine is not null)
            await engine.DisposeAsync();
    }

    private async Task<Generation> GenerateAsync(GenerationInput input, CancellationToken cancellation)
    {
        var ids = tokenizer.Encode(input.Prompt, tokenizer.AddBos, parseSpecial: false);
        if (ids.Length == 0)
            ids = [ScoredText.Beginning(tokenizer)];
        var newTokens = Math.Min(input.MaxTokens, Math.Max(1, Window / 2));

        // A prompt that is too long loses its beginning, as in lm-evaluation-harness: the question is at the end.
        if (ids.Length + newTokens > Window)
            ids = ids[^(Window - newTokens)..];
        var request = new GenerationRequest
        {
            Prompt = ids,
            MaxNewTokens = newTokens,
            StopStrings = input.Stop,
            Sampling = new SamplingOptions { Temperature = input.Temperature, TopP = input.TopP, Seed = input.Seed },
        };
        var text = new System.Text.StringBuilder();
        var reason = FinishReason.Stop;
        await foreach (var step in Engine().Submit(request, cancellation))
        {
            text.Append(step.Text);
            reason = step.FinishReason ?? reason;
        }

        return new Generation(text.ToString(), reason == FinishReason.Length);
    }

    // The model computes on its own threads and this one waits for it, away from the caller's.
    private static Task<T> Compute<T>(Func<T> work, CancellationToken cancellation) =>
        Task.Factory.StartNew(work, cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private PrefixScorer Scorer() =>
        scorer ??= new PrefixScorer(model, new ForwardContext(threads, options.Forward), options.CacheTokens, Window);

    private InferenceEngine Engine() => engine ??= new InferenceEngine(model, tokenizer, threads, new EngineOptions
    {
        CacheTokens = Math.Max(options.CacheTokens, Window),
        ContextTokens = Window,
        MaxSequences = options.MaxSequences,
        MaxWaiting = Math.Max(256, options.MaxSequences),
        Forward = options.Forward,
        SidePart = 0,
    });
}

/// <summary>Memory and arithmetic of an <see cref="InProcessModel"/>. Of these only <see cref="Window"/> and <see cref="Forward"/> change a score.</summary>
public sealed record InProcessOptions
{
    /// <summary>Most tokens of prompt and output, or context and continuation.</summary>
    public int Window { get; init; } = 4096;

    /// <summary>Tokens of the cache for log-likelihoods, and again of the one for generation.</summary>
    public int CacheTokens { get; init; } = 16384;

    /// <summary>Generations at once.</summary>
    public int MaxSequences { get; init; } = 16;

    /// <summary>Arithmetic choices.</summary>
    public ForwardOptions Forward { get; init; } = new();
}
