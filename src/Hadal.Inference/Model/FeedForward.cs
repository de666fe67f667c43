using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>The feed-forward part of one layer.</summary>
internal interface IFeedForward
{
    /// <summary>Values of <see cref="Slot.Intermediate"/> that <see cref="Forward"/> needs for each token.</summary>
    long ScratchWidth { get; }

    /// <summary>Computes the part.</summary>
    /// <param name="x">[T, D]: normalised hidden states; receives the output.</param>
    /// <param name="layer">Layer number, for probes.</param>
    /// <param name="tokens">T.</param>
    /// <param name="context">Threads, scratch, options.</param>
    void Forward(Span<float> x, int layer, int tokens, ForwardContext context);
}

/// <summary>Gated MLP: down(silu(gate x) * (up x)). Dense layers, shared experts and each routed expert are one.</summary>
internal sealed class FeedForward(Weights weights, int hidden, int intermediate) : IFeedForward
{
    private readonly Linear gate = weights.Linear("gate_proj", intermediate, hidden);
    private readonly Linear up = weights.Linear("up_proj", intermediate, hidden);
    private readonly Linear down = weights.Linear("down_proj", hidden, intermediate);

    /// <inheritdoc/>
    public long ScratchWidth => 2L * gate.Outputs;

    /// <inheritdoc/>
    public void Forward(Span<float> x, int layer, int tokens, ForwardContext context)
    {
        var gateUp_2TI = context.Scratch.Take(Slot.Intermediate, tokens * ScratchWidth);
        var gated = gateUp_2TI.Length / 2;
        Linear.Apply([new Product(gate.Weight, 0, tokens, 0), new Product(up.Weight, 0, tokens, gated)], gate.ActivationScales, x, [], gateUp_2TI, context);
        Linear.ApplyGated([new Product(down.Weight, 0, tokens, 0)], down.ActivationScales, gateUp_2TI[..gated], gateUp_2TI[gated..], x, context);
    }

    /// <summary>gate, up and down, for a caller that computes several of these together.</summary>
    public (Linear Gate, Linear Up, Linear Down) Linears => (gate, up, down);
}
