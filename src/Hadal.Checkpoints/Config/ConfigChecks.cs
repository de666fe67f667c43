using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Config;

/// <summary>What must hold between the fields of a configuration, wherever they were read from.</summary>
internal static class ConfigChecks
{
    /// <summary>Checks a configuration whose single fields are in range.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="file">The file, for messages.</param>
    /// <param name="nameOf">From the name of a field in config.json to what the file calls it.</param>
    /// <exception cref="InvalidDataException">Fields contradict each other.</exception>
    public static void Validate(ModelConfig config, string file, Func<string, string> nameOf)
    {
        void Check(bool holds, string field, string expected, object? found)
        {
            if (!holds)
                throw BadFile.Field(file, nameOf(field), $"expected {expected}, found {found}");
        }

        if (config.IsLatentAttention)
        {
            Check(config.QkRopeHeadDim % 2 == 0, "qk_rope_head_dim", "an even number", config.QkRopeHeadDim);
        }
        else
        {
            Check(config.HeadDim % 2 == 0, "head_dim", "an even number", config.HeadDim);
            Check(
                config.NumAttentionHeads % config.NumKeyValueHeads == 0,
                "num_key_value_heads",
                $"a divisor of the {config.NumAttentionHeads} attention heads",
                config.NumKeyValueHeads);
        }

        if (config.NRoutedExperts > 0)
        {
            var perGroup = config.NRoutedExperts / config.NGroup;
            Check(config.NRoutedExperts % config.NGroup == 0, "n_group", $"a divisor of the {config.NRoutedExperts} routed experts", config.NGroup);
            // A group's score is the sum of its two best experts.
            Check(config.TopkMethod != TopkMethod.NoauxTc || config.NGroup == 1 || perGroup >= 2, "n_group", "groups of at least 2 experts", config.NGroup);
            Check(config.TopkGroup <= config.NGroup, "topk_group", $"at most the {config.NGroup} groups", config.TopkGroup);
            var selectable = config.TopkMethod == TopkMethod.Greedy ? config.NRoutedExperts : perGroup * config.TopkGroup;
            Check(config.NumExpertsPerTok <= selectable, "num_experts_per_tok", $"at most the {selectable} experts that can be selected", config.NumExpertsPerTok);
        }

        Check(config.FirstKDenseReplace <= config.NumHiddenLayers, "first_k_dense_replace", $"at most the {config.NumHiddenLayers} layers", config.FirstKDenseReplace);
        if (config.RopeScaling is { } yarn)
            Check(yarn.BetaFast >= yarn.BetaSlow, "rope_scaling.beta_fast", $"at least beta_slow, {yarn.BetaSlow}", yarn.BetaFast);
        Check(config.BosTokenId is null || config.BosTokenId < config.VocabSize, "bos_token_id", $"an id below the vocabulary size {config.VocabSize}", config.BosTokenId);
        foreach (var eos in config.EosTokenIds)
            Check(eos < config.VocabSize, "eos_token_id", $"an id below the vocabulary size {config.VocabSize}", eos);
    }
}
