using Hadal.Checkpoints.Config;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Model;

/// <summary>Models small enough to differentiate by hand, and batches for them.</summary>
internal static class Toys
{
    /// <summary>V3: q_lora, sigmoid routing in groups, one shared expert, one dense layer, MTP modules.</summary>
    public static ModelConfig V3(int mtp = 1, int vocabulary = 31) => new()
    {
        Architecture = Architecture.DeepseekV3, VocabSize = vocabulary, HiddenSize = 16, IntermediateSize = 20, NumHiddenLayers = 2, NumAttentionHeads = 2, QLoraRank = 8, KvLoraRank = 8,
        QkNopeHeadDim = 6, QkRopeHeadDim = 4, VHeadDim = 6, NRoutedExperts = 8, NSharedExperts = 1, NumExpertsPerTok = 2, MoeIntermediateSize = 12, FirstKDenseReplace = 1, NGroup = 4,
        TopkGroup = 2, RoutedScalingFactor = 2.5, ScoringFunc = ScoringFunc.Sigmoid, TopkMethod = TopkMethod.NoauxTc, NormTopkProb = true, NumNextnPredictLayers = mtp, RmsNormEps = 1e-6,
        RopeTheta = 10000, RopeInterleaved = true, MaxPositionEmbeddings = 64,
    };

    /// <summary>V2-Lite: plain q_proj, softmax routing, weights as they are.</summary>
    public static ModelConfig V2() => V3(mtp: 0) with
    {
        Architecture = Architecture.DeepseekV2, QLoraRank = null, NGroup = 1, TopkGroup = 1, RoutedScalingFactor = 1, ScoringFunc = ScoringFunc.Softmax, TopkMethod = TopkMethod.Greedy, NormTopkProb = false,
    };

    /// <summary>DeepSeek LLM: grouped-query attention, halved rotary pairs, no experts.</summary>
    public static ModelConfig Llama() => new()
    {
        Architecture = Architecture.Llama, VocabSize = 31, HiddenSize = 16, IntermediateSize = 20, NumHiddenLayers = 2, NumAttentionHeads = 4, NumKeyValueHeads = 2, HeadDim = 4, RmsNormEps = 1e-6,
        RopeTheta = 10000, RopeInterleaved = false, MaxPositionEmbeddings = 64,
    };

    /// <summary>Random tokens in one document a sequence.</summary>
    public static PackedBatch Batch(ModelConfig config, int sequences, int length, int seed)
    {
        var random = new Random(seed);
        var tokens = Enumerable.Range(0, sequences * (length + 1)).Select(_ => random.Next(config.VocabSize)).ToArray();
        return Documents(tokens, sequences, length, [.. Enumerable.Repeat<int[]>([0], sequences)]);
    }

    /// <summary>Documents that begin where each sequence's list says, masked from each other, with positions of their own.</summary>
    public static PackedBatch Documents(int[] tokens, int sequences, int length, int[][] begins)
    {
        var rows = sequences * length;
        var batch = new PackedBatch
        {
            Sequences = sequences, SequenceLength = length, Tokens = new int[rows], Targets = new int[rows], Positions = new int[rows], DocumentStarts = new int[rows], DocumentIds = new int[rows],
        };
        for (var row = 0; row < rows; row++)
        {
            var (b, i) = (row / length, row % length);
            var document = begins[b].Count(begin => begin <= i) - 1;
            batch.Tokens[row] = tokens[(b * (length + 1)) + i];
            batch.Targets[row] = begins[b].Contains(i + 1) ? -1 : tokens[(b * (length + 1)) + i + 1];
            batch.Positions[row] = i - begins[b][document];
            batch.DocumentStarts[row] = begins[b][document];
            batch.DocumentIds[row] = document;
        }

        return batch;
    }
}
