using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;
using Hadal.Training.Data;
using Hadal.Training.Model;
using Hadal.Training.Optimization;
using Hadal.Training.Precision;
using Hadal.Training.Presets;

namespace Hadal.Parity.Tests;

/// <summary>What was trained is what is served: a model saved by Hadal.Training scores tokens alike in Hadal.Inference, which shares no line of it.</summary>
public sealed class SavedModelTests
{
    private const int Length = 60;

    public static TheoryData<string, TrainingPrecision> Cases => new MatrixTheoryData<string, TrainingPrecision>(["v3", "v2", "llama"], Enum.GetValues<TrainingPrecision>());

    [Theory]
    [MemberData(nameof(Cases))]
    public void TheSavedModelScoresTokensAlike(string name, TrainingPrecision precision)
    {
        var small = Shapes.Find("tiny") with { VocabSize = 300, NumHiddenLayers = 3 };
        var config = name switch
        {
            "v3" => small,
            "v2" => small with
            {
                Architecture = Architecture.DeepseekV2, QLoraRank = null, ScoringFunc = ScoringFunc.Softmax, TopkMethod = TopkMethod.Greedy, NormTopkProb = false, NumNextnPredictLayers = 0,
            },
            _ => new ModelConfig
            {
                Architecture = Architecture.Llama, VocabSize = 300, HiddenSize = 128, IntermediateSize = 320, NumHiddenLayers = 3, NumAttentionHeads = 4, NumKeyValueHeads = 2, HeadDim = 32,
                RmsNormEps = 1e-6, RopeTheta = 10000, RopeInterleaved = false, MaxPositionEmbeddings = 256,
            },
        };
        var folder = Directory.CreateTempSubdirectory("hadal-").FullName;
        try
        {
            using var threads = new KernelThreads(2);
            using var model = new TrainingModel(config, new TrainingOptions { Precision = precision, MaxTokens = Length, InitializerRange = 0.05 }, threads);
            model.Initialize(seed: 1);
            var random = new Random(2);
            int[] tokens = [.. Enumerable.Range(0, Length + 1).Select(_ => random.Next(config.VocabSize))];
            var batch = new PackedBatch
            {
                Sequences = 1, SequenceLength = Length, Tokens = tokens[..^1], Targets = tokens[1..], Positions = [.. Enumerable.Range(0, Length)], DocumentStarts = new int[Length], DocumentIds = new int[Length],
            };
            for (var step = 1; step <= 5; step++)
            {
                model.ClearGradients();
                var statistics = model.ForwardBackward(batch);
                AdamW.Step(model, new AdamWSettings { Step = step, LearningRate = 3e-3 });
                RouterBiasUpdate.Apply(model, statistics.ExpertLoads, 0.01);
            }

            ModelWriter.Write(model, folder, precision == TrainingPrecision.Fp32 ? WeightFormat.F32 : WeightFormat.BF16);
            model.Evaluate(batch);
            var trained = model.Modules.TokenLosses.Take(Length).Select(loss => (double)loss).ToArray();
            using var checkpoint = Checkpoint.Open(folder);
            var served = Losses(checkpoint, tokens, threads);
            if (precision == TrainingPrecision.Fp32)
                Assert.All(trained.Zip(served), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
            else
                Assert.InRange(CalcDiff(trained, served), 0, 1e-4);
            Assert.True(trained.Average() < Math.Log(config.VocabSize) - 0.1, "something was learnt, so that the scores are of more than noise");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static double[] Losses(Checkpoint checkpoint, int[] tokens, KernelThreads threads)
    {
        var model = new Inference.Model.DeepSeek(checkpoint);
        using var pool = new CachePool(model.Config, Length);
        using var cache = new SequenceCache(pool);
        var batch = new ForwardBatch();
        batch.Add(cache, tokens.AsSpan(0, Length), LogitRequest.All);
        var logits = model.Forward(batch, new ForwardContext(threads)).Logits;
        var losses = new double[Length];
        for (var i = 0; i < Length; i++)
        {
            var row = logits.Slice(i * model.Config.VocabSize, model.Config.VocabSize);
            var (max, sum) = (double.NegativeInfinity, 0.0);
            foreach (var logit in row)
                max = Math.Max(max, logit);
            foreach (var logit in row)
                sum += Math.Exp(logit - max);
            losses[i] = Math.Log(sum) + max - row[tokens[i + 1]];
        }

        return losses;
    }

    private static double CalcDiff(double[] x, double[] y) =>
        1 - (2 * x.Zip(y, (a, b) => a * b).Sum() / (x.Sum(a => a * a) + y.Sum(b => b * b)));
}
