using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>
/// DeepSeekMoE: shared experts for every token plus K of E routed ones (DeepSeek-V3 report equation 12). Tokens are grouped by expert, so that an expert's
/// weights are read once for the batch; no token is dropped. The products of all experts are one job of the threads.
/// </summary>
internal sealed class MixtureOfExperts : IFeedForward
{
    private readonly Router router;
    private readonly FeedForward[] experts;
    private readonly FeedForward? shared;
    private readonly int hidden;
    private readonly int intermediate;
    private readonly ScaleKind activationScales;

    public MixtureOfExperts(Weights weights)
    {
        var config = weights.Config;
        hidden = config.HiddenSize;
        intermediate = config.MoeIntermediateSize;
        activationScales = weights.ActivationScales;
        router = new Router(weights);
        experts = new FeedForward[config.NRoutedExperts];
        for (var e = 0; e < experts.Length; e++)
            experts[e] = new FeedForward(weights.Below($"experts.{e}"), hidden, config.MoeIntermediateSize);
        if (config.NSharedExperts > 0)
            shared = new FeedForward(weights.Below("shared_experts"), hidden, config.NSharedExperts * config.MoeIntermediateSize);
    }

    /// <inheritdoc/>
    public long ScratchWidth => (2L * router.ExpertsPerToken * intermediate) + (shared?.ScratchWidth ?? 0);

    /// <inheritdoc/>
    public int QuantizedBlock(ForwardContext context) => experts[0].QuantizedBlock(context);

    /// <inheritdoc/>
    public void Forward(Activations x, Span<float> output, int layer, int tokens, ForwardContext context)
    {
        // Lists: experts of each (token, choice) pair; the pairs expert by expert; where each expert's begin; the token of each pair, then all tokens.
        var k = router.ExpertsPerToken;
        var pairs = tokens * k;
        var integers = context.Scratch.TakeIntegers((3 * pairs) + tokens + experts.Length + 1);
        var ids_TK = integers[..pairs];
        var order = integers.Slice(pairs, pairs);
        var rows = integers.Slice(2 * pairs, pairs + tokens);
        var starts = integers[((3 * pairs) + tokens)..];
        var weights_TK = context.Scratch.Take(Slot.RoutedWeights, pairs);
        router.Route(x.Values, ids_TK, weights_TK, tokens, context);
        context.Probe?.Routing(layer, ids_TK, weights_TK);
        GroupByExpert(ids_TK, order, starts);
        for (var i = 0; i < pairs; i++)
            rows[i] = order[i] / k;
        for (var t = 0; t < tokens; t++)
            rows[pairs + t] = t;

        // One job for all gates and ups, shared experts included. Room for as many as there can be: when memory grows must not hang on who is chosen.
        context.Scratch.TakeProducts(2 * (experts.Length + 1));
        var gated = context.Scratch.TakeGatedProducts(experts.Length + 1);
        var count = 0;
        for (var e = 0; e < experts.Length; e++)
        {
            if (starts[e + 1] > starts[e])
                gated[count++] = experts[e].Gated(starts[e], starts[e + 1] - starts[e]);
        }

        var routed = gated[..count];
        if (shared is not null)
            gated[count++] = shared.Gated(pairs, tokens);
        Linear.ApplyGated(gated[..count], activationScales, x, shared is null ? rows[..pairs] : rows, context)
            .Split(pairs, routed[0].Down, gated[count - 1].Down, out var routed_PI, out var shared_TI);

        if (shared is null)
            output.Clear();
        else
            Linear.Apply([new Product(gated[count - 1].Down, 0, tokens, 0)], activationScales, shared_TI, [], output, context);
        var expertOutput_PD = context.Scratch.Take(Slot.ExpertRows, (long)pairs * hidden);
        var products = context.Scratch.TakeProducts(routed.Length);
        for (var i = 0; i < routed.Length; i++)
            products[i] = new Product(routed[i].Down, routed[i].FirstRow, routed[i].Tokens, routed[i].FirstRow * hidden);
        Linear.Apply(products, activationScales, routed_PI, [], expertOutput_PD, context);

        // Back to the order of tokens: each sums its experts in the order they were chosen, whoever else is in the batch.
        var rank = ids_TK;
        for (var i = 0; i < pairs; i++)
            rank[order[i]] = i;
        WeightedSum.Add(expertOutput_PD, rank, weights_TK, k, hidden, output, context.Threads);
    }

    // A counting sort: order lists (token, choice) pairs expert by expert, expert e's from starts[e] to starts[e + 1].
    private static void GroupByExpert(ReadOnlySpan<int> ids, Span<int> order, Span<int> starts)
    {
        starts.Clear();
        foreach (var id in ids)
            starts[id + 1]++;
        for (var e = 1; e < starts.Length; e++)
            starts[e] += starts[e - 1];
        for (var pair = 0; pair < ids.Length; pair++)
            order[starts[ids[pair]]++] = pair;
        for (var e = starts.Length - 1; e > 0; e--)
            starts[e] = starts[e - 1];
        starts[0] = 0;
    }
}
