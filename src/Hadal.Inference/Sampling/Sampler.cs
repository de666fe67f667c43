using System.Numerics.Tensors;

namespace Hadal.Inference.Sampling;

/// <summary>Chooses one sequence's tokens from logits. Deterministic for a seed; belongs to one sequence.</summary>
public sealed class Sampler
{
    private readonly SamplingOptions options;
    private readonly Random random;
    private readonly Dictionary<int, int> generated = [];
    private readonly HashSet<int> seen = [];
    private readonly KeyValuePair<int, double>[] bias;
    private readonly bool penalizes;
    private double[] weights = [];
    private int[] heap = [];

    /// <summary>A sampler for one sequence.</summary>
    /// <param name="options">Checked options.</param>
    /// <param name="prompt">Tokens that the repetition penalty counts as seen.</param>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    public Sampler(SamplingOptions options, ReadOnlySpan<int> prompt)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        this.options = options;
        random = options.Seed is { } seed ? new Random(seed) : new Random();
        bias = [.. options.LogitBias];
        penalizes = options.RepetitionPenalty != 1 || options.FrequencyPenalty != 0 || options.PresencePenalty != 0;
        if (options.RepetitionPenalty != 1)
        {
            foreach (var id in prompt)
                seen.Add(id);
        }
    }

    /// <summary>Chooses the next token and remembers it.</summary>
    /// <param name="logits">[V]; changed by bias and penalties.</param>
    public int Sample(Span<float> logits)
    {
        foreach (var (id, value) in bias)
        {
            if ((uint)id < (uint)logits.Length)
                logits[id] = (float)(logits[id] + value);
        }

        if (penalizes)
            Penalize(logits);
        var token = options.Temperature == 0 ? TensorPrimitives.IndexOfMax<float>(logits) : Draw(logits);
        if (penalizes)
        {
            generated[token] = generated.GetValueOrDefault(token) + 1;
            seen.Add(token);
        }

        return token;
    }

    /// <summary>The log-probability of one token and of the most probable ones, from untouched logits.</summary>
    /// <param name="logits">[V], as the model gave them.</param>
    /// <param name="top">How many alternatives, most probable first.</param>
    /// <returns>ln sum exp(logits): a token's log-probability is its logit less that; and the alternatives.</returns>
    public static (double LogSumExp, IReadOnlyList<TokenLogprob> Top) Logprobs(ReadOnlySpan<float> logits, int top)
    {
        double max = TensorPrimitives.Max(logits);
        double sum = 0;
        foreach (var x in logits)
            sum += Math.Exp(x - max);
        var logSum = max + Math.Log(sum);
        ArgumentOutOfRangeException.ThrowIfNegative(top);
        top = Math.Min(top, logits.Length);
        var best = new PriorityQueue<int, (float, int)>(top);
        for (var id = 0; top > 0 && id < logits.Length; id++)
        {
            // The least of the best so far leaves first; of equals, the higher id.
            if (best.Count < top)
                best.Enqueue(id, (logits[id], -id));
            else
                best.EnqueueDequeue(id, (logits[id], -id));
        }

        var list = new TokenLogprob[best.Count];
        for (var i = list.Length - 1; i >= 0; i--)
        {
            var id = best.Dequeue();
            list[i] = new TokenLogprob(id, logits[id] - logSum);
        }

        return (logSum, list);
    }

    private void Penalize(Span<float> logits)
    {
        foreach (var id in seen)
        {
            if ((uint)id < (uint)logits.Length && options.RepetitionPenalty != 1)
                logits[id] = (float)(logits[id] > 0 ? logits[id] / options.RepetitionPenalty : logits[id] * options.RepetitionPenalty);
        }

        foreach (var (id, count) in generated)
            logits[id] = (float)(logits[id] - (count * options.FrequencyPenalty) - options.PresencePenalty);
    }

    private int Draw(ReadOnlySpan<float> logits)
    {
        if (weights.Length < logits.Length)
            weights = new double[logits.Length];
        var w = weights.AsSpan(0, logits.Length);
        double max = TensorPrimitives.Max(logits);
        double total = 0;
        for (var i = 0; i < w.Length; i++)
        {
            w[i] = Math.Exp((logits[i] - max) / options.Temperature);
            total += w[i];
        }

        var restricted = (options.TopK > 0 && options.TopK < w.Length) || options.TopP < 1 || options.MinP > 0;
        return restricted ? DrawRestricted(w, total) : DrawInOrder(w, total * random.NextDouble());
    }

    private static int DrawInOrder(ReadOnlySpan<double> w, double target)
    {
        var last = 0;
        for (var i = 0; i < w.Length; i++)
        {
            if (w[i] == 0)
                continue;
            last = i;
            target -= w[i];
            if (target < 0)
                break;
        }

        return last;
    }

    // Takes tokens from a heap, most probable first, until the options are satisfied: no full sort of a large vocabulary.
    private int DrawRestricted(ReadOnlySpan<double> w, double total)
    {
        if (heap.Length < w.Length)
            heap = new int[w.Length];
        var nodes = heap.AsSpan(0, w.Length);
        for (var i = 0; i < nodes.Length; i++)
            nodes[i] = i;
        for (var i = (nodes.Length / 2) - 1; i >= 0; i--)
            SiftDown(nodes, i, w);

        // Popped tokens gather at the end of the heap's memory, in falling order from its end.
        var limit = options.TopK > 0 ? Math.Min(options.TopK, w.Length) : w.Length;
        var best = w[nodes[0]];
        double kept = 0, keptByTopK = 0;
        var count = 0;

        // Top-p counts probabilities among what top-k leaves, so top-k's sum has to be known first.
        if (limit < w.Length)
        {
            while (count < limit)
                keptByTopK += w[Pop(nodes, count++, w)];
            total = keptByTopK;
        }

        var taken = 0;
        while (taken < limit)
        {
            var token = taken < count ? nodes[^(taken + 1)] : Pop(nodes, count++, w);
            if (taken > 0 && w[token] < options.MinP * best)
                break;
            taken++;
            kept += w[token];
            if (kept >= options.TopP * total)
                break;
        }

        var target = kept * random.NextDouble();
        for (var i = 0; i < taken; i++)
        {
            target -= w[nodes[^(i + 1)]];
            if (target < 0)
                return nodes[^(i + 1)];
        }

        return nodes[^taken];
    }

    private static int Pop(Span<int> nodes, int popped, ReadOnlySpan<double> w)
    {
        var last = nodes.Length - 1 - popped;
        (nodes[0], nodes[last]) = (nodes[last], nodes[0]);
        SiftDown(nodes[..last], 0, w);
        return nodes[last];
    }

    private static void SiftDown(Span<int> nodes, int i, ReadOnlySpan<double> w)
    {
        while (true)
        {
            var child = (2 * i) + 1;
            if (child >= nodes.Length)
                return;
            if (child + 1 < nodes.Length && Before(nodes[child + 1], nodes[child], w))
                child++;
            if (!Before(nodes[child], nodes[i], w))
                return;
            (nodes[i], nodes[child]) = (nodes[child], nodes[i]);
            i = child;
        }
    }

    private static bool Before(int a, int b, ReadOnlySpan<double> w) => w[a] > w[b] || (w[a] == w[b] && a < b);
}
