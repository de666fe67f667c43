using System.Numerics.Tensors;

namespace Hadal.Inference.Model;

/// <summary>
/// DeepSeekMoE: shared experts for every token plus K of E routed ones (DeepSeek-V3 report equation 12). Tokens are grouped by expert, so that an expert's
/// weights are read once for the batch; no token is dropped.
/// </summary>
internal sealed class MixtureOfExperts : IFeedForward
{
    private readonly Router router;
    private readonly FeedForward[] experts;
    private readonly FeedForward? shared;
    private readonly int hidden;

    public MixtureOfExperts(Weights weights)
    {
        var config = weights.Config;
        hidden = config.HiddenSize;
        router = new Router(weights);
        experts = new FeedForward[config.NRoutedExperts];
        for (var e = 0; e < experts.Length; e++)
            experts[e] = new FeedForward(weights.Below($"experts.{e}"), hidden, config.MoeIntermediateSize);
        if (config.NSharedExperts > 0)
            shared = new FeedForward(weights.Below("shared_experts"), hidden, config.NSharedExperts * config.MoeIntermediateSize);
    }

    /// <inheritdoc/>
    public void Forward(ReadOnlySpan<float> x, Span<float> output, int layer, int tokens, ForwardContext context)
    {
        var k = router.ExpertsPerToken;
        var pairs = tokens * k;
        var integers = context.Scratch.TakeIntegers((2 * pairs) + experts.Length + 1);
        var ids_TK = integers[..pairs];
        var order = integers.Slice(pairs, pairs);
        var starts = integers[(2 * pairs)..];
        var weights_TK = context.Scratch.Take(Slot.RoutedWeights, pairs);
        router.Route(x, ids_TK, weights_TK, tokens, context);
        context.Probe?.Routing(layer, ids_TK, weights_TK);
        GroupByExpert(ids_TK, order, starts);

        var expertOutput_PD = context.Scratch.Take(Slot.ExpertOutput, (long)pairs * hidden);
        for (var e = 0; e < experts.Length; e++)
        {
            var members = order[starts[e]..starts[e + 1]];
            if (members.IsEmpty)
                continue;
            var input = context.Scratch.Take(Slot.ExpertInput, (long)members.Length * hidden);
            for (var i = 0; i < members.Length; i++)
                x.Slice(members[i] / k * hidden, hidden).CopyTo(input[(i * hidden)..]);
            experts[e].Forward(input, expertOutput_PD.Slice(starts[e] * hidden, members.Length * hidden), layer, members.Length, context);
        }

        // Back to the order of tokens: each sums its experts in the order they were chosen, whoever else is in the batch.
        if (shared is null)
            output.Clear();
        else
            shared.Forward(x, output, layer, tokens, context);
        var rank = ids_TK;
        for (var i = 0; i < pairs; i++)
            rank[order[i]] = i;
        for (var pair = 0; pair < pairs; pair++)
        {
            var target = output.Slice(pair / k * hidden, hidden);
            TensorPrimitives.MultiplyAdd(expertOutput_PD.Slice(rank[pair] * hidden, hidden), weights_TK[pair], target, target);
        }
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
