using Hadal.Inference.Cache;
using Hadal.Inference.Model;

namespace Hadal.Evaluation.Models;

/// <summary>
/// Scores texts on a model of this process: texts that begin alike share what they have in common, within a call through a <see cref="PrefixPlan"/> and
/// between calls through a <see cref="PrefixTree"/>, so that no token of a prompt is computed twice; many runs go through the model together. The values do
/// not depend on what is shared or batched. For one thread at a time.
/// </summary>
/// <remarks>T tokens of a batch, V vocabulary.</remarks>
internal sealed class PrefixScorer : IDisposable
{
    private const int PageTokens = 16;
    private const int BatchTokens = 1024;

    // Logits are T x V floats; 128 MiB of them at a time.
    private const int LogitValues = 1 << 25;

    private readonly ILanguageModel model;
    private readonly ForwardContext context;
    private readonly ForwardBatch batch = new();
    private readonly CachePool pool;
    private readonly PrefixTree tree;
    private readonly int logitRows;

    /// <summary>Allocates the cache.</summary>
    /// <param name="model">Model.</param>
    /// <param name="context">Threads and arithmetic.</param>
    /// <param name="cacheTokens">Tokens that the cache holds, at least <paramref name="window"/>.</param>
    /// <param name="window">Most tokens of a text.</param>
    public PrefixScorer(ILanguageModel model, ForwardContext context, int cacheTokens, int window)
    {
        this.model = model;
        this.context = context;
        Window = window;

        // What one text holds and what the tree keeps of the one before it.
        pool = new CachePool(model.Config, Math.Max(cacheTokens, 2 * window) + PageTokens, PageTokens);
        tree = new PrefixTree(pool);
        logitRows = Math.Max(1, LogitValues / model.Config.VocabSize);
    }

    /// <summary>Most tokens of a text.</summary>
    public int Window { get; }

    /// <summary>Tokens that went through the model so far.</summary>
    public long ComputedTokens { get; private set; }

    /// <summary>Forward passes so far.</summary>
    public long Passes { get; private set; }

    /// <summary>ln P of the scored tokens of each text.</summary>
    /// <exception cref="ArgumentException">A text is longer than the window.</exception>
    public Loglikelihood[] Score(IReadOnlyList<ScoredText> texts, CancellationToken cancellation)
    {
        var sums = new double[texts.Count];
        var greedy = Enumerable.Repeat(true, texts.Count).ToArray();
        foreach (var text in texts)
        {
            if (text.Tokens.Length > Window + 1)
                throw new ArgumentException($"a text of {text.Tokens.Length} tokens does not fit a window of {Window}", nameof(texts));
        }

        // Sums are in the order of positions whatever the plan, because parents are computed first and rows in order.
        foreach (var level in new PrefixPlan(texts).Nodes.GroupBy(n => n.Level).OrderBy(l => l.Key))
        {
            var waiting = new Queue<PrefixPlan.Node>(level);
            while (waiting.Count > 0)
            {
                using var running = new Runs(Admit(waiting));
                while (running.Active.Count > 0)
                {
                    cancellation.ThrowIfCancellationRequested();
                    Pass(running, sums, greedy);
                }
            }
        }

        return [.. texts.Select((t, i) => new Loglikelihood(sums[i], t.Tokens.Length - t.Start, greedy[i]))];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        tree.Dispose();
        pool.Dispose();
    }

    // Takes as many nodes as the cache has room for, and gives each the rows that are there already.
    private List<Run> Admit(Queue<PrefixPlan.Node> waiting)
    {
        var runs = new List<Run>();
        var reserved = 0;
        while (waiting.TryPeek(out var node))
        {
            if (node.Targets.Count == 0 && tree.Match(node.Tokens.AsSpan(0, node.End + 1)) >= node.End)
            {
                waiting.Dequeue();
                continue;
            }

            // Adopting may copy one page; after it, what is missing is known.
            if (!MakeRoom(reserved + 1) && runs.Count > 0)
                break;
            var cache = new SequenceCache(pool);
            tree.Adopt(node.Tokens.AsSpan(0, KnownEnd(node)), cache);
            var missing = pool.PagesFor(node.End) - pool.PagesFor(cache.Length);
            if (!MakeRoom(reserved + missing) && runs.Count > 0)
            {
                cache.Dispose();
                break;
            }

            waiting.Dequeue();
            reserved += missing;
            runs.Add(new Run(node, cache));
        }

        return runs;
    }

    private bool MakeRoom(int pages)
    {
        if (pages > pool.FreePages)
            tree.Evict(pages - pool.FreePages);
        return pages <= pool.FreePages;
    }

    // Rows whose logits are needed have to be computed; of the others as many as possible come from the tree, which never gives the last of what it is asked.
    private static int KnownEnd(PrefixPlan.Node node) =>
        node.Targets.Count == 0 ? node.End : node.Targets.Min(t => t.Row) + 1;

    // One forward pass over a piece of every active run, within the limits of tokens and logits.
    private void Pass(Runs runs, double[] sums, bool[] greedy)
    {
        batch.Clear();
        var pieces = new List<(Run Run, int First, int Count, LogitRequest Logits)>();
        var (tokensLeft, rowsLeft) = (BatchTokens, logitRows);
        foreach (var run in runs.Active)
        {
            var first = run.Cache.Length;
            var node = run.Node;
            var everyRow = node.Targets.Count > 0 && !node.OnlyLast;
            var count = Math.Min(node.End - first, everyRow ? Math.Min(tokensLeft, rowsLeft) : tokensLeft);
            if (count == 0 || rowsLeft == 0)
                break;
            var logits = everyRow ? LogitRequest.All : node.Targets.Count > 0 && first + count == node.End ? LogitRequest.Last : LogitRequest.None;
            batch.Add(run.Cache, node.Tokens.AsSpan(first, count), logits);
            pieces.Add((run, first, count, logits));
            tokensLeft -= count;
            rowsLeft -= logits switch { LogitRequest.All => count, LogitRequest.Last => 1, _ => 0 };
        }

        var result = model.Forward(batch, context);
        ComputedTokens += batch.TokenCount;
        Passes++;
        var row = 0;
        foreach (var (run, first, count, logits) in pieces)
        {
            var from = logits == LogitRequest.All ? first : first + count - 1;
            if (logits != LogitRequest.None)
            {
                Collect(run.Node, from, first + count, result.Logits[(row * model.Config.VocabSize)..], sums, greedy);
                row += first + count - from;
            }

            if (first + count == run.Node.End)
                Finish(runs, run);
        }
    }

    private void Collect(PrefixPlan.Node node, int first, int end, ReadOnlySpan<float> logits, double[] sums, bool[] greedy)
    {
        var width = model.Config.VocabSize;
        foreach (var position in node.Targets.Where(t => t.Row >= first && t.Row < end).GroupBy(t => t.Row).OrderBy(g => g.Key))
        {
            var rowLogits = logits.Slice((position.Key - first) * width, width);
            var normalizer = LogSoftmax.LogSumExp(rowLogits);
            var best = System.Numerics.Tensors.TensorPrimitives.IndexOfMax(rowLogits);
            foreach (var target in position)
            {
                sums[target.Text] += rowLogits[target.Token] - normalizer;
                greedy[target.Text] &= target.Token == best;
            }
        }
    }

    private void Finish(Runs runs, Run run)
    {
        tree.Insert(run.Node.Tokens.AsSpan(0, run.Node.End), run.Cache, run.Node.End);
        runs.End(run);
    }

    private sealed record Run(PrefixPlan.Node Node, SequenceCache Cache);

    // The runs of one admission; what a failure leaves active gives its pages back.
    private sealed class Runs(List<Run> admitted) : IDisposable
    {
        public List<Run> Active { get; } = [.. admitted];

        public void End(Run run)
        {
            Active.Remove(run);
            run.Cache.Dispose();
        }

        public void Dispose()
        {
            foreach (var run in Active)
                run.Cache.Dispose();
        }
    }
}
