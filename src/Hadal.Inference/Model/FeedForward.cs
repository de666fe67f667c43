using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>The feed-forward part of one layer.</summary>
internal interface IFeedForward
{
    /// <summary>Computes the part.</summary>
    /// <param name="x">[T, D], normalised.</param>
    /// <param name="output">[T, D], overwritten.</param>
    /// <param name="layer">Layer number, for probes.</param>
    /// <param name="tokens">T.</param>
    /// <param name="context">Threads, scratch, options.</param>
    void Forward(ReadOnlySpan<float> x, Span<float> output, int layer, int tokens, ForwardContext context);
}

/// <summary>Gated MLP: down(silu(gate x) * (up x)). Dense layers, shared experts and each routed expert are one.</summary>
internal sealed class FeedForward(Weights weights, int hidden, int intermediate) : IFeedForward
{
    private readonly Linear gate = weights.Linear("gate_proj", intermediate, hidden);
    private readonly Linear up = weights.Linear("up_proj", intermediate, hidden);
    private readonly Linear down = weights.Linear("down_proj", hidden, intermediate);

    /// <inheritdoc/>
    public void Forward(ReadOnlySpan<float> x, Span<float> output, int layer, int tokens, ForwardContext context)
    {
        var gate_TI = context.Scratch.Take(Slot.Gate, (long)tokens * gate.Outputs);
        var up_TI = context.Scratch.Take(Slot.Up, (long)tokens * up.Outputs);
        gate.Apply(x, gate_TI, tokens, context);
        up.Apply(x, up_TI, tokens, context);
        SwiGlu.InPlace(gate_TI, up_TI);
        down.Apply(up_TI, output, tokens, context);
    }
}
