using Hadal.Checkpoints.Config;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>
/// Attention of the dense DeepSeek LLM (Llama): H query heads share G key/value heads of width A; keys and values are cached as they are.
/// DeepSeek LLM report section 2.2; grouped-query attention, arXiv 2305.13245.
/// </summary>
internal sealed class GroupedQueryAttention : IAttention
{
    private readonly int heads;
    private readonly int keyValueHeads;
    private readonly int headDim;
    private readonly float scale;
    private readonly Linear query;
    private readonly Linear key;
    private readonly Linear value;
    private readonly Linear output;

    public GroupedQueryAttention(Weights weights)
    {
        var config = weights.Config;
        heads = config.NumAttentionHeads;
        keyValueHeads = config.NumKeyValueHeads;
        headDim = config.HeadDim;
        scale = Positions.SoftmaxScale(config);
        query = weights.Linear("q_proj", heads * headDim, config.HiddenSize);
        key = weights.Linear("k_proj", keyValueHeads * headDim, config.HiddenSize);
        value = weights.Linear("v_proj", keyValueHeads * headDim, config.HiddenSize);
        output = weights.Linear("o_proj", config.HiddenSize, heads * headDim);
    }

    /// <inheritdoc/>
    public void Forward(ReadOnlySpan<float> x, Span<float> output, int layer, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var tokens = batch.TokenCount;
        var queryWidth = heads * headDim;
        var keyWidth = keyValueHeads * headDim;
        var query_THA = context.Scratch.Take(Slot.Query, (long)tokens * queryWidth);
        var keyValue_TGA = context.Scratch.Take(Slot.KeyValue, 2L * tokens * keyWidth);
        var key_TGA = keyValue_TGA[..(tokens * keyWidth)];
        var value_TGA = keyValue_TGA[(tokens * keyWidth)..];
        query.Apply(x, query_THA, tokens, context);
        key.Apply(x, key_TGA, tokens, context);
        value.Apply(x, value_TGA, tokens, context);
        for (var t = 0; t < tokens; t++)
        {
            for (var h = 0; h < heads; h++)
                angles.Rotate(query_THA.Slice((t * queryWidth) + (h * headDim), headDim), t);
            for (var g = 0; g < keyValueHeads; g++)
                angles.Rotate(key_TGA.Slice((t * keyWidth) + (g * headDim), headDim), t);
        }

        var heads_THA = context.Scratch.Take(Slot.AttentionHeads, (long)tokens * queryWidth);
        foreach (var segment in batch.Segments)
        {
            var cache = segment.Cache.Pages(layer);
            var first = segment.First;
            for (var i = 0; i < segment.Count; i++)
                cache.Write(first + i, key_TGA.Slice((segment.Start + i) * keyWidth, keyWidth), value_TGA.Slice((segment.Start + i) * keyWidth, keyWidth));
            AttentionKernel.GroupedQuery(
                query_THA.Slice(segment.Start * queryWidth, segment.Count * queryWidth), heads, keyValueHeads, headDim, scale, cache, first,
                heads_THA.Slice(segment.Start * queryWidth, segment.Count * queryWidth), segment.Count, context.Threads);
        }

        this.output.Apply(heads_THA, output, tokens, context);
    }
}
