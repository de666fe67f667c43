using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Gguf;

/// <summary>
/// Reads the metadata of a GGUF file of architecture llama or deepseek2 into a <see cref="ModelConfig"/>. Keys and the defaults of absent ones are
/// llama.cpp's (src/llama-model.cpp and src/models/deepseek2.cpp of ggml-org/llama.cpp); a key without a default there is an error here that names it.
/// </summary>
internal sealed class GgufConfig
{
    private readonly GgufMetadata metadata;
    private readonly string prefix;
    private readonly List<string> assumptions = [];

    private GgufConfig(GgufMetadata metadata, string prefix)
    {
        this.metadata = metadata;
        this.prefix = prefix;
    }

    /// <summary>Reads it.</summary>
    /// <param name="metadata">The metadata.</param>
    /// <param name="find">From the name of a tensor to its shape, or null when there is no such tensor.</param>
    /// <exception cref="InvalidDataException">A key is missing, wrong, or asks for what Hadal does not compute.</exception>
    public static ModelConfig Read(GgufMetadata metadata, Func<string, IReadOnlyList<long>?> find)
    {
        var architecture = metadata.RequireString(GgufKeys.Architecture);
        var reader = new GgufConfig(metadata, architecture + ".");
        var config = architecture switch
        {
            "llama" => reader.ReadLlama(),
            "deepseek2" => reader.ReadDeepseek(),
            _ => throw BadFile.Field(metadata.File, GgufKeys.Architecture, $"expected llama or deepseek2, found {BadFile.Quote(architecture)}"),
        };
        config = reader.Common(config, find);
        ConfigChecks.Validate(config, metadata.File, reader.NameOf);
        return config;
    }

    private ModelConfig ReadLlama()
    {
        var hidden = Width(GgufKeys.EmbeddingLength);
        var heads = Int32(GgufKeys.HeadCount, 1, ConfigLimits.Heads);
        var headDim = Int32(GgufKeys.KeyLength, 1, ConfigLimits.HeadDim, Math.Clamp(hidden / heads, 1, ConfigLimits.HeadDim));
        RequireEqual(GgufKeys.ValueLength, headDim);
        RequireEqual(GgufKeys.RopeDimensionCount, headDim);
        if (Int32(GgufKeys.ExpertCount, 0, int.MaxValue, 0) is > 0 and var experts)
            throw Wrong(GgufKeys.ExpertCount, "0 (no experts in a llama model here)", experts);
        var (linear, yarn) = Scaling();
        if (yarn is not null)
            throw Wrong(GgufKeys.RopeScalingType, "none or linear for llama", "yarn");
        return Empty(Architecture.Llama, linear, null) with
        {
            NumHiddenLayers = Int32(GgufKeys.BlockCount, 1, ConfigLimits.Layers),
            NumKeyValueHeads = Int32(GgufKeys.HeadCountKv, 1, heads, heads),
            HeadDim = headDim,
        };
    }

    private ModelConfig ReadDeepseek()
    {
        var (linear, yarn) = Scaling();
        if (linear != 1)
            throw Wrong(GgufKeys.RopeScalingFactor, "1, or type yarn, for deepseek2", linear);
        var rope = Int32(GgufKeys.RopeDimensionCount, 2, ConfigLimits.HeadDim);
        var (key, value) = HeadLengths();
        if (key <= rope)
            throw Wrong(Has(GgufKeys.KeyLengthMla) ? GgufKeys.KeyLengthMla : GgufKeys.KeyLength, $"more than the {rope} rotated dimensions", key);
        var blocks = Int32(GgufKeys.BlockCount, 1, ConfigLimits.Layers);
        var nextn = Int32(GgufKeys.NextnPredictLayers, 0, Math.Min(16, blocks - 1), 0);
        var query = Int32(GgufKeys.QLoraRank, 0, ConfigLimits.Width, 0);
        var config = Empty(Architecture.DeepseekV2, 1, yarn) with
        {
            NumHiddenLayers = blocks - nextn,
            NumNextnPredictLayers = nextn,
            QLoraRank = query == 0 ? null : query,
            KvLoraRank = Width(GgufKeys.KvLoraRank),
            QkNopeHeadDim = key - rope,
            QkRopeHeadDim = rope,
            VHeadDim = value,
        };
        var experts = Int32(GgufKeys.ExpertCount, 0, ConfigLimits.Experts, 0);
        return experts == 0 ? config with { FirstKDenseReplace = config.NumHiddenLayers } : Experts(config, experts);
    }

    /// <summary>
    /// Widths of a query/key head and of a value head. Files made before the split of attn_kv_b give them as key_length and value_length; later ones
    /// give the widths of the absorbed form there (one key/value head of rank + rotated part) and these under names with _mla.
    /// </summary>
    private (int Key, int Value) HeadLengths()
    {
        var absorbed = Has(GgufKeys.KeyLengthMla) || (Int32(GgufKeys.HeadCountKv, 0, int.MaxValue, 0) == 1 && Int32(GgufKeys.HeadCount, 1, ConfigLimits.Heads) > 1);
        return (
            Int32(absorbed ? GgufKeys.KeyLengthMla : GgufKeys.KeyLength, 1, 2 * ConfigLimits.HeadDim),
            Int32(absorbed ? GgufKeys.ValueLengthMla : GgufKeys.ValueLength, 1, ConfigLimits.HeadDim));
    }

    private ModelConfig Experts(ModelConfig config, int experts)
    {
        var scoring = Int32(GgufKeys.ExpertGatingFunc, 0, int.MaxValue, 0) switch
        {
            0 or GgufKeys.GatingSoftmax => ScoringFunc.Softmax,
            GgufKeys.GatingSigmoid => ScoringFunc.Sigmoid,
            var other => throw Wrong(GgufKeys.ExpertGatingFunc, "1 (softmax) or 2 (sigmoid)", other),
        };
        var used = Int32(GgufKeys.ExpertUsedCount, 1, experts);
        var (groups, keptGroups) = Groups(config, experts);
        var scale = Number(GgufKeys.ExpertWeightsScale, 0, ConfigLimits.Factor, 0);
        return config with
        {
            Architecture = scoring == ScoringFunc.Sigmoid ? Architecture.DeepseekV3 : Architecture.DeepseekV2,
            NRoutedExperts = experts,
            NSharedExperts = Int32(GgufKeys.ExpertSharedCount, 0, 1 << 10),
            NumExpertsPerTok = used,
            MoeIntermediateSize = Width(GgufKeys.ExpertFeedForwardLength),
            FirstKDenseReplace = Int32(GgufKeys.LeadingDenseBlockCount, 0, ConfigLimits.Layers, 0),
            NGroup = groups,
            TopkGroup = keptGroups,
            RoutedScalingFactor = scale == 0 ? 1 : scale, // 0 is how llama.cpp says that there is none.
            ScoringFunc = scoring,
            TopkMethod = scoring == ScoringFunc.Sigmoid ? TopkMethod.NoauxTc : groups > 1 ? TopkMethod.GroupLimitedGreedy : TopkMethod.Greedy,
            NormTopkProb = metadata.GetBoolean(prefix + GgufKeys.ExpertWeightsNorm) ?? false,
        };
    }

    /// <summary>
    /// Expert groups. Converters wrote them only from 2025 on, so that files of V3, R1, V2 and V2.5 may lack what those models were trained with; for
    /// exactly these shapes the published numbers are used, and said.
    /// </summary>
    private (int Groups, int Kept) Groups(ModelConfig config, int experts)
    {
        if (Has(GgufKeys.ExpertGroupCount))
        {
            // 0 and 1 both mean no limit.
            var groups = Math.Max(1, Int32(GgufKeys.ExpertGroupCount, 0, experts));
            return (groups, groups == 1 ? 1 : Int32(GgufKeys.ExpertGroupUsedCount, 1, experts));
        }

        (int Groups, int Kept, string Model)? published = (config.NumHiddenLayers, experts) switch
        {
            (61, 256) => (8, 4, "DeepSeek-V3 and R1"),
            (60, 160) => (8, 3, "DeepSeek-V2 and V2.5"),
            _ => null,
        };
        if (published is not { } known)
            return (1, 1);
        assumptions.Add($"{prefix}{GgufKeys.ExpertGroupCount} is absent; {experts} experts in {config.NumHiddenLayers} layers are taken for {known.Model}: {known.Groups} groups of which {known.Kept} are used.");
        return (known.Groups, known.Kept);
    }

    private ModelConfig Common(ModelConfig config, Func<string, IReadOnlyList<long>?> find)
    {
        var embedding = find(GgufNames.Embedding) ?? throw BadFile.Tensor(metadata.File, GgufNames.Embedding, "expected this tensor, found none of that name");
        var rows = embedding.Count == 2 && embedding[0] <= ConfigLimits.Vocab ? (int?)embedding[0] : null;
        return config with
        {
            VocabSize = Int32(GgufKeys.VocabSize, 1, ConfigLimits.Vocab, rows),
            HiddenSize = Width(GgufKeys.EmbeddingLength),
            IntermediateSize = Width(GgufKeys.FeedForwardLength),
            NumAttentionHeads = Int32(GgufKeys.HeadCount, 1, ConfigLimits.Heads),
            RmsNormEps = Number(GgufKeys.RmsEpsilon, double.Epsilon, 1),
            RopeTheta = Number(GgufKeys.RopeFreqBase, 1.000001, ConfigLimits.Factor, 10000),
            MaxPositionEmbeddings = Int32(GgufKeys.ContextLength, 1, ConfigLimits.Positions),
            TieWordEmbeddings = find(GgufNames.Head) is null,
            BosTokenId = TokenId(GgufKeys.BosTokenId),
            EosTokenIds = [.. new[] { TokenId(GgufKeys.EosTokenId), TokenId(GgufKeys.EotTokenId) }.OfType<int>().Distinct()],
            Assumptions = assumptions,
        };
    }

    /// <summary>The divisor of positions, and YaRN. An absent type is linear in llama.cpp, with a factor of 1 when that is absent too.</summary>
    private (double Linear, YarnScaling? Yarn) Scaling()
    {
        foreach (var factor in (ReadOnlySpan<string>)[GgufKeys.RopeScalingAttnFactor, GgufKeys.YarnExtFactor, GgufKeys.YarnAttnFactor])
        {
            if (Number(factor, double.MinValue, double.MaxValue, 1) is var value && value is not (1 or -1))
                throw Wrong(factor, "1", value);
        }

        var type = metadata.GetString(prefix + GgufKeys.RopeScalingType) ?? "linear";
        switch (type)
        {
            case "none":
                return (1, null);
            case "linear":
                var linear = Number(GgufKeys.RopeScalingFactor, 0, ConfigLimits.Factor, Number(GgufKeys.RopeScaleLinear, 0, ConfigLimits.Factor, 0));
                return (linear == 0 ? 1 : linear, null);
            case "yarn":
                return (1, Yarn());
            default:
                throw Wrong(GgufKeys.RopeScalingType, "none, linear or yarn", BadFile.Quote(type));
        }
    }

    /// <summary>
    /// YaRN. The converter stores 0.1 * mscale_all_dim as yarn_log_multiplier and does not store mscale; llama.cpp takes the two to be equal, as in all
    /// published models. Without the key the model had no mscale_all_dim, whose defaults are then mscale 1 and mscale_all_dim 0.
    /// </summary>
    private YarnScaling Yarn()
    {
        double? multiplier = Has(GgufKeys.YarnLogMultiplier) ? Number(GgufKeys.YarnLogMultiplier, 0, ConfigLimits.Factor) : null;
        var mscale = multiplier is { } stored ? (double)((decimal)stored * 10) : 0;
        if (multiplier is null or 0)
            assumptions.Add($"{prefix}{GgufKeys.YarnLogMultiplier} is absent: mscale 1 and mscale_all_dim 0 are used, the defaults of rope_scaling.");
        return new YarnScaling
        {
            Factor = Number(GgufKeys.RopeScalingFactor, 1, ConfigLimits.Factor),
            BetaFast = Number(GgufKeys.YarnBetaFast, 1e-6, ConfigLimits.Factor, 32),
            BetaSlow = Number(GgufKeys.YarnBetaSlow, 1e-6, ConfigLimits.Factor, 1),
            Mscale = mscale == 0 ? 1 : mscale,
            MscaleAllDim = mscale,
            OriginalMaxPositionEmbeddings = Int32(GgufKeys.RopeScalingOriginalContext, 1, ConfigLimits.Positions, Int32(GgufKeys.ContextLength, 1, ConfigLimits.Positions)),
        };
    }

    private int? TokenId(string key) =>
        metadata.GetInt64(key) is { } id ? id is >= 0 and <= int.MaxValue ? (int)id : id is -1 or uint.MaxValue ? null : throw Bad(key, "a token id", id) : null;

    private bool Has(string key) => metadata.Contains(prefix + key);

    private int Width(string key) => Int32(key, 1, ConfigLimits.Width);

    private int Int32(string key, int least, int most, int? fallback = null)
    {
        var value = metadata.GetInt64(prefix + key) ?? fallback ?? throw Wrong(key, $"an integer from {least} to {most}", "no such metadata key");
        return value >= least && value <= most ? (int)value : throw Wrong(key, $"an integer from {least} to {most}", value);
    }

    private double Number(string key, double least, double most, double? fallback = null)
    {
        var value = metadata.GetDouble(prefix + key) ?? fallback ?? throw Wrong(key, $"a number from {least} to {most}", "no such metadata key");
        return value >= least && value <= most ? value : throw Wrong(key, $"a number from {least} to {most}", value);
    }

    private void RequireEqual(string key, int expected)
    {
        if (Int32(key, 0, int.MaxValue, expected) is var found && found != expected)
            throw Wrong(key, $"the head width {expected}", found);
    }

    private InvalidDataException Wrong(string key, string expected, object found) => Bad(prefix + key, expected, found);

    private InvalidDataException Bad(string key, string expected, object found) => BadFile.Field(metadata.File, key, $"expected {expected}, found {found}");

    private string NameOf(string field) => field switch
    {
        "qk_rope_head_dim" => prefix + GgufKeys.RopeDimensionCount,
        "head_dim" => prefix + GgufKeys.KeyLength,
        "num_key_value_heads" => prefix + GgufKeys.HeadCountKv,
        "n_group" => prefix + GgufKeys.ExpertGroupCount,
        "topk_group" => prefix + GgufKeys.ExpertGroupUsedCount,
        "num_experts_per_tok" => prefix + GgufKeys.ExpertUsedCount,
        "first_k_dense_replace" => prefix + GgufKeys.LeadingDenseBlockCount,
        "rope_scaling.beta_fast" => prefix + GgufKeys.YarnBetaFast,
        "bos_token_id" => GgufKeys.BosTokenId,
        "eos_token_id" => GgufKeys.EosTokenId,
        _ => field,
    };

    /// <summary>What each family fills in on its own; <see cref="Common"/> adds the rest.</summary>
    private static ModelConfig Empty(Architecture architecture, double linear, YarnScaling? yarn) => new()
    {
        Architecture = architecture,
        VocabSize = 0,
        HiddenSize = 0,
        IntermediateSize = 0,
        NumHiddenLayers = 0,
        NumAttentionHeads = 0,
        RmsNormEps = 0,
        RopeTheta = 0,
        MaxPositionEmbeddings = 0,
        RopeLinearFactor = linear,
        RopeScaling = yarn,
        RopeInterleaved = true, // The converter permutes llama's rows; DeepSeek's are interleaved already.
    };
}
