using System.Numerics.Tensors;
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

    /// <summary>Updates the residual stream in place.</summary>
    /// <param name="x">[T, D].</param>
    /// <param name="batch">Runs of tokens and their caches.</param>
    /// <param name="angles">Cosines and sines of the batch's positions.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public void Forward(Span<float> x, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var branch = context.Scratch.Take(Slot.Branch, x.Length);

        RmsNorm.Apply(x, attentionNorm, branch, epsilon);
        attention.Forward(branch, layer, batch, angles, context);
        context.Probe?.Tensor("attn_out", layer, branch);
        TensorPrimitives.Add(x, branch, x);

        RmsNorm.Apply(x, feedForwardNorm, branch, epsilon);
        feedForward.Forward(branch, layer, batch.TokenCount, context);
        context.Probe?.Tensor("ffn_out", layer, branch);
        TensorPrimitives.Add(x, branch, x);
        context.Probe?.Tensor("hidden", layer, x);
    }

    /// <summary>Writes the cache rows of tokens whose output nobody needs: what <see cref="Forward"/> does to the caches.</summary>
    /// <inheritdoc cref="Forward"/>
    public void Fill(ReadOnlySpan<float> x, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var branch = context.Scratch.Take(Slot.Branch, x.Length);
        RmsNorm.Apply(x, attentionNorm, branch, epsilon);
        attention.Fill(branch, layer, batch, angles, context);
    }
}
