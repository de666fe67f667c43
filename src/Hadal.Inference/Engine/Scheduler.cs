using System.Runtime.InteropServices;
using Hadal.Inference.Cache;

namespace Hadal.Inference.Engine;

/// <summary>One sequence's part in a step.</summary>
/// <param name="Sequence">Who.</param>
/// <param name="Count">Of its tokens, how many are computed.</param>
/// <param name="Drafts">Drafts computed behind them.</param>
/// <param name="Chooses">Whether these are its last tokens, so that the next is chosen.</param>
internal readonly record struct ScheduledRun(Sequence Sequence, int Count, int Drafts, bool Chooses);

/// <summary>
/// Decides what the next step computes. No I/O, no threads, no clock: the same operations give the same decisions. Sequences stand in one order, higher
/// priority first, then earlier arrival; memory is taken from the end of it.
/// </summary>
/// <remarks>
/// Continuous batching (Orca, OSDI 2022) with chunked prefill (Sarathi-Serve, arXiv 2403.02310): every decoding sequence is in every step, prompts fill a
/// budget beside them. A sequence without pages for its next token takes those of the last in order, which waits and is computed again; the result is the
/// same, bit for bit. A sequence whose reader has stopped gives way in the same manner, so that it holds neither pages nor a place for ever.
/// </remarks>
internal sealed class Scheduler
{
    // Each of these rows has logits of the whole vocabulary.
    private const int ScoredRows = 32;

    private readonly CachePool pool;
    private readonly PrefixTree tree;
    private readonly EngineOptions options;
    private readonly int draftRows;
    private readonly List<Sequence> waiting = [];
    private readonly List<Sequence> running = [];
    private readonly List<ScheduledRun> runs = [];

    /// <param name="pool">Pages.</param>
    /// <param name="tree">Pages known by their tokens.</param>
    /// <param name="options">Checked options.</param>
    /// <param name="draftRows">Rows that drafting writes behind those of the verified tokens.</param>
    public Scheduler(CachePool pool, PrefixTree tree, EngineOptions options, int draftRows)
    {
        this.pool = pool;
        this.tree = tree;
        this.options = options;
        this.draftRows = draftRows;
    }

    /// <summary>Sequences not yet admitted, or pre-empted, in order.</summary>
    public IReadOnlyList<Sequence> Waiting => waiting;

    /// <summary>Sequences with pages, in order.</summary>
    public IReadOnlyList<Sequence> Running => running;

    public long Preemptions { get; private set; }

    /// <summary>Queues a sequence.</summary>
    public void Add(Sequence sequence) => Insert(waiting, sequence);

    /// <summary>Forgets a sequence that has ended, however it ended; what it computed is remembered by its tokens.</summary>
    public void Remove(Sequence sequence)
    {
        if (!waiting.Remove(sequence))
            running.Remove(sequence);
        Release(sequence);
    }

    /// <summary>Lets later requests share the full pages computed so far.</summary>
    public void Remember(Sequence sequence)
    {
        var rows = CompleteRows(sequence) / pool.PageTokens * pool.PageTokens;
        if (rows <= sequence.Remembered || sequence.Request.IsSideRequest)
            return;
        tree.Insert(sequence.Tokens, sequence.Cache!, rows);
        sequence.Remembered = rows;
    }

    /// <summary>What the next step computes; empty when there is nothing to do, or nothing can be done before a reader reads. Valid until the next call.</summary>
    public ReadOnlySpan<ScheduledRun> Schedule()
    {
        runs.Clear();
        var preemptions = Preemptions;
        var budget = options.PrefillTokens;
        foreach (var sequence in running)
        {
            if (!sequence.IsPrefilling && !sequence.IsPaused)
                budget = options.PrefillTokensBesideDecode;
        }

        // Those taken to make room stand behind the one that needs it, so they are not in this step yet.
        for (var i = 0; i < running.Count;)
        {
            var sequence = running[i];
            ScheduleRunning(sequence, ref budget);
            if (i < running.Count && running[i] == sequence)
                i++;
        }

        if (preemptions == Preemptions)
            Admit(ref budget);
        return CollectionsMarshal.AsSpan(runs);
    }

    /// <summary>Checks every page of pool, tree and sequences.</summary>
    /// <exception cref="InvalidOperationException">The books do not balance.</exception>
    public void CheckIntegrity()
    {
        foreach (var sequence in waiting)
        {
            if (sequence.Cache is not null)
                throw new InvalidOperationException("a waiting sequence has pages");
        }

        tree.CheckIntegrity(running.Select(s => s.Cache ?? throw new InvalidOperationException("a running sequence has no pages")));
    }

    private static void Insert(List<Sequence> list, Sequence sequence)
    {
        var i = list.Count;
        while (i > 0 && Sequence.Compare(list[i - 1], sequence) > 0)
            i--;
        list.Insert(i, sequence);
    }

    private void ScheduleRunning(Sequence sequence, ref int budget)
    {
        if (sequence.IsPaused)
            return;
        if (sequence.IsPrefilling)
        {
            AddChunk(sequence, ref budget);
            return;
        }

        var cache = sequence.Cache!;
        var rows = RowsFor(sequence, cache.Length + 1 + sequence.Drafts.Count);
        var mayEvict = !sequence.Request.IsSideRequest || running.Count == 1;
        while (!MakeRoom(cache.PagesMissing(rows), mayEvict))
        {
            var last = mayEvict ? Paused() ?? running[^1] : sequence;
            Preempt(last);
            if (last == sequence)
                return;
        }

        cache.Reserve(rows);
        runs.Add(new ScheduledRun(sequence, 1, sequence.Drafts.Count, Chooses: true));
    }

    private void AddChunk(Sequence sequence, ref int budget)
    {
        var count = Math.Min(budget, sequence.Pending);
        if (sequence.ScoresPrompt)
            count = Math.Min(count, ScoredRows);
        if (count == 0)
            return;
        budget -= count;
        runs.Add(new ScheduledRun(sequence, count, 0, Chooses: count == sequence.Pending));
    }

    private void Admit(ref int budget)
    {
        for (var i = 0; i < waiting.Count && budget > 0;)
        {
            var sequence = waiting[i];
            if (sequence.IsPaused || WillBeShared(sequence))
            {
                i++;
                continue;
            }

            // No one overtakes: a large request would wait for ever behind small ones. But whoever has a reader goes before those whose readers have
            // stopped: they give up their pages, and are computed again when they are read on.
            if (running.Count >= options.MaxSequences || !TryAdmit(sequence))
            {
                if (Paused() is not { } paused)
                    return;
                Preempt(paused);
                i = 0;
                continue;
            }

            waiting.RemoveAt(i);
            Insert(running, sequence);
            if (!sequence.WasAdmitted)
                sequence.CachedTokens = sequence.Cache!.Length;
            sequence.WasAdmitted = true;
            AddChunk(sequence, ref budget);
        }
    }

    private Sequence? Paused() => running.FindLast(static s => s.IsPaused);

    // Whether a running prefill is about to compute a page that this sequence begins with as well.
    private bool WillBeShared(Sequence sequence)
    {
        if (sequence.ScoresPrompt)
            return false;
        var known = -1;
        foreach (var other in running)
        {
            if (!other.IsPrefilling || other.Request.IsSideRequest)
                continue;
            var common = Math.Min(sequence.Tokens.CommonPrefixLength(other.Tokens), sequence.Tokens.Length - 1);
            if (common < pool.PageTokens)
                continue;
            if (known < 0)
                known = tree.Match(sequence.Tokens);
            if (common / pool.PageTokens > known / pool.PageTokens)
                return true;
        }

        return false;
    }

    // All pages of the prompt are taken at once, so that no two prompts are admitted on the same free pages.
    private bool TryAdmit(Sequence sequence)
    {
        var isSide = sequence.Request.IsSideRequest;
        var mayEvict = !isSide || running.Count == 0;
        if (pool.FreePages == 0 && !(mayEvict && tree.Evict(1) > 0))
            return false;
        var cache = new SequenceCache(pool);
        if (!sequence.ScoresPrompt)
            tree.Adopt(sequence.Tokens, cache, touch: !isSide);
        var rows = RowsFor(sequence, sequence.Tokens.Length);
        var missing = cache.PagesMissing(rows);
        if (missing > pool.FreePages + (mayEvict ? tree.EvictablePages : 0))
        {
            cache.Dispose();
            return false;
        }

        MakeRoom(missing, mayEvict);
        cache.Reserve(rows);
        sequence.Cache = cache;
        sequence.Remembered = cache.Length;
        return true;
    }

    // Drafting writes a few rows behind those it starts from, but never as many as the request may have in all.
    private int RowsFor(Sequence sequence, int rows) => Math.Min(rows + draftRows, sequence.PromptTokens + sequence.Output.Limit);

    private bool MakeRoom(int pages, bool mayEvict)
    {
        var lacking = pages - pool.FreePages;
        return lacking <= 0 || (mayEvict && tree.Evict(lacking) == lacking);
    }

    private void Preempt(Sequence sequence)
    {
        Preemptions++;
        running.Remove(sequence);
        Release(sequence);
        sequence.Drafts.Clear();
        Insert(waiting, sequence);
    }

    private void Release(Sequence sequence)
    {
        if (sequence.Cache is not { } cache)
            return;
        if (!sequence.Request.IsSideRequest)
            tree.Insert(sequence.Tokens, cache, CompleteRows(sequence));
        cache.Dispose();
        sequence.Cache = null;
        sequence.Remembered = 0;
    }

    private int CompleteRows(Sequence sequence)
    {
        var cache = sequence.Cache!;

        // After a step that failed half-way the cache may hold rows of drafts that were never verified: they belong to no token.
        return tree.Lookahead ? Math.Min(cache.LengthOf(0), sequence.Tokens.Length - 1) : Math.Min(cache.Length, sequence.Tokens.Length);
    }
}
