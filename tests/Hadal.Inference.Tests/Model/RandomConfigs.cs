using Hadal.Checkpoints.Config;

namespace Hadal.Inference.Tests.Model;

/// <summary>Small configurations of every kind the family allows, drawn from a seed.</summary>
internal static class RandomConfigs
{
    /// <summary>Longest context of every drawn model.</summary>
    public const int Positions = 300;

    /// <summary>A model of one of the three architectures.</summary>
    public static ModelConfig Of(int seed)
    {
        var random = new Random(seed);
        return random.Next(4) switch
        {
            0 => Llama(random),
            1 => Deepseek(random, Architecture.DeepseekV2),
            _ => Deepseek(random, Architecture.DeepseekV3),
        };
    }

    /// <summary>A model with latent attention, of V2 or V3.</summary>
    public static ModelConfig Latent(int seed)
    {
        var random = new Random(seed);
        return Deepseek(random, random.Next(2) == 0 ? Architecture.DeepseekV2 : Architecture.DeepseekV3);
    }

    private static ModelConfig Llama(Random random)
    {
        var groups = random.Next(1, 4);
        return Common(random, Architecture.Llama) with
        {
            NumAttentionHeads = groups * random.Next(1, 4),
            NumKeyValueHeads = groups,
            HeadDim = 2 * random.Next(1, 17),
            RopeInterleaved = random.Next(2) == 0,
            RopeLinearFactor = random.Next(2) == 0 ? 1 : 4,
        };
    }

    private static ModelConfig Deepseek(Random random, Architecture architecture)
    {
        var v3 = architecture == Architecture.DeepseekV3;
        var config = Common(random, architecture) with
        {
            QLoraRank = random.Next(2) == 0 ? null : random.Next(3, 90),
            KvLoraRank = random.Next(2, 150),
            QkNopeHeadDim = random.Next(1, 40),
            QkRopeHeadDim = 2 * random.Next(1, 9),
            VHeadDim = random.Next(1, 40),
            NumNextnPredictLayers = random.Next(3),
            RopeScaling = random.Next(2) == 0 ? null : new YarnScaling
            {
                Factor = 1 + (random.NextDouble() * 40),
                BetaFast = 32,
                BetaSlow = 1,
                Mscale = 1 - (0.3 * random.Next(2)),
                MscaleAllDim = 1 - (0.3 * random.Next(2)),
                OriginalMaxPositionEmbeddings = random.Next(16, 400),
            },
            FirstKDenseReplace = random.Next(3),
        };
        if (random.Next(8) == 0)
            return config;

        var method = v3 ? TopkMethod.NoauxTc : random.Next(2) == 0 ? TopkMethod.Greedy : TopkMethod.GroupLimitedGreedy;
        var groups = method == TopkMethod.Greedy ? 1 : random.Next(1, 5);
        var perGroup = random.Next(2, 5);
        var kept = random.Next(1, groups + 1);
        return config with
        {
            NRoutedExperts = groups * perGroup,
            NSharedExperts = random.Next(3),
            NumExpertsPerTok = random.Next(1, Math.Min(kept * perGroup, 5) + 1),
            MoeIntermediateSize = random.Next(1, 60),
            MoeLayerFreq = random.Next(1, 3),
            NGroup = groups,
            TopkGroup = kept,
            RoutedScalingFactor = 0.5 + (2 * random.NextDouble()),
            ScoringFunc = v3 ? ScoringFunc.Sigmoid : ScoringFunc.Softmax,
            TopkMethod = method,
            NormTopkProb = random.Next(4) > 0 == v3,
        };
    }

    private static ModelConfig Common(Random random, Architecture architecture) => new()
    {
        Architecture = architecture,
        VocabSize = random.Next(5, 80),
        HiddenSize = random.Next(3) switch { 0 => 32 * random.Next(1, 5), 1 => 128, _ => random.Next(5, 140) },
        IntermediateSize = random.Next(1, 150),
        NumHiddenLayers = random.Next(1, 4),
        NumAttentionHeads = random.Next(1, 6),
        RmsNormEps = random.Next(2) == 0 ? 1e-6 : 1e-5,
        RopeTheta = random.Next(2) == 0 ? 10000 : 25000,
        RopeInterleaved = true,
        MaxPositionEmbeddings = Positions,
        TieWordEmbeddings = random.Next(4) == 0,
    };
}
