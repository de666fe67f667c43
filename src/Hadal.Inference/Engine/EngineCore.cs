using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Cache;
using Hadal.Inference.Constraints;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Inference.Speculation;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Engine;

/// <summary>
/// The generation loop, the only one there is, a step at a time: schedule, forward, choose, draft, settle. For one thread; <see cref="InferenceEngine"/> is that thread.
/// </summary>
/// <remarks>V vocabulary.</remarks>
internal sealed class EngineCore : IDisposable
{
    private readonly ILanguageModel model;
    private readonly Tokenizer? tokenizer;
    private readonly EngineOptions options;
    private readonly TimeProvider time;
    private readonly ForwardContext context;
    private readonly ForwardBatch batch = new();
    private readonly Scheduler scheduler;
    private readonly MtpDrafter? mtp;
    private readonly bool looksUp;
    private readonly List<Sequence> ended = [];
    private readonly List<int> input = [];
    private readonly List<(Sequence Sequence, int Row)> draws = [];
    private float[] untouched = [];
    private long arrivals;
    private EngineStatistics totals;

    public EngineCore(ILanguageModel model, Tokenizer? tokenizer, KernelThreads threads, EngineOptions options, TimeProvider time)
    {
        options.Validate();
        this.model = model;
        this.tokenizer = tokenizer;
        this.options = options;
        this.time = time;
        context = new ForwardContext(threads, options.Forward);
        ContextTokens = Math.Min(options.ContextTokens ?? int.MaxValue, Math.Min(model.Config.MaxPositionEmbeddings, options.CacheTokens));
        if (options.Speculation is { } speculation)
        {
            if (speculation.Source == DraftSource.Mtp && model.MtpModules == 0)
                throw new ArgumentException("drafts from MTP were asked for, but this model has no MTP module", nameof(options));
            looksUp = speculation.Source == DraftSource.PromptLookup || model.MtpModules == 0;
            mtp = looksUp ? null : new MtpDrafter(model, context, speculation);
        }

        Pool = new CachePool(model.Config, options.CacheTokens, options.PageTokens, options.Forward.Cache);
        Tree = new PrefixTree(Pool, lookahead: mtp is not null);
        Tree.MaxPages = Pool.PageCount - (int)(Pool.PageCount * options.SidePart);
        scheduler = new Scheduler(Pool, Tree, options, mtp is null ? 0 : options.Speculation!.DraftTokens);
    }

    /// <summary>Tokens that prompt and output of a request may have together.</summary>
    public int ContextTokens { get; }

    public CachePool Pool { get; }

    public PrefixTree Tree { get; }

    public bool IsIdle => scheduler.Running.Count == 0 && scheduler.Waiting.Count == 0;

    public EngineStatistics Statistics => totals with
    {
        Running = scheduler.Running.Count, Waiting = scheduler.Waiting.Count, Pages = Pool.PageCount, FreePages = Pool.FreePages, PrefixPages = Tree.Pages,
        Preemptions = scheduler.Preemptions,
    };

    /// <summary>Token ids are below this.</summary>
    public int VocabSize => model.Config.VocabSize;

    /// <summary>Checks a request and makes its sequence. Safe from any thread.</summary>
    /// <exception cref="ContextOverflowException">Prompt and output do not fit the context.</exception>
    /// <exception cref="ArgumentException">The prompt is empty or has an id outside the vocabulary, or an option is outside its range.</exception>
    public Sequence Prepare(GenerationRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        if (request.Prompt.Count == 0)
            throw new ArgumentException("the prompt has no token", nameof(request));
        foreach (var id in request.Prompt)
        {
            if ((uint)id >= (uint)model.Config.VocabSize)
                throw new ArgumentException($"token id {id} is outside the vocabulary of {model.Config.VocabSize}", nameof(request));
        }

        foreach (var id in request.Sampling.LogitBias.Keys)
        {
            if ((uint)id >= (uint)model.Config.VocabSize)
                throw new ArgumentException($"token id {id} of a bias is outside the vocabulary of {model.Config.VocabSize}", nameof(request));
        }

        if (request.MaxNewTokens < 0)
            throw new ArgumentOutOfRangeException(nameof(request), request.MaxNewTokens, "the number of new tokens must be 0 or more");
        if (request.TimeLimit < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(request), request.TimeLimit, "the time limit must be 0 or more");
        var needed = request.Prompt.Count + (long)(request.MaxNewTokens ?? 1);
        if (needed > ContextTokens)
            throw new ContextOverflowException((int)Math.Min(needed, int.MaxValue), ContextTokens);
        var output = new OutputText(request, tokenizer, model.Config.EosTokenIds, request.MaxNewTokens ?? (ContextTokens - request.Prompt.Count));
        return new Sequence(request, Interlocked.Increment(ref arrivals), time.GetTimestamp(), output, options.MaxUnread);
    }

    /// <summary>Queues a sequence; one that may generate nothing ends at once.</summary>
    public void Add(Sequence sequence)
    {
        if (sequence.Output.Limit == 0 && !sequence.ScoresPrompt)
            End(sequence, FinishReason.Length);
        else
            scheduler.Add(sequence);
    }

    /// <summary>Ends what was cancelled or has run out of time.</summary>
    public void Retire()
    {
        ended.Clear();
        foreach (var sequence in scheduler.Waiting)
            AddIfEnded(sequence);
        foreach (var sequence in scheduler.Running)
            AddIfEnded(sequence);
        foreach (var sequence in ended)
        {
            scheduler.Remove(sequence);
            if (sequence.IsCancelled)
                sequence.Complete(new OperationCanceledException("the request was cancelled"));
            else
                End(sequence, FinishReason.TimeLimit);
        }
    }

    /// <summary>Ends every sequence with an error.</summary>
    public void Abandon(Exception error)
    {
        ended.Clear();
        ended.AddRange(scheduler.Waiting);
        ended.AddRange(scheduler.Running);
        foreach (var sequence in ended)
            Fail(sequence, error);
    }

    /// <summary>One step. A failure ends the sequences that were in it, and no other.</summary>
    /// <returns>Whether there was anything to do.</returns>
    public bool Step()
    {
        var runs = scheduler.Schedule();
        if (runs.IsEmpty)
            return false;
        try
        {
            FillBatch(runs);
            var result = model.Forward(batch, context);
            Choose(runs, result.Logits);
            mtp?.Draft(runs, result.State(options.Forward.MtpInput));
            Settle(runs);
            totals = totals with { Steps = totals.Steps + 1 };
        }
#pragma warning disable CA1031 // Whatever went wrong goes to those who asked; the others are served on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            foreach (var run in runs)
                Fail(run.Sequence, e);
        }

        return true;
    }

    /// <summary>Checks that every cache page is accounted for.</summary>
    /// <exception cref="InvalidOperationException">The books do not balance.</exception>
    public void CheckIntegrity() => scheduler.CheckIntegrity();

    /// <inheritdoc/>
    public void Dispose()
    {
        Abandon(new EngineStoppedException());
        Tree.Dispose();
        Pool.Dispose();
    }

    private static void End(Sequence sequence, FinishReason reason)
    {
        sequence.Publish(new GenerationEvent(null, sequence.Output.Finish(), FinishReason: reason, Usage: sequence.Usage));
        sequence.Complete(null);
    }

    private void AddIfEnded(Sequence sequence)
    {
        if (sequence.IsCancelled || (sequence.Request.TimeLimit is { } limit && time.GetElapsedTime(sequence.Submitted) >= limit))
            ended.Add(sequence);
    }

    private void Fail(Sequence sequence, Exception error)
    {
        scheduler.Remove(sequence);
        sequence.Complete(error);
    }

    private void FillBatch(ReadOnlySpan<ScheduledRun> runs)
    {
        batch.Clear();
        batch.LogitsOnly = mtp is null;
        foreach (var run in runs)
        {
            var (sequence, cache) = (run.Sequence, run.Sequence.Cache!);
            input.Clear();
            input.AddRange(sequence.Tokens.Slice(cache.Length, run.Count));
            input.AddRange(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(sequence.Drafts)[..run.Drafts]);
            var logits = sequence.ScoresPrompt ? LogitRequest.All : !run.Chooses ? LogitRequest.None : run.Drafts > 0 ? LogitRequest.All : LogitRequest.Last;
            batch.Add(cache, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(input), logits);
        }
    }

    private void Choose(ReadOnlySpan<ScheduledRun> runs, Span<float> logits)
    {
        var vocabulary = model.Config.VocabSize;
        DrawTogether(runs, logits);
        var row = 0;
        foreach (var run in runs)
        {
            var sequence = run.Sequence;
            if (run.Count > 1 || sequence.Output.Count == 0)
                sequence.Request.Progress?.Report(Math.Min(sequence.PromptTokens, sequence.Cache!.Length));
            if (sequence.ScoresPrompt)
            {
                var rows = logits.Slice(row * vocabulary, run.Count * vocabulary);
                row += run.Count;
                ScorePrompt(sequence, run.Count, rows);
                if (run.Chooses)
                    ChooseTokens(sequence, 0, rows[^vocabulary..]);
                continue;
            }

            if (!run.Chooses)
                continue;
            ChooseTokens(sequence, run.Drafts, logits.Slice(row * vocabulary, (run.Drafts + 1) * vocabulary));
            row += run.Drafts + 1;
        }
    }

    // What needs nothing but its own row of logits is drawn on all threads.
    private void DrawTogether(ReadOnlySpan<ScheduledRun> runs, Span<float> logits)
    {
        draws.Clear();
        var row = 0;
        foreach (var run in runs)
        {
            var sequence = run.Sequence;
            row += sequence.ScoresPrompt ? run.Count : run.Chooses ? run.Drafts + 1 : 0;
            if (run.Chooses && !sequence.ScoresPrompt && run.Drafts == 0 && sequence.Constraint is null && sequence.Request.Sampling.TopLogprobs is null && sequence.Output.Limit > 0)
                draws.Add((sequence, row - 1));
        }

        if (draws.Count > 1)
            context.Threads.Run(draws.Count, 1, new SampleJob(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(draws), logits, model.Config.VocabSize));
    }

    // Row j of the logits follows the j-th of the tokens computed last. After a pre-emption some are computed again.
    private void ScorePrompt(Sequence sequence, int count, Span<float> logits)
    {
        var vocabulary = model.Config.VocabSize;
        var first = sequence.Cache!.Length - count;
        for (var j = 0; j < count; j++)
        {
            var next = first + j + 1;
            if (next >= sequence.PromptTokens || next <= sequence.PromptScores.Count)
                continue;
            var row = logits.Slice(j * vocabulary, vocabulary);
            var (logSum, top) = Sampler.Logprobs(row, sequence.Request.PromptLogprobs!.Value);
            var id = sequence.Tokens[next];
            sequence.PromptScores.Add(new ScoredToken(id, row[id] - logSum, top));
        }
    }

    // Row j of the logits follows draft j - 1. A draft that is not what was chosen ends the step: what was computed behind it does not hold.
    private void ChooseTokens(Sequence sequence, int drafts, Span<float> logits)
    {
        var vocabulary = model.Config.VocabSize;
        sequence.Steps++;
        if (sequence.Output.Limit == 0)
        {
            sequence.IsFinished = true;
            sequence.Publish(new GenerationEvent(null, string.Empty, FinishReason: FinishReason.Length, Usage: sequence.Usage));
        }

        sequence.DraftedTokens += drafts;
        totals = totals with { DraftedTokens = totals.DraftedTokens + drafts };
        for (var j = 0; j <= drafts && !sequence.IsFinished; j++)
        {
            var draft = j < drafts ? sequence.Drafts[j] : -1;
            if (ChooseToken(sequence, logits.Slice(j * vocabulary, vocabulary), draft, j) != draft)
                break;
        }

        // The last token chosen counts as not computed, even where it was a draft.
        sequence.Cache!.Truncate(sequence.Tokens.Length - 1);
    }

    private int ChooseToken(Sequence sequence, Span<float> logits, int draft, int index)
    {
        double logSum = 0;
        IReadOnlyList<TokenLogprob>? top = null;
        if (sequence.Request.Sampling.TopLogprobs is { } count)
        {
            (logSum, top) = Sampler.Logprobs(logits, count);
            if (untouched.Length < logits.Length)
                untouched = new float[logits.Length];
            logits.CopyTo(untouched);
        }

        if (!Hold(sequence, logits))
            return -1;
        var rejects = draft >= 0 && mtp is not null && options.Speculation!.Acceptance == DraftAcceptance.Rejection;
        var token = sequence.Drawn ?? (rejects ? sequence.Sampler.SampleAfterDraft(logits, draft, sequence.DraftDistributions[index]) : sequence.Sampler.Sample(logits));
        sequence.Drawn = null;
        sequence.Append(token);
        var accepted = token == draft ? 1 : 0;
        sequence.AcceptedTokens += accepted;
        totals = totals with { GeneratedTokens = totals.GeneratedTokens + 1, AcceptedTokens = totals.AcceptedTokens + accepted };
        sequence.Constraint?.Accept(token);
        var (id, text, reason) = sequence.Output.Push(token, isLast: sequence.Constraint?.IsComplete == true);
        if (reason == FinishReason.Stop && sequence.Constraint?.WasCutShort == true)
            reason = FinishReason.Length;
        sequence.IsFinished = reason is not null;
        double? logprob = top is null || id is null ? null : untouched[token] - logSum;
        sequence.Publish(new GenerationEvent(id, text, logprob, id is null ? null : top, reason, sequence.IsFinished ? sequence.Usage : null));
        return token;
    }

    // Forbids what the form of the output forbids. A form that cannot be followed any further ends its own sequence only.
    private static bool Hold(Sequence sequence, Span<float> logits)
    {
        try
        {
            sequence.Constraint?.Apply(logits, sequence.Output.Limit - sequence.Output.Count);
            return true;
        }
        catch (ConstraintException e)
        {
            (sequence.Failure, sequence.IsFinished) = (e, true);
            return false;
        }
    }

    private void Settle(ReadOnlySpan<ScheduledRun> runs)
    {
        foreach (var run in runs)
        {
            var sequence = run.Sequence;
            if (!sequence.IsCounted)
                totals = totals with { PromptTokens = totals.PromptTokens + sequence.PromptTokens, CachedTokens = totals.CachedTokens + sequence.CachedTokens };
            sequence.IsCounted = true;
            if (sequence.IsFinished)
            {
                scheduler.Remove(sequence);
                sequence.Complete(sequence.Failure);
                continue;
            }

            scheduler.Remember(sequence);
            if (looksUp)
                LookUp(sequence);
        }
    }

    private void LookUp(Sequence sequence)
    {
        sequence.Drafts.Clear();
        if (sequence.IsPrefilling)
            return;
        Span<int> drafts = stackalloc int[Math.Max(0, Math.Min(options.Speculation!.DraftTokens, sequence.Output.Limit - sequence.Output.Count - 1))];
        sequence.Drafts.AddRange(drafts[..PromptLookup.Draft(sequence.Tokens, drafts)]);
    }
}
