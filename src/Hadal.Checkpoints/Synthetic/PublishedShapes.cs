using Hadal.Checkpoints.Config;

namespace Hadal.Checkpoints.Synthetic;

/// <summary>
/// The configurations of published models, by name: what a user can measure before downloading anything. Sources: config.json of the models on Hugging Face;
/// DeepSeek-V3 inference/configs; DeepSeek-V2 report section 3.1.2 and appendix B; DeepSeek LLM report table 2. Linear rotary scaling of the Coder models is
/// left out: it has no influence on speed.
/// </summary>
public static class PublishedShapes
{
    private static readonly YarnScaling V3Yarn = new()
    {
        Factor = 40, BetaFast = 32, BetaSlow = 1, Mscale = 1, MscaleAllDim = 1, OriginalMaxPositionEmbeddings = 4096,
    };

    private static readonly Dictionary<string, ModelConfig> Shapes = new(StringComparer.OrdinalIgnoreCase)
    {
        ["deepseek-v3"] = DeepSeekV3(61),
        ["deepseek-v2"] = new ModelConfig
        {
            Architecture = Architecture.DeepseekV2, VocabSize = 102400, HiddenSize = 5120, IntermediateSize = 12288, NumHiddenLayers = 60, NumAttentionHeads = 128,
            QLoraRank = 1536, KvLoraRank = 512, QkNopeHeadDim = 128, QkRopeHeadDim = 64, VHeadDim = 128, NRoutedExperts = 160, NSharedExperts = 2,
            NumExpertsPerTok = 6, MoeIntermediateSize = 1536, FirstKDenseReplace = 1, NGroup = 8, TopkGroup = 3, RoutedScalingFactor = 16,
            ScoringFunc = ScoringFunc.Softmax, TopkMethod = TopkMethod.GroupLimitedGreedy, RmsNormEps = 1e-6, RopeTheta = 10000, RopeInterleaved = true,
            RopeScaling = V3Yarn with { Mscale = 0.707, MscaleAllDim = 0.707 }, MaxPositionEmbeddings = 163840, BosTokenId = 100000, EosTokenIds = [100001],
        },
        ["deepseek-v2-lite"] = new ModelConfig
        {
            Architecture = Architecture.DeepseekV2, VocabSize = 102400, HiddenSize = 2048, IntermediateSize = 10944, NumHiddenLayers = 27, NumAttentionHeads = 16,
            KvLoraRank = 512, QkNopeHeadDim = 128, QkRopeHeadDim = 64, VHeadDim = 128, NRoutedExperts = 64, NSharedExperts = 2, NumExpertsPerTok = 6,
            MoeIntermediateSize = 1408, FirstKDenseReplace = 1, ScoringFunc = ScoringFunc.Softmax, TopkMethod = TopkMethod.Greedy, RmsNormEps = 1e-6,
            RopeTheta = 10000, RopeInterleaved = true, RopeScaling = V3Yarn with { Mscale = 0.707, MscaleAllDim = 0.707 }, MaxPositionEmbeddings = 163840,
            BosTokenId = 100000, EosTokenIds = [100001],
        },
        ["moonlight-16b"] = new ModelConfig
        {
            Architecture = Architecture.DeepseekV3, VocabSize = 163840, HiddenSize = 2048, IntermediateSize = 11264, NumHiddenLayers = 27, NumAttentionHeads = 16,
            KvLoraRank = 512, QkNopeHeadDim = 128, QkRopeHeadDim = 64, VHeadDim = 128, NRoutedExperts = 64, NSharedExperts = 2, NumExpertsPerTok = 6,
            MoeIntermediateSize = 1408, FirstKDenseReplace = 1, RoutedScalingFactor = 2.446, ScoringFunc = ScoringFunc.Sigmoid, TopkMethod = TopkMethod.NoauxTc,
            NormTopkProb = true, RmsNormEps = 1e-5, RopeTheta = 50000, RopeInterleaved = true, MaxPositionEmbeddings = 8192, BosTokenId = 163584, EosTokenIds = [163585],
        },
        ["kimi-k2"] = DeepSeekV3(61) with
        {
            VocabSize = 163840, NumAttentionHeads = 64, NRoutedExperts = 384, FirstKDenseReplace = 1, NGroup = 1, TopkGroup = 1, RoutedScalingFactor = 2.827,
            NumNextnPredictLayers = 0, RopeTheta = 50000, RopeScaling = V3Yarn with { Factor = 32 }, MaxPositionEmbeddings = 131072, BosTokenId = 163584, EosTokenIds = [163585],
        },
        ["deepseek-coder-1.3b"] = Llama(2048, 5504, 24, 16, 16) with { VocabSize = 32256, MaxPositionEmbeddings = 16384, RopeTheta = 100000, BosTokenId = 32013, EosTokenIds = [32014] },
        ["deepseek-coder-6.7b"] = Llama(4096, 11008, 32, 32, 32) with { VocabSize = 32256, MaxPositionEmbeddings = 16384, RopeTheta = 100000, BosTokenId = 32013, EosTokenIds = [32014] },
        ["deepseek-coder-33b"] = Llama(7168, 19200, 62, 56, 8) with { VocabSize = 32256, MaxPositionEmbeddings = 16384, RopeTheta = 100000, BosTokenId = 32013, EosTokenIds = [32014] },
        ["deepseek-llm-7b"] = Llama(4096, 11008, 30, 32, 32),
        ["deepseek-llm-67b"] = Llama(8192, 22016, 95, 64, 8),
    };

    /// <summary>Names that <see cref="Find"/> knows.</summary>
    public static IEnumerable<string> Names => Shapes.Keys.Append("deepseek-v3-slice:N").Append("NAME:N").Order(StringComparer.Ordinal);

    /// <summary>
    /// The configuration of a name; <c>deepseek-v3-slice:N</c> is DeepSeek-V3 cut to N layers and its MTP module, <c>NAME:N</c> any other shape cut to N layers.
    /// The prefix <c>deepseek-</c> may be left out.
    /// </summary>
    /// <exception cref="ArgumentException">No shape of that name.</exception>
    public static ModelConfig Find(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (Shapes.TryGetValue(name, out var shape) || Shapes.TryGetValue($"deepseek-{name}", out shape))
            return shape;
        var parts = name.Split(':');
        if (parts is [var slice, var count] && slice.EndsWith("v3-slice", StringComparison.OrdinalIgnoreCase) && int.TryParse(count, out var layers) && layers is > 0 and <= 61)
            return DeepSeekV3(layers);
        if (parts is [var whole, var few] && (Shapes.TryGetValue(whole, out shape) || Shapes.TryGetValue($"deepseek-{whole}", out shape))
            && int.TryParse(few, out layers) && layers > 0 && layers <= shape.NumHiddenLayers)
            return shape with { NumHiddenLayers = layers, FirstKDenseReplace = Math.Min(shape.FirstKDenseReplace, Math.Max(1, layers / 2)) };
        throw new ArgumentException($"no shape is called {name}; known: {string.Join(", ", Names)}");
    }

    private static ModelConfig DeepSeekV3(int layers) => new()
    {
        Architecture = Architecture.DeepseekV3, VocabSize = 129280, HiddenSize = 7168, IntermediateSize = 18432, NumHiddenLayers = layers, NumAttentionHeads = 128,
        QLoraRank = 1536, KvLoraRank = 512, QkNopeHeadDim = 128, QkRopeHeadDim = 64, VHeadDim = 128, NRoutedExperts = 256, NSharedExperts = 1,
        NumExpertsPerTok = 8, MoeIntermediateSize = 2048, FirstKDenseReplace = Math.Min(3, Math.Max(1, layers / 2)), NGroup = 8, TopkGroup = 4,
        RoutedScalingFactor = 2.5, ScoringFunc = ScoringFunc.Sigmoid, TopkMethod = TopkMethod.NoauxTc, NormTopkProb = true, NumNextnPredictLayers = 1,
        RmsNormEps = 1e-6, RopeTheta = 10000, RopeInterleaved = true, RopeScaling = V3Yarn, MaxPositionEmbeddings = 163840, BosTokenId = 0, EosTokenIds = [1],
    };

    private static ModelConfig Llama(int hidden, int intermediate, int layers, int heads, int keyValueHeads) => new()
    {
        Architecture = Architecture.Llama, VocabSize = 102400, HiddenSize = hidden, IntermediateSize = intermediate, NumHiddenLayers = layers,
        NumAttentionHeads = heads, NumKeyValueHeads = keyValueHeads, HeadDim = hidden / heads, RmsNormEps = 1e-6, RopeTheta = 10000, RopeInterleaved = false,
        MaxPositionEmbeddings = 4096, BosTokenId = 100000, EosTokenIds = [100001],
    };
}
