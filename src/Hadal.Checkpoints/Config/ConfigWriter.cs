using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Checkpoints.Config;

/// <summary>Writes a configuration as the config.json that <see cref="ConfigReader"/> and Hugging Face's classes read.</summary>
public static class ConfigWriter
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>The text of config.json.</summary>
    /// <param name="config">What the model is.</param>
    /// <param name="weights">What its weights are stored as: <c>bfloat16</c> or <c>float32</c>.</param>
    public static string Json(ModelConfig config, string weights)
    {
        ArgumentNullException.ThrowIfNull(config);
        var (name, type) = config.Architecture switch
        {
            Architecture.Llama => ("LlamaForCausalLM", "llama"),
            Architecture.DeepseekV2 => ("DeepseekV2ForCausalLM", "deepseek_v2"),
            _ => ("DeepseekV3ForCausalLM", "deepseek_v3"),
        };
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray(name),
            ["model_type"] = type,
            ["vocab_size"] = config.VocabSize,
            ["hidden_size"] = config.HiddenSize,
            ["intermediate_size"] = config.IntermediateSize,
            ["num_hidden_layers"] = config.NumHiddenLayers,
            ["num_attention_heads"] = config.NumAttentionHeads,
            ["hidden_act"] = "silu",
            ["attention_bias"] = false,
            ["attention_dropout"] = 0.0,
            ["rms_norm_eps"] = config.RmsNormEps,
            ["rope_theta"] = config.RopeTheta,
            ["max_position_embeddings"] = config.MaxPositionEmbeddings,
            ["tie_word_embeddings"] = config.TieWordEmbeddings,
            ["use_cache"] = true,
            ["torch_dtype"] = weights,
        };
        if (config.BosTokenId is { } bos)
            json["bos_token_id"] = bos;
        if (config.EosTokenIds.Count > 0)
            json["eos_token_id"] = config.EosTokenIds is [var only] ? only : new JsonArray([.. config.EosTokenIds.Select(id => (JsonNode)id)]);
        json["rope_scaling"] = Rope(config);
        if (config.IsLatentAttention)
            LatentAttention(json, config);
        else
            (json["num_key_value_heads"], json["head_dim"]) = (config.NumKeyValueHeads, config.HeadDim);
        if (config.NRoutedExperts > 0)
            Experts(json, config);
        else if (config.IsLatentAttention)
            json["n_routed_experts"] = 0;
        return json.ToJsonString(Indented) + "\n";
    }

    private static JsonObject? Rope(ModelConfig config)
    {
        if (config.RopeScaling is { } yarn)
        {
            return new JsonObject
            {
                ["type"] = "yarn", ["factor"] = yarn.Factor, ["beta_fast"] = yarn.BetaFast, ["beta_slow"] = yarn.BetaSlow, ["mscale"] = yarn.Mscale,
                ["mscale_all_dim"] = yarn.MscaleAllDim, ["original_max_position_embeddings"] = yarn.OriginalMaxPositionEmbeddings,
            };
        }

        return config.RopeLinearFactor == 1 ? null : new JsonObject { ["type"] = "linear", ["factor"] = config.RopeLinearFactor };
    }

    private static void LatentAttention(JsonObject json, ModelConfig config)
    {
        json["num_key_value_heads"] = config.NumAttentionHeads;
        json["q_lora_rank"] = config.QLoraRank;
        json["kv_lora_rank"] = config.KvLoraRank;
        json["qk_nope_head_dim"] = config.QkNopeHeadDim;
        json["qk_rope_head_dim"] = config.QkRopeHeadDim;
        json["v_head_dim"] = config.VHeadDim;
        json["num_nextn_predict_layers"] = config.NumNextnPredictLayers;
        if (!config.RopeInterleaved)
            json["rope_interleave"] = false;
    }

    private static void Experts(JsonObject json, ModelConfig config)
    {
        json["n_routed_experts"] = config.NRoutedExperts;
        json["n_shared_experts"] = config.NSharedExperts;
        json["num_experts_per_tok"] = config.NumExpertsPerTok;
        json["moe_intermediate_size"] = config.MoeIntermediateSize;
        json["first_k_dense_replace"] = config.FirstKDenseReplace;
        json["moe_layer_freq"] = config.MoeLayerFreq;
        json["n_group"] = config.NGroup;
        json["topk_group"] = config.TopkGroup;
        json["routed_scaling_factor"] = config.RoutedScalingFactor;
        json["scoring_func"] = config.ScoringFunc == ScoringFunc.Sigmoid ? "sigmoid" : "softmax";
        json["topk_method"] = config.TopkMethod switch
        {
            TopkMethod.NoauxTc => "noaux_tc",
            TopkMethod.GroupLimitedGreedy => "group_limited_greedy",
            _ => "greedy",
        };
        json["norm_topk_prob"] = config.NormTopkProb;
    }
}
