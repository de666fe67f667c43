using Hadal.Checkpoints.Config;

namespace Hadal.Training.Model;

/// <summary>A trained tensor, before there is memory for it.</summary>
/// <param name="Name">Hugging Face name.</param>
/// <param name="Shape">[rows, cols] of a matrix, [length] of a vector.</param>
/// <param name="JoinsPrevious">Whether it lies directly behind the one before, so that both are one matrix for a product.</param>
public sealed record ParameterShape(string Name, IReadOnlyList<int> Shape, bool JoinsPrevious = false)
{
    /// <summary>Values in it.</summary>
    public long Count => Shape.Aggregate(1L, static (product, dimension) => checked(product * dimension));

    /// <summary>Whether it is a matrix: those are decayed, norms are not.</summary>
    public bool IsMatrix => Shape.Count == 2;
}

/// <summary>
/// The tensors of a model in Hugging Face names (README_WEIGHTS of deepseek-ai/DeepSeek-V3), from its configuration alone. Embedding and head of MTP modules
/// are the main model's and not listed again; router biases are not trained by gradient and listed apart.
/// </summary>
public static class ParameterList
{
    /// <summary>Every trained tensor, in the order in which they lie in memory.</summary>
    public static IEnumerable<ParameterShape> Of(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        var d = config.HiddenSize;
        yield return new("model.embed_tokens.weight", [config.VocabSize, d]);
        for (var layer = 0; layer < config.NumHiddenLayers; layer++)
        {
            foreach (var parameter in Layer(config, layer))
                yield return parameter;
        }

        yield return new("model.norm.weight", [d]);
        if (!config.TieWordEmbeddings)
            yield return new("lm_head.weight", [config.VocabSize, d]);
        for (var layer = config.NumHiddenLayers; layer < config.NumHiddenLayers + config.NumNextnPredictLayers; layer++)
        {
            var prefix = $"model.layers.{layer}";
            yield return new($"{prefix}.enorm.weight", [d]);
            yield return new($"{prefix}.hnorm.weight", [d]);
            yield return new($"{prefix}.eh_proj.weight", [d, 2 * d]);
            foreach (var parameter in Layer(config, layer))
                yield return parameter;
            yield return new($"{prefix}.shared_head.norm.weight", [d]);
        }
    }

    /// <summary>The router biases: [E] each, changed by <see cref="Optimization.RouterBiasUpdate"/> only.</summary>
    public static IEnumerable<(int Layer, ParameterShape Shape)> RouterBiases(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        for (var layer = 0; layer < config.NumHiddenLayers + config.NumNextnPredictLayers; layer++)
        {
            if (config.IsMoeLayer(layer) && config.TopkMethod == TopkMethod.NoauxTc)
                yield return (layer, new($"model.layers.{layer}.mlp.gate.e_score_correction_bias", [config.NRoutedExperts]));
        }
    }

    private static IEnumerable<ParameterShape> Layer(ModelConfig config, int layer)
    {
        var prefix = $"model.layers.{layer}";
        var d = config.HiddenSize;
        yield return new($"{prefix}.input_layernorm.weight", [d]);
        var attention = config.IsLatentAttention ? LatentAttention(config, $"{prefix}.self_attn") : GroupedQueryAttention(config, $"{prefix}.self_attn");
        foreach (var parameter in attention)
            yield return parameter;
        yield return new($"{prefix}.post_attention_layernorm.weight", [d]);
        if (!config.IsMoeLayer(layer))
        {
            foreach (var parameter in FeedForward($"{prefix}.mlp", d, config.IntermediateSize))
                yield return parameter;
            yield break;
        }

        yield return new($"{prefix}.mlp.gate.weight", [config.NRoutedExperts, d]);
        for (var e = 0; e < config.NRoutedExperts; e++)
        {
            foreach (var parameter in FeedForward($"{prefix}.mlp.experts.{e}", d, config.MoeIntermediateSize))
                yield return parameter;
        }

        if (config.NSharedExperts == 0)
            yield break;
        foreach (var parameter in FeedForward($"{prefix}.mlp.shared_experts", d, config.NSharedExperts * config.MoeIntermediateSize))
            yield return parameter;
    }

    private static IEnumerable<ParameterShape> LatentAttention(ModelConfig config, string prefix)
    {
        var d = config.HiddenSize;
        var queries = config.NumAttentionHeads * (config.QkNopeHeadDim + config.QkRopeHeadDim);
        yield return config.QLoraRank is { } down ? new($"{prefix}.q_a_proj.weight", [down, d]) : new($"{prefix}.q_proj.weight", [queries, d]);
        yield return new($"{prefix}.kv_a_proj_with_mqa.weight", [config.KvLoraRank + config.QkRopeHeadDim, d], JoinsPrevious: true);
        if (config.QLoraRank is { } rank)
        {
            yield return new($"{prefix}.q_a_layernorm.weight", [rank]);
            yield return new($"{prefix}.q_b_proj.weight", [queries, rank]);
        }

        yield return new($"{prefix}.kv_a_layernorm.weight", [config.KvLoraRank]);
        yield return new($"{prefix}.kv_b_proj.weight", [config.NumAttentionHeads * (config.QkNopeHeadDim + config.VHeadDim), config.KvLoraRank]);
        yield return new($"{prefix}.o_proj.weight", [d, config.NumAttentionHeads * config.VHeadDim]);
    }

    private static IEnumerable<ParameterShape> GroupedQueryAttention(ModelConfig config, string prefix)
    {
        var d = config.HiddenSize;
        yield return new($"{prefix}.q_proj.weight", [config.NumAttentionHeads * config.HeadDim, d]);
        yield return new($"{prefix}.k_proj.weight", [config.NumKeyValueHeads * config.HeadDim, d], JoinsPrevious: true);
        yield return new($"{prefix}.v_proj.weight", [config.NumKeyValueHeads * config.HeadDim, d], JoinsPrevious: true);
        yield return new($"{prefix}.o_proj.weight", [d, config.NumAttentionHeads * config.HeadDim]);
    }

    private static IEnumerable<ParameterShape> FeedForward(string prefix, int hidden, int width)
    {
        yield return new($"{prefix}.gate_proj.weight", [width, hidden]);
        yield return new($"{prefix}.up_proj.weight", [width, hidden], JoinsPrevious: true);
        yield return new($"{prefix}.down_proj.weight", [hidden, width]);
    }
}
