using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>One pre-norm block: x += attention(norm(x)); x += feedForward(norm(x)).</summary>
internal sealed class TransformerLayer
{
    private readonly int layer;
    private readonly double epsilon;
    private readonly float[] attentionNorm;
    private readonly float[] feedForwardNorm;
    private readonly IAttention attention;
    private readonly IFeedForward feedForward;

    /// <summary>Reads layer <paramref name="layer"/>, an MTP module's block included.</summary>
    public TransformerLayer(Weights weights, int layer)
    {
        var config = weights.Config;
        this.layer = layer;
        epsilon = config.RmsNormEps;
        attentionNorm = weights.Norm("input_layernorm", config.HiddenSize);
        feedForwardNorm = weights.Norm("post_attention_layernorm", config.HiddenSize);
        attention = config.IsLatentAttention ? new LatentAttention(weights.Below("self_attn")) : new GroupedQueryAttention(weights.Below("self_attn"));
        feedForward = config.IsMoeLayer(layer) ? new MixtureOfExperts(weights.Below("mlp")) : new FeedForward(weights.Below("mlp"), config.HiddenSize, config.IntermediateSize);
    }

    /// <summary>Values of <see cref="Slot.Intermediate"/> that <see cref="Forward"/> needs for each token.</summary>
    public long ScratchWidth => Math.Max(attention.ScratchWidth, feedForward.ScratchWidth);

    /// <summary>Adds to the residual stream.</summary>
    /// <param name="x">[T, D].</param>
    /// <param name="batch">Runs of tokens and their caches.</param>
    /// <param name="angles">Cosines and sines of the batch's positions.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public void Forward(ref ResidualStream x, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var branch = x.Branch;
        var normed = x.Normalize(attentionNorm, epsilon, branch, attention.QuantizedBlock(context));
        attention.Forward(normed, branch, layer, batch, angles, context);
        context.Probe?.Tensor("attn_out", layer, branch);
        x.Add();

        normed = x.Normalize(feedForwardNorm, epsilon, branch, feedForward.QuantizedBlock(context));
        feedForward.Forward(normed, branch, layer, batch.TokenCount, context);
        context.Probe?.Tensor("ffn_out", layer, branch);
        x.Add();
        if (context.Probe is { SeesTensors: true } probe)
            probe.Tensor("hidden", layer, x.Whole());
    }

    /// <summary>Writes the cache rows of tokens whose output nobody needs: what <see cref="Forward"/> does to the caches.</summary>
    /// <inheritdoc cref="Forward"/>
    public void Fill(ref ResidualStream x, ForwardBatch batch, in RotaryAngles angles, ForwardContext context) =>
        attention.Fill(x.Normalize(attentionNorm, epsilon, x.Branch, attention.QuantizedBlock(context)), layer, batch, angles, context);
}
