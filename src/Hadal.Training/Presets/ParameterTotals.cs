using Hadal.Checkpoints.Config;
using Hadal.Training.Model;

namespace Hadal.Training.Presets;

/// <summary>
/// Parameters and arithmetic of a configuration, from its tensor list alone. Counted as DeepSeek counts them: embedding and head included, router biases too;
/// MTP modules apart and without their copies of embedding and head.
/// </summary>
/// <param name="Total">Parameters of the main model.</param>
/// <param name="Activated">Of them, those that one token meets.</param>
/// <param name="Mtp">Parameters of the MTP modules alone.</param>
/// <param name="MtpActivated">Of them, those that one token meets, with the shared embedding and head.</param>
public sealed record ParameterTotals(long Total, long Activated, long Mtp, long MtpActivated)
{
    /// <summary>Counts a configuration.</summary>
    public static ParameterTotals Of(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        long total = 0, activated = 0, mtp = 0, mtpActivated = 0, ends = 0;
        var biases = ParameterList.RouterBiases(config).Select(bias => bias.Shape);
        foreach (var parameter in ParameterList.Of(config).Concat(biases))
        {
            var inMtp = IsMtp(config, parameter.Name);
            var met = IsRoutedExpert(parameter.Name) ? (double)config.NumExpertsPerTok / config.NRoutedExperts : 1;
            var count = parameter.Count;
            if (parameter.Name is "model.embed_tokens.weight" or "lm_head.weight")
                ends += count;
            if (inMtp)
                (mtp, mtpActivated) = (mtp + count, mtpActivated + (long)Math.Round(count * met));
            else
                (total, activated) = (total + count, activated + (long)Math.Round(count * met));
        }

        return new ParameterTotals(total, activated, mtp, mtp == 0 ? 0 : mtpActivated + (ends * config.NumNextnPredictLayers));
    }

    /// <summary>
    /// Floating-point operations of training one token: 6 for each weight that multiplies it (forward, and twice backward), and attention over half a sequence.
    /// The embedding is a look-up and counts nothing; the head counts once for the main model and once for each MTP module.
    /// </summary>
    /// <param name="config">What the model is.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    public static double TrainingFlopsPerToken(ModelConfig config, int sequenceLength)
    {
        ArgumentNullException.ThrowIfNull(config);
        var multiplied = 0.0;
        foreach (var parameter in ParameterList.Of(config).Where(parameter => parameter.IsMatrix && parameter.Name is not ("model.embed_tokens.weight" or "lm_head.weight")))
            multiplied += parameter.Count * (IsRoutedExpert(parameter.Name) ? (double)config.NumExpertsPerTok / config.NRoutedExperts : 1);
        multiplied += (1 + config.NumNextnPredictLayers) * (double)config.VocabSize * config.HiddenSize;
        var head = config.IsLatentAttention ? config.QkNopeHeadDim + config.QkRopeHeadDim + config.VHeadDim : 2 * config.HeadDim;
        var attention = (config.NumHiddenLayers + config.NumNextnPredictLayers) * (double)config.NumAttentionHeads * head * sequenceLength / 2;
        return 6 * (multiplied + attention);
    }

    private static bool IsRoutedExpert(string name) => name.Contains(".mlp.experts.", StringComparison.Ordinal);

    private static bool IsMtp(ModelConfig config, string name) =>
        name.StartsWith("model.layers.", StringComparison.Ordinal) && int.Parse(name.Split('.')[2]) >= config.NumHiddenLayers;
}
