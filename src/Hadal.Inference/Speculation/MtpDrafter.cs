using Hadal.Inference.Engine;
using Hadal.Inference.Model;

namespace Hadal.Inference.Speculation;

/// <summary>
/// Drafts with the model's first MTP module. After each forward pass the module catches up with the tokens that are certain now, which also gives its
/// first draft; further drafts come from the module's own output state, as vLLM and SGLang re-use one module (sgl-project/sglang#3582), and their rows are
/// forgotten again. All sequences of a step are drafted for together.
/// </summary>
/// <remarks>T tokens, D hidden, V vocabulary.</remarks>
internal sealed class MtpDrafter
{
    private readonly ILanguageModel model;
    private readonly ForwardContext context;
    private readonly SpeculationOptions options;
    private readonly ForwardBatch batch = new();
    private readonly List<Sequence> drafting = [];
    private readonly List<int> lastRows = [];
    private float[] states = [];

    public MtpDrafter(ILanguageModel model, ForwardContext context, SpeculationOptions options)
    {
        this.model = model;
        this.context = context;
        this.options = options;
    }

    /// <summary>Fills the module's cache, and the drafts of all sequences that decode.</summary>
    /// <param name="runs">What was computed; caches and tokens hold what of it was accepted.</param>
    /// <param name="state">[T, D]: the main model's states of all rows computed, rejected drafts included.</param>
    public void Draft(ReadOnlySpan<ScheduledRun> runs, ReadOnlySpan<float> state)
    {
        var rows = CatchUp(runs, state);
        var result = model.ForwardMtp(0, batch, states.AsSpan(0, rows * model.Config.HiddenSize), context);
        while (drafting.Count > 0)
        {
            Guess(result);
            if (drafting.Count == 0)
                break;
            batch.Clear();
            foreach (var sequence in drafting)
                batch.Add(sequence.Cache!, [sequence.Drafts[^1]], LogitRequest.Last);
            result = model.ForwardMtp(0, batch, states.AsSpan(0, drafting.Count * model.Config.HiddenSize), context);
        }

        foreach (var run in runs)
            run.Sequence.Cache!.TruncateMtp(0, run.Sequence.Cache.Length);
    }

    // Row i of the module takes the state at i and the token at i + 1, so it lags until that token is chosen.
    private int CatchUp(ReadOnlySpan<ScheduledRun> runs, ReadOnlySpan<float> state)
    {
        var width = model.Config.HiddenSize;
        if (states.Length < state.Length)
            states = new float[Math.Max(state.Length, 2 * states.Length)];
        batch.Clear();
        drafting.Clear();
        lastRows.Clear();
        var (from, to) = (0, 0);
        foreach (var run in runs)
        {
            var sequence = run.Sequence;
            var cache = sequence.Cache!;
            var done = cache.LengthOf(0);
            var count = cache.Length - done;
            state.Slice(from * width, count * width).CopyTo(states.AsSpan(to * width));
            from += run.Count + run.Drafts;
            to += count;
            sequence.Drafts.Clear();
            var drafts = Wanted(sequence) > 0;
            batch.Add(cache, sequence.Tokens.Slice(done + 1, count), drafts ? LogitRequest.Last : LogitRequest.None);
            if (!drafts)
                continue;
            drafting.Add(sequence);
            lastRows.Add(to - 1);
        }

        return to;
    }

    private int Wanted(Sequence sequence) => sequence.IsFinished || sequence.IsPrefilling ? 0 : Math.Min(options.DraftTokens, sequence.Output.Limit - sequence.Output.Count - 1);

    // Adds a draft to each sequence, keeps the states of those that want another, and drops the others.
    private void Guess(ForwardResult result)
    {
        var (width, vocabulary) = (model.Config.HiddenSize, model.Config.VocabSize);
        var state = result.State(context.Options.MtpInput);
        var kept = 0;
        for (var i = 0; i < drafting.Count; i++)
        {
            var sequence = drafting[i];
            var logits = result.Logits.Slice(i * vocabulary, vocabulary);
            sequence.Drafts.Add(options.Acceptance == DraftAcceptance.Rejection ? Draw(sequence, logits) : sequence.Sampler.Guess(logits, sequence.Drafts.Count));
            if (sequence.Drafts.Count == Wanted(sequence))
                continue;
            state.Slice(lastRows[i] * width, width).CopyTo(states.AsSpan(kept * width));
            drafting[kept] = sequence;
            lastRows[kept] = kept;
            kept++;
        }

        drafting.RemoveRange(kept, drafting.Count - kept);
        lastRows.RemoveRange(kept, lastRows.Count - kept);
    }

    private int Draw(Sequence sequence, Span<float> logits)
    {
        if (sequence.DraftDistributions.Length == 0)
            sequence.DraftDistributions = new double[options.DraftTokens][];
        ref var distribution = ref sequence.DraftDistributions[sequence.Drafts.Count];
        distribution ??= new double[logits.Length];
        return sequence.Sampler.Draft(logits, sequence.Drafts.Count, distribution);
    }
}
