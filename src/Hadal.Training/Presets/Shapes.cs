using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Synthetic;

namespace Hadal.Training.Presets;

/// <summary>
/// Shapes to train, by name: every published one (<see cref="PublishedShapes"/>), the large ablation shape of the DeepSeek-V3 report, and small ones of the
/// same architecture for one's own machine.
/// </summary>
public static class Shapes
{
    private static readonly Dictionary<string, ModelConfig> Own = new(StringComparer.OrdinalIgnoreCase)
    {
        // The report gives 228.7B parameters of which 20.9B are activated (section 4.5) and calls the architecture V2's; the rest is not published. This is
        // V2's shape with V3's router and one MTP module, with as many routed experts as come nearest to the total.
        ["deepseek-228b"] = PublishedShapes.Find("deepseek-v2") with
        {
            Architecture = Architecture.DeepseekV3, NRoutedExperts = 155, NSharedExperts = 2, NumExpertsPerTok = 6, NGroup = 1, TopkGroup = 1, RoutedScalingFactor = 2.5,
            ScoringFunc = ScoringFunc.Sigmoid, TopkMethod = TopkMethod.NoauxTc, NormTopkProb = true, NumNextnPredictLayers = 1, RopeScaling = null, MaxPositionEmbeddings = 4096,
        },
        ["small"] = Small(4096, 256, 6, 8, 512, 16, 128, 4),
        ["tiny"] = Small(2048, 128, 4, 4, 320, 8, 64, 2),
    };

    /// <summary>Names that <see cref="Find"/> knows.</summary>
    public static IEnumerable<string> Names => PublishedShapes.Names.Concat(Own.Keys).Order(StringComparer.Ordinal);

    /// <summary>The configuration of a name.</summary>
    /// <exception cref="ArgumentException">No shape of that name.</exception>
    public static ModelConfig Find(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (Own.TryGetValue(name, out var shape))
            return shape;
        try
        {
            return PublishedShapes.Find(name);
        }
        catch (ArgumentException unknown)
        {
            throw new ArgumentException($"no shape is called {name}; known: {string.Join(", ", Names)}", unknown);
        }
    }

    private static ModelConfig Small(int vocabulary, int hidden, int layers, int heads, int dense, int experts, int width, int perToken) => new()
    {
        Architecture = Architecture.DeepseekV3, VocabSize = vocabulary, HiddenSize = hidden, IntermediateSize = dense, NumHiddenLayers = layers, NumAttentionHeads = heads,
        QLoraRank = hidden / 2, KvLoraRank = hidden / 4, QkNopeHeadDim = 32, QkRopeHeadDim = 16, VHeadDim = 32, NRoutedExperts = experts, NSharedExperts = 1, NumExpertsPerTok = perToken,
        MoeIntermediateSize = width, FirstKDenseReplace = 1, RoutedScalingFactor = 1, ScoringFunc = ScoringFunc.Sigmoid, TopkMethod = TopkMethod.NoauxTc, NormTopkProb = true,
        NumNextnPredictLayers = 1, RmsNormEps = 1e-6, RopeTheta = 10000, RopeInterleaved = true, MaxPositionEmbeddings = 4096, BosTokenId = 0, EosTokenIds = [1],
    };
}
