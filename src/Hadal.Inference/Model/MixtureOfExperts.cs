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
    public long ScratchWidth => UpStart + GatedWidth;

    private long GatedWidth => ((long)router.ExpertsPerToken * intermediate) + (shared?.Linears.Gate.Outputs ?? 0);

    // Outputs of the experts take the place of the gates.
    private long UpStart => Math.Max(GatedWidth, (long)router.ExpertsPerToken * hidden);

    /// <inheritdoc/>
    public void Forward(Span<float> x, int layer, int tokens, ForwardContext context)
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
        router.Route(x, ids_TK, weights_TK, tokens, context);
        context.Probe?.Routing(layer, ids_TK, weights_TK);
        GroupByExpert(ids_TK, order, starts);
        for (var i = 0; i < pairs; i++)
            rows[i] = order[i] / k;
        for (var t = 0; t < tokens; t++)
            rows[pairs + t] = t;

        // One job for all gates and ups, shared experts included: gates first, then ups in the same places.
        var gateUp = context.Scratch.Take(Slot.Intermediate, tokens * ScratchWidth);
        var (gated, up) = ((int)(tokens * GatedWidth), (int)(tokens * UpStart));
        var products = context.Scratch.TakeProducts(2 * (experts.Length + 1));
        var count = 0;
        for (var e = 0; e < experts.Length; e++)
        {
            if (starts[e + 1] > starts[e])
                count = AddGateUp(products, count, experts[e], starts[e], starts[e + 1] - starts[e], starts[e] * intermediate, up);
        }

        if (shared is not null)
            count = AddGateUp(products, count, shared, pairs, tokens, pairs * intermediate, up);
        Linear.Apply(products[..count], activationScales, x, shared is null ? rows[..pairs] : rows, gateUp, context);

        // The shared experts first: outputs of the routed ones take the place of all gates.
        var values = pairs * intermediate;
        if (shared is null)
            x.Clear();
        else
            Linear.ApplyGated([new Product(shared.Linears.Down.Weight, 0, tokens, 0)], activationScales, gateUp[values..gated], gateUp.Slice(up + values, gated - values), x, context);
        count = 0;
        for (var e = 0; e < experts.Length; e++)
        {
            if (starts[e + 1] > starts[e])
                products[count++] = new Product(experts[e].Linears.Down.Weight, starts[e], starts[e + 1] - starts[e], starts[e] * hidden);
        }

        var expertOutput_PD = gateUp[..(pairs * hidden)];
        Linear.ApplyGated(products[..count], activationScales, gateUp[..values], gateUp.Slice(up, values), expertOutput_PD, context);

        // Back to the order of tokens: each sums its experts in the order they were chosen, whoever else is in the batch.
        var rank = ids_TK;
        for (var i = 0; i < pairs; i++)
            rank[order[i]] = i;
        WeightedSum.Add(expertOutput_PD, rank, weights_TK, k, hidden, x, context.Threads);
    }

    private static int AddGateUp(Span<Product> products, int count, FeedForward expert, int first, int tokens, int output, int up)
    {
        products[count] = new Product(expert.Linears.Gate.Weight, first, tokens, output);
        products[count + 1] = new Product(expert.Linears.Up.Weight, first, tokens, up + output);
        return count + 2;
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
