using Hadal.Checkpoints.Config;

namespace Hadal.Checkpoints;

/// <summary>
/// Tensors that files may leave out because another one is the same: a tied head is the embedding, and the embedding and head inside an MTP module
/// are copies of the main model's (README_WEIGHTS of deepseek-ai/DeepSeek-V3).
/// </summary>
internal static class NextnLayers
{
    /// <summary>Name of the embedding.</summary>
    public const string Embedding = "model.embed_tokens.weight";

    /// <summary>Name of the head.</summary>
    public const string Head = "lm_head.weight";

    /// <summary>The tensor that stands in for <paramref name="name"/> where that is absent, or null.</summary>
    public static string? Shared(string name, ModelConfig config)
    {
        if (name == Head)
            return config.TieWordEmbeddings ? Embedding : null;
        for (var layer = config.NumHiddenLayers; layer < config.NumHiddenLayers + config.NumNextnPredictLayers; layer++)
        {
            if (name == $"model.layers.{layer}.embed_tokens.weight")
                return Embedding;
            if (name == $"model.layers.{layer}.shared_head.head.weight")
                return Head;
        }

        return null;
    }

    /// <summary>
    /// The configuration with as many MTP modules as the file holds: folders that were fine-tuned or re-published often lack what config.json announces.
    /// </summary>
    public static ModelConfig AsStored(ModelConfig config, Func<string, bool> contains)
    {
        var stored = 0;
        while (stored < config.NumNextnPredictLayers && contains($"model.layers.{config.NumHiddenLayers + stored}.eh_proj.weight"))
            stored++;
        return stored == config.NumNextnPredictLayers
            ? config
            : config with
            {
                NumNextnPredictLayers = stored,
                Assumptions =
                [
                    .. config.Assumptions,
                    $"num_nextn_predict_layers is {config.NumNextnPredictLayers}, but the file holds {stored} MTP modules: {stored} are used.",
                ],
            };
    }
}
