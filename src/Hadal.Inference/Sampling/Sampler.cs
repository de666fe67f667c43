using System.Numerics.Tensors;

namespace Hadal.Inference.Sampling;

/// <summary>
/// Chooses one sequence's tokens from logits. The choice at each position is an exponential race: token i arrives at time E_i / p_i, with E_i exponentially
/// distributed, and the first wins; so token i is chosen with probability p_i. E_i is a hash of seed, position and i: a choice depends on the logits of its
/// position and on nothing else, not even on how many choices were tried before. Belongs to one sequence.
/// </summary>
/// <remarks>
/// Because two races with the same E and similar p mostly have the same winner, a draft model that races with the same noise guesses well, and what it
/// guesses has no influence on the text: drafter-invariant speculative decoding, arXiv 2408.07978. <see cref="SampleAfterDraft"/> is the classical
/// alternative, rejection sampling.
/// </remarks>
public sealed class Sampler
{
    private readonly SamplingOptions options;
    private readonly KeyValuePair<int, double>[] bias;
    private readonly Dictionary<int, int> generated = [];
    private readonly HashSet<int> seen = [];
    private readonly bool penalizes;
    private readonly ulong key;
    private int position;
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
        bias = [.. options.LogitBias];
        key = Mix((ulong)(options.Seed ?? new Random().Next()));
        penalizes = options.RepetitionPenalty != 1 || options.FrequencyPenalty != 0 || options.PresencePenalty != 0;
        if (options.RepetitionPenalty != 1)
        {
            foreach (var id in prompt)
                seen.Add(id);
        }
    }

    /// <summary>What a random number is for; numbers of different purposes are independent.</summary>
    private enum Purpose
    {
        Choice,
        Draft,
        Acceptance,
        Residual,
        Count,
    }

    /// <summary>Chooses the next token and remembers it.</summary>
    /// <param name="logits">[V]; changed by bias and penalties.</param>
    public int Sample(Span<float> logits)
    {
        var token = options.Temperature == 0 ? Best(logits) : Race(Weigh(logits), Purpose.Choice, 0);
        Remember(token);
        return token;
    }

    /// <summary>Guesses a coming token from a draft model's logits, with the noise that <see cref="Sample"/> will use at that position. Remembers nothing.</summary>
    /// <param name="logits">[V], the draft model's; changed by bias and penalties.</param>
    /// <param name="ahead">Positions between the next choice and the one guessed.</param>
    public int Guess(Span<float> logits, int ahead) => options.Temperature == 0 ? Best(logits) : Race(Weigh(logits), Purpose.Choice, ahead);

    /// <summary>Draws a draft for <see cref="SampleAfterDraft"/>, with noise of its own. Remembers nothing.</summary>
    /// <param name="logits">[V], the draft model's; changed by bias and penalties.</param>
    /// <param name="ahead">Positions between the next choice and the one drafted.</param>
    /// <param name="distribution">[V], receives the probabilities the draft was drawn with.</param>
    public int Draft(Span<float> logits, int ahead, Span<double> distribution)
    {
        var candidates = Distribution(logits, distribution);
        return options.Temperature == 0 ? candidates[0] : Race(candidates, Purpose.Draft, ahead);
    }

    /// <summary>
    /// Chooses the next token given a draft of it, and remembers it: the draft d stays with probability min(1, p(d) / q(d)), else a token is drawn from
    /// max(0, p - q) normalised. The token is distributed as p whatever q is. Leviathan et al., arXiv 2211.17192, section 2.3 and appendix A.1.
    /// </summary>
    /// <param name="logits">[V], the model's; changed by bias and penalties.</param>
    /// <param name="draft">A token drawn from <paramref name="distribution"/>.</param>
    /// <param name="distribution">[V], q.</param>
    public int SampleAfterDraft(Span<float> logits, int draft, ReadOnlySpan<double> distribution)
    {
        var token = options.Temperature == 0 ? Best(logits) : AcceptOrReplace(Weigh(logits), draft, distribution);
        Remember(token);
        return token;
    }

    /// <summary>The probabilities that the next token is chosen with, after every option. Remembers nothing.</summary>
    /// <param name="logits">[V]; changed by bias and penalties.</param>
    /// <param name="probabilities">[V], overwritten.</param>
    /// <returns>The tokens that have any, or nothing for all tokens; valid until the next call.</returns>
    public ReadOnlySpan<int> Distribution(Span<float> logits, Span<double> probabilities)
    {
        if (probabilities.Length != logits.Length)
            throw new ArgumentException($"{probabilities.Length} probabilities for {logits.Length} logits", nameof(probabilities));
        probabilities.Clear();
        if (options.Temperature == 0)
        {
            if (heap.Length == 0)
                heap = new int[1];
            heap[0] = Best(logits);
            probabilities[heap[0]] = 1;
            return heap.AsSpan(0, 1);
        }

        var candidates = Weigh(logits);
        var total = Total(candidates);
        foreach (var id in candidates)
            probabilities[id] = weights[id] / total;
        if (candidates.IsEmpty)
            TensorPrimitives.Divide(weights.AsSpan(0, logits.Length), total, probabilities);
        return candidates;
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

    private static ulong Mix(ulong x)
    {
        // splitmix64's finaliser (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
        x += 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }

    private static double Uniform(ulong bits) => ((bits >> 11) + 0.5) * (1.0 / (1UL << 53));

    private void Remember(int token)
    {
        position++;
        if (!penalizes)
            return;
        generated[token] = generated.GetValueOrDefault(token) + 1;
        seen.Add(token);
    }

    private int Best(Span<float> logits)
    {
        Adjust(logits);
        return TensorPrimitives.IndexOfMax<float>(logits);
    }

    private void Adjust(Span<float> logits)
    {
        foreach (var (id, value) in bias)
        {
            if ((uint)id < (uint)logits.Length)
                logits[id] = (float)(logits[id] + value);
        }

        if (!penalizes)
            return;
        foreach (var id in seen)
        {
            if ((uint)id < (uint)logits.Length && options.RepetitionPenalty != 1)
                logits[id] = (float)(logits[id] > 0 ? logits[id] / options.RepetitionPenalty : logits[id] * options.RepetitionPenalty);
        }

        foreach (var (id, count) in generated)
            logits[id] = (float)(logits[id] - (count * options.FrequencyPenalty) - options.PresencePenalty);
    }

    // Puts exp((logit - max) / temperature) into weights; gives the tokens that the options leave, or nothing when they leave all.
    private ReadOnlySpan<int> Weigh(Span<float> logits)
    {
        Adjust(logits);
        if (weights.Length != logits.Length)
            weights = new double[logits.Length];
        var w = weights.AsSpan();
        double max = TensorPrimitives.Max(logits);
        for (var i = 0; i < w.Length; i++)
            w[i] = (logits[i] - max) / options.Temperature;
        TensorPrimitives.Exp(w, w);
        var restricted = (options.TopK > 0 && options.TopK < w.Length) || options.TopP < 1 || options.MinP > 0;
        return restricted ? Restrict(w) : default;
    }

    private double Total(ReadOnlySpan<int> candidates)
    {
        if (candidates.IsEmpty)
            return TensorPrimitives.Sum<double>(weights);
        double total = 0;
        foreach (var id in candidates)
            total += weights[id];
        return total;
    }

    private ulong Stream(Purpose purpose, int ahead) => Mix(key + (((ulong)(position + ahead) * (ulong)Purpose.Count) + (ulong)purpose));

    private int Race(ReadOnlySpan<int> candidates, Purpose purpose, int ahead)
    {
        var stream = Stream(purpose, ahead);
        var earliest = double.PositiveInfinity;
        var winner = 0;
        var count = candidates.IsEmpty ? weights.Length : candidates.Length;
        for (var i = 0; i < count; i++)
        {
            var id = candidates.IsEmpty ? i : candidates[i];
            var weight = weights[id];
            var u = Uniform(Mix(stream + (ulong)id));

            // -ln u is at least 1 - u, so most tokens of a large vocabulary need no logarithm.
            if (1 - u >= earliest * weight)
                continue;
            var time = -Math.Log(u) / weight;
            if (time < earliest)
                (earliest, winner) = (time, id);
        }

        return winner;
    }

    private int AcceptOrReplace(ReadOnlySpan<int> candidates, int draft, ReadOnlySpan<double> distribution)
    {
        if (distribution.Length != weights.Length)
            throw new ArgumentException($"{distribution.Length} probabilities for {weights.Length} logits", nameof(distribution));
        var total = Total(candidates);
        var isCandidate = candidates.IsEmpty || candidates.Contains(draft);
        if (isCandidate && Uniform(Stream(Purpose.Acceptance, 0)) * distribution[draft] < weights[draft] / total)
            return draft;
        var count = candidates.IsEmpty ? weights.Length : candidates.Length;
        for (var i = 0; i < count; i++)
        {
            var id = candidates.IsEmpty ? i : candidates[i];
            weights[id] = Math.Max(0, (weights[id] / total) - distribution[id]);
        }

        return Race(candidates, Purpose.Residual, 0);
    }

    // Takes tokens from a heap, most probable first, until the options are satisfied: no full sort of a large vocabulary.
    private ReadOnlySpan<int> Restrict(ReadOnlySpan<double> w)
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
        double total = 0, kept = 0;
        var count = 0;

        // Top-p counts probabilities among what top-k leaves, so top-k's sum has to be known first.
        if (limit < w.Length)
        {
            while (count < limit)
                total += w[Pop(nodes, count++, w)];
        }
        else
        {
            total = TensorPrimitives.Sum(w);
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

        return nodes[^taken..];
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
