using Hadal.Numerics;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>
/// One MTP module: from the state at position i and the token at i + 1 it predicts the token at i + 2.
/// h' = eh_proj [enorm(Emb(t_{i+1})) ; hnorm(h_i)], then a transformer block, shared_head.norm and the shared head.
/// DeepSeek-V3 report equations 21-25, with the embedding first as in the released weights (README_WEIGHTS of deepseek-ai/DeepSeek-V3).
/// </summary>
internal sealed class MultiTokenPrediction
{
    private readonly int hidden;
    private readonly int layer;
    private readonly double epsilon;
    private readonly float[] embeddingNorm;
    private readonly float[] hiddenNorm;
    private readonly Linear projection;
    private readonly TransformerLayer block;
    private readonly float[] headNorm;

    public MultiTokenPrediction(Weights weights, int layer)
    {
        var config = weights.Config;
        hidden = config.HiddenSize;
        this.layer = layer;
        epsilon = config.RmsNormEps;
        embeddingNorm = weights.Norm("enorm", hidden);
        hiddenNorm = weights.Norm("hnorm", hidden);
        projection = weights.Linear("eh_proj", hidden, 2 * hidden);
        block = new TransformerLayer(weights, layer);
        headNorm = weights.Norm("shared_head.norm", hidden);

        // In the release shared_head.head and embed_tokens are copies of the main model's; where a file has its own, they are used.
        Head = weights.Contains("shared_head.head") ? weights.Matrix("shared_head.head", config.VocabSize, hidden) : default;
        Embedding = weights.Contains("embed_tokens") ? weights.Matrix("embed_tokens", config.VocabSize, hidden) : default;
    }

    /// <summary>The module's own head, or an empty matrix when it shares the main model's.</summary>
    public WeightMatrix Head { get; }

    /// <summary>The module's own embedding, or an empty matrix when it shares the main model's.</summary>
    public WeightMatrix Embedding { get; }

    /// <summary>Runs the module.</summary>
    /// <param name="embedding">[T, D]: embeddings of the tokens after each position; overwritten.</param>
    /// <param name="state">[T, D]: the state of the main model, or of the module before.</param>
    /// <param name="output">[T, D]: the block's output, before shared_head.norm.</param>
    /// <param name="normed">[T, D]: the input of the head.</param>
    /// <param name="batch">Runs of tokens and their caches.</param>
    /// <param name="angles">Cosines and sines of the batch's positions.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public void Forward(Span<float> embedding, ReadOnlySpan<float> state, Span<float> output, Span<float> normed, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var tokens = batch.TokenCount;
        var concatenated = context.Scratch.Take(Slot.Intermediate, 2L * tokens * hidden);
        for (var t = 0; t < tokens; t++)
        {
            RmsNorm.Apply(embedding.Slice(t * hidden, hidden), embeddingNorm, concatenated.Slice(2 * t * hidden, hidden), epsilon);
            RmsNorm.Apply(state.Slice(t * hidden, hidden), hiddenNorm, concatenated.Slice(((2 * t) + 1) * hidden, hidden), epsilon);
        }

        projection.Apply(concatenated, output, tokens, context);
        context.Probe?.Tensor("eh", layer, output);
        var stream = new ResidualStream(output, context);
        block.Forward(ref stream, batch, angles, context);
        stream.Normalize(headNorm, epsilon, normed);
        context.Probe?.Tensor("normed", layer, normed);
    }
}
