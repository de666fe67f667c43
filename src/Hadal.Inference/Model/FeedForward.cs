using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>The feed-forward part of one layer.</summary>
internal interface IFeedForward
{
    /// <summary>Values of <see cref="Slot.Intermediate"/> that <see cref="Forward"/> needs for each token.</summary>
    long ScratchWidth { get; }

    /// <summary>In what blocks it takes its input quantised; 0 where it does not.</summary>
    int QuantizedBlock(ForwardContext context);

    /// <summary>Computes the part.</summary>
    /// <param name="x">[T, D]: normalised hidden states.</param>
    /// <param name="output">[T, D]; may be the memory of the input.</param>
    /// <param name="layer">Layer number, for probes.</param>
    /// <param name="tokens">T.</param>
    /// <param name="context">Threads, scratch, options.</param>
    void Forward(Activations x, Span<float> output, int layer, int tokens, ForwardContext context);
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
    public int QuantizedBlock(ForwardContext context) => Linear.QuantizedBlock(gate.Weight, context);

    /// <inheritdoc/>
    public void Forward(Activations x, Span<float> output, int layer, int tokens, ForwardContext context)
    {
        var gated_TI = Linear.ApplyGated([Gated(0, tokens)], gate.ActivationScales, x, [], context);
        Linear.Apply([new Product(down.Weight, 0, tokens, 0)], down.ActivationScales, gated_TI, [], output, context);
    }

    /// <summary>Its first half for a caller that computes several together.</summary>
    /// <param name="firstRow">First entry in the list of rows.</param>
    /// <param name="tokens">How many rows.</param>
    public GatedProduct Gated(int firstRow, int tokens) => new(gate.Weight, up.Weight, down.Weight, firstRow, tokens);
}
