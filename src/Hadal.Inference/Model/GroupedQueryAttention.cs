using Hadal.Checkpoints.Config;
using System.Diagnostics;
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
    private readonly Linear outputProjection;

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
        outputProjection = weights.Linear("o_proj", config.HiddenSize, heads * headDim);
    }

    /// <inheritdoc/>
    public long ScratchWidth => (long)query.Outputs + key.Outputs + value.Outputs + outputProjection.Weight.Cols;

    /// <inheritdoc/>
    public int QuantizedBlock(ForwardContext context) => Linear.QuantizedBlock(query.Weight, context);

    /// <inheritdoc/>
    public void Forward(Activations x, Span<float> output, int layer, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var tokens = batch.TokenCount;
        var queryWidth = heads * headDim;
        var keyWidth = keyValueHeads * headDim;
        var memory = context.Scratch.Take(Slot.Intermediate, tokens * ScratchWidth);
        var keys = tokens * queryWidth;
        var values = keys + (tokens * keyWidth);
        var projected = memory[..(values + (tokens * keyWidth))];
        var heads_THA = memory[projected.Length..];
        Linear.Apply(
            [new Product(query.Weight, 0, tokens, 0), new Product(key.Weight, 0, tokens, keys), new Product(value.Weight, 0, tokens, values)], query.ActivationScales, x, [], projected, context);
        var query_THA = projected[..keys];
        var key_TGA = projected[keys..values];
        var value_TGA = projected[values..];
        for (var t = 0; t < tokens; t++)
        {
            for (var h = 0; h < heads; h++)
                angles.Rotate(query_THA.Slice((t * queryWidth) + (h * headDim), headDim), t);
        }

        Write(key_TGA, value_TGA, layer, batch, angles);
        foreach (var segment in batch.Segments)
        {
            var cache = segment.Cache.Pages(layer);
            var start = Stopwatch.GetTimestamp();
            AttentionKernel.GroupedQuery(
                query_THA.Slice(segment.Start * queryWidth, segment.Count * queryWidth), heads, keyValueHeads, headDim, scale, cache, segment.First,
                heads_THA.Slice(segment.Start * queryWidth, segment.Count * queryWidth), segment.Count, context.Threads);
            context.AttentionTicks += Stopwatch.GetTimestamp() - start;
        }

        outputProjection.Apply(heads_THA, output, tokens, context);
    }

    /// <inheritdoc/>
    public void Fill(Activations x, int layer, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var tokens = batch.TokenCount;
        var projected = context.Scratch.Take(Slot.Intermediate, 2L * tokens * keyValueHeads * headDim);
        var values = projected.Length / 2;
        Linear.Apply([new Product(key.Weight, 0, tokens, 0), new Product(value.Weight, 0, tokens, values)], key.ActivationScales, x, [], projected, context);
        Write(projected[..values], projected[values..], layer, batch, angles);
    }

    // Keys turned, then both into the caches.
    private void Write(Span<float> key_TGA, ReadOnlySpan<float> value_TGA, int layer, ForwardBatch batch, in RotaryAngles angles)
    {
        var width = keyValueHeads * headDim;
        foreach (var segment in batch.Segments)
        {
            var cache = segment.Cache.Pages(layer);
            for (var i = 0; i < segment.Count; i++)
            {
                var at = (segment.Start + i) * width;
                for (var g = 0; g < keyValueHeads; g++)
                    angles.Rotate(key_TGA.Slice(at + (g * headDim), headDim), segment.Start + i);
                cache.Write(segment.First + i, key_TGA.Slice(at, width), value_TGA.Slice(at, width));
            }
        }
    }
}
