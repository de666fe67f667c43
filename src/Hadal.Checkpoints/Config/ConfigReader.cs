using System.Text.Json;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Config;

/// <summary>
/// Reads config.json of LlamaForCausalLM, DeepseekV2ForCausalLM and DeepseekV3ForCausalLM into a <see cref="ModelConfig"/>, by field and never by the
/// size of a model. Absent fields take the defaults of the configuration classes that come with the models (configuration_deepseek.py in
/// deepseek-ai/DeepSeek-V2 and DeepSeek-V3 on Hugging Face; LlamaConfig of huggingface/transformers). What a config asks for and Hadal does not compute
/// is an error that names the field.
/// </summary>
public static class ConfigReader
{
    private const int LargestFile = 1 << 22;

    private static readonly (string Name, string ModelType, Architecture Architecture)[] Architectures =
    [
        ("LlamaForCausalLM", "llama", Architecture.Llama),
        ("DeepseekV2ForCausalLM", "deepseek_v2", Architecture.DeepseekV2),
        ("DeepseekV3ForCausalLM", "deepseek_v3", Architecture.DeepseekV3),
    ];

    /// <summary>Reads a config.json.</summary>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="InvalidDataException">A field is missing, wrong or unsupported; the message names file, field, expected and found.</exception>
    public static ModelConfig Read(string path) => Parse(JsonFile.ReadBytes(path, LargestFile), path);

    /// <summary>Parses the text of a config.json.</summary>
    /// <param name="json">UTF-8 text.</param>
    /// <param name="file">The name to give in messages.</param>
    /// <exception cref="InvalidDataException">As <see cref="Read"/>.</exception>
    public static ModelConfig Parse(ReadOnlyMemory<byte> json, string file)
    {
        using var document = JsonFile.Parse(file, json);
        var fields = new JsonFields(file, document.RootElement);
        var architecture = ReadArchitecture(fields);
        RequireSupported(fields);
        var config = architecture == Architecture.Llama ? ReadLlama(fields) : ReadDeepseek(fields, architecture);
        config = Quantization(fields, config);
        ConfigChecks.Validate(config, file, static field => field);
        return config;
    }

    private static Architecture ReadArchitecture(JsonFields fields)
    {
        var supported = string.Join(", ", Architectures.Select(known => known.Name));
        if (fields.Array("architectures") is { Count: > 0 } names)
        {
            var name = JsonFields.TextOf(names[0]);
            var index = Array.FindIndex(Architectures, known => known.Name == name);
            return index >= 0 && names.Count == 1 ? Architectures[index].Architecture : throw fields.Wrong("architectures", $"one of {supported}", name ?? "no name");
        }

        var modelType = fields.Text("model_type") ?? throw fields.Wrong("architectures", $"one of {supported}", "no such field, and no model_type");
        var byType = Array.FindIndex(Architectures, known => known.ModelType == modelType);
        return byType >= 0
            ? Architectures[byType].Architecture
            : throw fields.Wrong("model_type", string.Join(", ", Architectures.Select(known => known.ModelType)), modelType);
    }

    /// <summary>Refuses what no family here computes.</summary>
    private static void RequireSupported(JsonFields fields)
    {
        foreach (var flag in (ReadOnlySpan<string>)["attention_bias", "mlp_bias"])
        {
            if (fields.Boolean(flag, fallback: false))
                throw fields.Wrong(flag, "false (linear layers have no bias here)", "true");
        }

        if (fields.Text("hidden_act") is { } activation and not "silu")
            throw fields.Wrong("hidden_act", "silu", activation);
    }

    private static ModelConfig ReadLlama(JsonFields fields)
    {
        var hidden = Width(fields, "hidden_size");
        var heads = fields.Int32("num_attention_heads", 1, ConfigLimits.Heads);
        if (!fields.Has("head_dim") && hidden % heads != 0)
            throw fields.Wrong("num_attention_heads", $"a divisor of hidden_size {hidden}, there being no head_dim", $"{heads}");
        var headDim = fields.Int32("head_dim", 1, ConfigLimits.HeadDim, hidden / heads is var quotient and <= ConfigLimits.HeadDim and > 0 ? quotient : null);
        var rope = ConfigRope.Read(fields, yarnAllowed: false, linearAllowed: true);
        return Common(fields, Architecture.Llama, rope, defaultPositions: 2048, interleaved: false) with
        {
            NumKeyValueHeads = fields.Int32("num_key_value_heads", 1, heads, heads),
            HeadDim = headDim,
        };
    }

    private static ModelConfig ReadDeepseek(JsonFields fields, Architecture architecture)
    {
        var v3 = architecture == Architecture.DeepseekV3;
        var heads = fields.Int32("num_attention_heads", 1, ConfigLimits.Heads);
        if (fields.Int32("num_key_value_heads", 1, ConfigLimits.Heads, heads) is var keyValueHeads && keyValueHeads != heads)
            throw fields.Wrong("num_key_value_heads", $"as many as num_attention_heads, {heads}", $"{keyValueHeads}");
        var rope = ConfigRope.Read(fields, yarnAllowed: true, linearAllowed: false);
        var layers = fields.Int32("num_hidden_layers", 1, ConfigLimits.Layers);
        var config = Common(fields, architecture, rope, defaultPositions: v3 ? 4096 : 2048, interleaved: fields.Boolean("rope_interleave", fallback: true)) with
        {
            // Null, as in V2-Lite, is a plain q_proj; absent is the class's default.
            QLoraRank = fields.Has("q_lora_rank") ? Width(fields, "q_lora_rank") : fields.IsNull("q_lora_rank") ? null : 1536,
            KvLoraRank = Width(fields, "kv_lora_rank"),
            QkNopeHeadDim = fields.Int32("qk_nope_head_dim", 1, ConfigLimits.HeadDim),
            QkRopeHeadDim = fields.Int32("qk_rope_head_dim", 2, ConfigLimits.HeadDim),
            VHeadDim = fields.Int32("v_head_dim", 1, ConfigLimits.HeadDim),
            NumNextnPredictLayers = fields.Int32("num_nextn_predict_layers", 0, 16, 0),
        };
        var experts = fields.Int32("n_routed_experts", 0, ConfigLimits.Experts, v3 ? null : 0);
        return experts == 0 ? config with { FirstKDenseReplace = layers } : Experts(fields, config, experts, v3);
    }

    private static ModelConfig Experts(JsonFields fields, ModelConfig config, int experts, bool v3)
    {
        var method = (fields.Text("topk_method") ?? (v3 ? "noaux_tc" : "greedy")) switch
        {
            "greedy" or "gready" => TopkMethod.Greedy, // The second is how the default of configuration_deepseek.py is spelled.
            "group_limited_greedy" => TopkMethod.GroupLimitedGreedy,
            "noaux_tc" => TopkMethod.NoauxTc,
            var other => throw fields.Wrong("topk_method", "greedy, group_limited_greedy or noaux_tc", other),
        };
        var scoring = (fields.Text("scoring_func") ?? (v3 ? "sigmoid" : "softmax")) switch
        {
            "softmax" => ScoringFunc.Softmax,
            "sigmoid" => ScoringFunc.Sigmoid,
            var other => throw fields.Wrong("scoring_func", "softmax or sigmoid", other),
        };
        var groups = fields.Int32("n_group", 1, experts, v3 ? 8 : 1);
        var keptGroups = fields.Int32("topk_group", 1, experts, v3 ? 4 : 1);
        var limited = method != TopkMethod.Greedy; // Greedy selection does not look at groups.
        return config with
        {
            NRoutedExperts = experts,
            NSharedExperts = fields.Int32("n_shared_experts", 0, 1 << 10, 0),
            NumExpertsPerTok = fields.Int32("num_experts_per_tok", 1, experts, v3 ? 8 : null),
            MoeIntermediateSize = Width(fields, "moe_intermediate_size"),
            FirstKDenseReplace = fields.Int32("first_k_dense_replace", 0, ConfigLimits.Layers, v3 ? 3 : 0),
            MoeLayerFreq = fields.Int32("moe_layer_freq", 1, ConfigLimits.Layers, 1),
            NGroup = limited ? groups : 1,
            TopkGroup = limited ? keptGroups : 1,
            RoutedScalingFactor = fields.Number("routed_scaling_factor", 1e-6, ConfigLimits.Factor, v3 ? 2.5 : 1),
            ScoringFunc = scoring,
            TopkMethod = method,
            NormTopkProb = fields.Boolean("norm_topk_prob", fallback: v3),
        };
    }

    private static ModelConfig Common(JsonFields fields, Architecture architecture, ConfigRope rope, int defaultPositions, bool interleaved)
    {
        var vocab = fields.Int32("vocab_size", 1, ConfigLimits.Vocab);
        return new ModelConfig
        {
            Architecture = architecture,
            VocabSize = vocab,
            HiddenSize = Width(fields, "hidden_size"),
            IntermediateSize = Width(fields, "intermediate_size"),
            NumHiddenLayers = fields.Int32("num_hidden_layers", 1, ConfigLimits.Layers),
            NumAttentionHeads = fields.Int32("num_attention_heads", 1, ConfigLimits.Heads),
            RmsNormEps = fields.Number("rms_norm_eps", double.Epsilon, 1, 1e-6),
            RopeTheta = rope.Theta,
            RopeScaling = rope.Yarn,
            RopeLinearFactor = rope.LinearFactor,
            RopeInterleaved = interleaved,
            MaxPositionEmbeddings = fields.Int32("max_position_embeddings", 1, ConfigLimits.Positions, defaultPositions),
            TieWordEmbeddings = fields.Boolean("tie_word_embeddings", fallback: false),
            BosTokenId = fields.Has("bos_token_id") ? fields.Int32("bos_token_id", 0, int.MaxValue) : null,
            EosTokenIds = EosTokens(fields),
        };
    }

    private static int[] EosTokens(JsonFields fields)
    {
        if (fields.Find("eos_token_id") is not { } value)
            return [];
        if (value.ValueKind != JsonValueKind.Array)
            return [fields.Int32("eos_token_id", 0, int.MaxValue)];
        if (value.GetArrayLength() > 64)
            throw fields.Wrong("eos_token_id", "at most 64 ids", $"{value.GetArrayLength()}");
        return [.. value.EnumerateArray().Select(id =>
            id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out var number) && number >= 0 ? number : throw fields.Wrong("eos_token_id", "ids from 0 on", id))];
    }

    /// <summary>DeepSeek's FP8: e4m3 in blocks of 128x128, activations quantised as they come.</summary>
    private static ModelConfig Quantization(JsonFields fields, ModelConfig config)
    {
        if (fields.Object("quantization_config") is not { } quantization)
            return config;
        Require("quant_method", "fp8", null);
        Require("fmt", "e4m3", "e4m3");
        Require("activation_scheme", "dynamic", "dynamic");
        if (quantization.Array("weight_block_size") is not { } block)
            throw quantization.Wrong("weight_block_size", "[128, 128]", "no such field");
        if (block.Count != 2 || !block.All(side => side.ValueKind == JsonValueKind.Number && side.TryGetInt32(out var length) && length == 128))
            throw quantization.Wrong("weight_block_size", "[128, 128]", $"[{string.Join(", ", block.Take(4).Select(side => side.GetRawText()))}]");
        var scaleFormat = quantization.Text("scale_fmt");
        if (scaleFormat is not (null or "ue8m0" or "float"))
            throw quantization.Wrong("scale_fmt", "ue8m0, or none", scaleFormat);
        return config with { Fp8Weights = true, Ue8m0ActivationScales = scaleFormat == "ue8m0" };

        void Require(string name, string expected, string? fallback)
        {
            if ((quantization.Text(name) ?? fallback) is var found && found != expected)
                throw quantization.Wrong(name, expected, found ?? "no such field");
        }
    }

    private static int Width(JsonFields fields, string name) => fields.Int32(name, 1, ConfigLimits.Width);
}
