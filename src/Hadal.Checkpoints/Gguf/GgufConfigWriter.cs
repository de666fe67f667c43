using Hadal.Checkpoints.Config;

namespace Hadal.Checkpoints.Gguf;

/// <summary>
/// Writes a <see cref="ModelConfig"/> as GGUF metadata, with the keys and conventions of today's converter (conversion/deepseek.py and
/// conversion/llama.py of ggml-org/llama.cpp).
/// </summary>
internal static class GgufConfigWriter
{
    /// <summary>Adds the keys of the architecture.</summary>
    /// <param name="metadata">Where to.</param>
    /// <param name="config">What to say.</param>
    /// <param name="file">The model it came from, for messages.</param>
    /// <param name="splitUpProjection">Whether the key/value up-projection is stored as attn_k_b and attn_v_b.</param>
    /// <param name="nextn">MTP modules in the file.</param>
    /// <exception cref="InvalidDataException">GGUF has no way to say it.</exception>
    public static void Write(GgufMetadataBuilder metadata, ModelConfig config, string file, bool splitUpProjection, int nextn)
    {
        var prefix = ArchitectureName(config) + ".";
        void Add(string key, int value) => metadata.Add(prefix + key, value);

        Add(GgufKeys.BlockCount, config.NumHiddenLayers + nextn);
        Add(GgufKeys.ContextLength, config.MaxPositionEmbeddings);
        Add(GgufKeys.EmbeddingLength, config.HiddenSize);
        Add(GgufKeys.FeedForwardLength, config.IntermediateSize);
        Add(GgufKeys.HeadCount, config.NumAttentionHeads);
        metadata.Add(prefix + GgufKeys.RopeFreqBase, config.RopeTheta);
        metadata.Add(prefix + GgufKeys.RmsEpsilon, config.RmsNormEps);
        Add(GgufKeys.VocabSize, config.VocabSize);
        if (config.IsLatentAttention)
            WriteLatent(metadata, prefix, config, file, splitUpProjection, nextn);
        else
            WriteGrouped(metadata, prefix, config);
        WriteRope(metadata, prefix, config, file);
    }

    /// <summary>What llama.cpp calls the architecture.</summary>
    public static string ArchitectureName(ModelConfig config) => config.IsLatentAttention ? "deepseek2" : "llama";

    private static void WriteGrouped(GgufMetadataBuilder metadata, string prefix, ModelConfig config)
    {
        metadata.Add(prefix + GgufKeys.HeadCountKv, config.NumKeyValueHeads);
        metadata.Add(prefix + GgufKeys.KeyLength, config.HeadDim);
        metadata.Add(prefix + GgufKeys.ValueLength, config.HeadDim);
        metadata.Add(prefix + GgufKeys.RopeDimensionCount, config.HeadDim);
    }

    private static void WriteLatent(GgufMetadataBuilder metadata, string prefix, ModelConfig config, string file, bool split, int nextn)
    {
        void Add(string key, int value) => metadata.Add(prefix + key, value);

        if (!config.RopeInterleaved)
            throw new InvalidDataException($"{file}: rope_interleave: expected true, as every GGUF of deepseek2 is, found false");
        var head = config.QkNopeHeadDim + config.QkRopeHeadDim;

        // Split, attention is the absorbed form: one key/value head of the latent and the rotated part.
        Add(GgufKeys.HeadCountKv, split ? 1 : config.NumAttentionHeads);
        Add(GgufKeys.KeyLength, split ? config.KvLoraRank + config.QkRopeHeadDim : head);
        Add(GgufKeys.ValueLength, split ? config.KvLoraRank : config.VHeadDim);
        if (split)
        {
            Add(GgufKeys.KeyLengthMla, head);
            Add(GgufKeys.ValueLengthMla, config.VHeadDim);
        }

        if (config.QLoraRank is { } rank)
            Add(GgufKeys.QLoraRank, rank);
        Add(GgufKeys.KvLoraRank, config.KvLoraRank);
        Add(GgufKeys.RopeDimensionCount, config.QkRopeHeadDim);
        Add(GgufKeys.LeadingDenseBlockCount, config.FirstKDenseReplace);
        if (nextn > 0)
            Add(GgufKeys.NextnPredictLayers, nextn);
        if (config.NRoutedExperts > 0)
        {
            WriteExperts(metadata, prefix, config, file);
            return;
        }

        // llama.cpp asks for these two even where every layer is dense.
        Add(GgufKeys.ExpertSharedCount, 0);
        Add(GgufKeys.ExpertFeedForwardLength, config.IntermediateSize);
    }

    private static void WriteExperts(GgufMetadataBuilder metadata, string prefix, ModelConfig config, string file)
    {
        void Add(string key, int value) => metadata.Add(prefix + key, value);

        var sigmoid = config.ScoringFunc == ScoringFunc.Sigmoid;
        if (config.MoeLayerFreq != 1)
            throw new InvalidDataException($"{file}: moe_layer_freq: expected 1, which is all that GGUF can say, found {config.MoeLayerFreq}");
        if (sigmoid != (config.TopkMethod == TopkMethod.NoauxTc))
            throw new InvalidDataException($"{file}: topk_method: expected noaux_tc with sigmoid or another with softmax, which is all that GGUF can say, found {config.TopkMethod} with {config.ScoringFunc}");
        Add(GgufKeys.ExpertCount, config.NRoutedExperts);
        Add(GgufKeys.ExpertUsedCount, config.NumExpertsPerTok);
        Add(GgufKeys.ExpertSharedCount, config.NSharedExperts);
        Add(GgufKeys.ExpertFeedForwardLength, config.MoeIntermediateSize);
        Add(GgufKeys.ExpertGatingFunc, sigmoid ? GgufKeys.GatingSigmoid : GgufKeys.GatingSoftmax);
        metadata.Add(prefix + GgufKeys.ExpertWeightsScale, config.RoutedScalingFactor);
        metadata.Add(prefix + GgufKeys.ExpertWeightsNorm, config.NormTopkProb);

        // One group is no limit, but a file that says so is not taken for one that was written before the key existed.
        // llama.cpp does not take as many groups used as there are, which is no limit either.
        var limited = config.TopkGroup < config.NGroup;
        Add(GgufKeys.ExpertGroupCount, limited ? config.NGroup : 1);
        Add(GgufKeys.ExpertGroupUsedCount, limited ? config.TopkGroup : 1);
    }

    private static void WriteRope(GgufMetadataBuilder metadata, string prefix, ModelConfig config, string file)
    {
        if (config.RopeLinearFactor != 1)
        {
            metadata.Add(prefix + GgufKeys.RopeScalingType, "linear");
            metadata.Add(prefix + GgufKeys.RopeScalingFactor, config.RopeLinearFactor);
        }

        if (config.RopeScaling is not { } yarn)
            return;
        if (yarn.Mscale != yarn.MscaleAllDim && !(yarn.Mscale == 1 && yarn.MscaleAllDim == 0))
            throw new InvalidDataException($"{file}: rope_scaling.mscale: expected the same as mscale_all_dim, {yarn.MscaleAllDim}, which is all that GGUF can say, found {yarn.Mscale}");
        metadata.Add(prefix + GgufKeys.RopeScalingType, "yarn");
        metadata.Add(prefix + GgufKeys.RopeScalingFactor, yarn.Factor);
        metadata.Add(prefix + GgufKeys.RopeScalingOriginalContext, yarn.OriginalMaxPositionEmbeddings);
        metadata.Add(prefix + GgufKeys.YarnBetaFast, yarn.BetaFast);
        metadata.Add(prefix + GgufKeys.YarnBetaSlow, yarn.BetaSlow);
        if (yarn.MscaleAllDim != 0)
            metadata.Add(prefix + GgufKeys.YarnLogMultiplier, (double)((decimal)yarn.MscaleAllDim / 10));
    }
}
