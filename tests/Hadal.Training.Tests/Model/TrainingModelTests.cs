using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;
using Hadal.Training.Data;
using Hadal.Training.Model;
using Hadal.Training.Optimization;
using Hadal.Training.Precision;

namespace Hadal.Training.Tests.Model;

public sealed class TrainingModelTests
{
    public static TheoryData<TrainingPrecision> Precisions => [.. Enum.GetValues<TrainingPrecision>()];

    [Theory]
    [MemberData(nameof(Precisions))]
    public void TrainingHasTheSameBitsOnAnyNumberOfThreads(TrainingPrecision precision)
    {
        var config = Toys.V3();
        float[]? first = null;
        foreach (var count in new[] { 1, 2, 3 })
        {
            using var threads = new KernelThreads(count);
            using var model = Create(config, threads, precision, 200);
            for (var step = 1; step <= 3; step++)
                Step(model, Toys.Batch(config, 4, 50, step), step);
            float[] weights = [.. model.Parameters.SelectMany(p => p.Weight.ToArray())];
            first ??= weights;
            Assert.Equal(first, weights);
        }
    }

    [Theory]
    [MemberData(nameof(Precisions))]
    public void WhatIsComputedTwiceChangesNoBit(TrainingPrecision precision)
    {
        foreach (var config in new[] { Toys.V3(), Toys.V2() })
        {
            using var threads = new KernelThreads(2);
            var batch = Toys.Batch(config, 2, 40, seed: 6);
            float[]? first = null;
            foreach (var recompute in new[] { Recompute.None, Recompute.Norms, Recompute.UpProjections, Recompute.Norms | Recompute.UpProjections })
            {
                using var model = new TrainingModel(config, new TrainingOptions { Precision = precision, MaxTokens = 80, Recompute = recompute, InitializerRange = 0.2 }, threads);
                model.Initialize(seed: 1);
                model.ForwardBackward(batch);
                float[] gradients = [.. model.Parameters.SelectMany(p => p.Gradient.ToArray())];
                first ??= gradients;
                Assert.Equal(first, gradients);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Precisions))]
    public void OneBatchIsLearntByHeart(TrainingPrecision precision)
    {
        var config = Toys.V3();
        using var threads = new KernelThreads(2);
        using var model = Create(config, threads, precision, 64);
        var batch = Toys.Batch(config, 2, 32, seed: 7);
        var start = model.Evaluate(batch);
        Assert.InRange(start.Main, 0.8 * Math.Log(config.VocabSize), 1.3 * Math.Log(config.VocabSize));
        for (var step = 1; step <= 300; step++)
            Step(model, batch, step, rate: step <= 200 ? 1e-2 : 2e-3);
        var end = model.Evaluate(batch);
        Assert.True(end.Main < 0.05, $"main loss {end.Main}");
        Assert.True(end.Mtp[0] < 0.3, $"MTP loss {end.Mtp[0]}");
    }

    [Fact]
    public void TheBiasEvensOutASkewedRouter()
    {
        var config = Toys.V3() with { NGroup = 1, TopkGroup = 1 };
        using var threads = new KernelThreads(2);
        using var model = Create(config, threads, TrainingPrecision.Fp32, 400);
        foreach (var bias in model.RouterBiases)
            bias.Values[3] = 1;
        var batch = Toys.Batch(config, 8, 50, seed: 8);
        var start = model.ForwardBackward(batch).ExpertLoads;
        Assert.All(start, load => Assert.Equal(load.Counts.Sum() / 2, load.Counts[3]));
        for (var step = 0; step < 300; step++)
            RouterBiasUpdate.Apply(model, model.ForwardBackward(batch).ExpertLoads, gamma: 0.01);
        Assert.All(model.ForwardBackward(batch).ExpertLoads, load => Assert.InRange(load.Counts.Max() / load.Counts.Average(), 1, 1.5));
    }

    [Theory]
    [MemberData(nameof(Precisions))]
    public void PackedDocumentsGiveTheGradientOfTheDocumentsAlone(TrainingPrecision precision)
    {
        // Without balance losses a document does not see its neighbours: not in attention, not in MTP.
        var config = Toys.V3(mtp: 2);
        using var threads = new KernelThreads(2);
        TrainingModel Model(double lambda)
        {
            var model = new TrainingModel(config, new TrainingOptions { Precision = precision, MaxTokens = 60, SequenceAlpha = 0, InitializerRange = 0.2, MtpLambda = lambda }, threads);
            model.Initialize(seed: 2);
            return model;
        }

        var random = new Random(9);
        int[] tokens = [.. Enumerable.Range(0, 31).Select(_ => random.Next(config.VocabSize))];
        int[] begins = [0, 11, 18];
        using var packed = Model(0.3);
        var together = packed.ForwardBackward(Toys.Documents(tokens, 1, 30, [begins])).Losses;

        // The same number of scores, so that the means can be compared: sums over documents divided by their total.
        double main = 0, mtp = 0;
        var (mainCount, mtpCount) = (0, 0);
        using var alone = Model(0.3);
        foreach (var (begin, end) in new[] { (0, 11), (11, 18), (18, 31) })
        {
            var length = end - begin - 1;
            var report = alone.ForwardBackward(Toys.Documents(tokens[begin..end], 1, length, [[0]])).Losses;
            main += report.Main * report.ScoredTokens;
            mainCount += report.ScoredTokens;
            mtp += report.Mtp[0] * alone.Modules.Mtp[0].Layout.Scored;
            mtpCount += alone.Modules.Mtp[0].Layout.Scored;
        }

        Assert.Equal(mainCount, together.ScoredTokens);
        Assert.Equal(main / mainCount, together.Main, 1e-5);
        Assert.Equal(mtpCount, packed.Modules.Mtp[0].Layout.Scored);
        Assert.Equal(mtp / mtpCount, together.Mtp[0], 1e-5);
    }

    [Fact]
    public void AStepOfTwoHalvesIsAStepOfTheWhole()
    {
        var config = Toys.V2();
        using var threads = new KernelThreads(2);
        var whole = Toys.Batch(config, 4, 20, seed: 10);
        PackedBatch Half(int first) => new()
        {
            Sequences = 2, SequenceLength = 20, Tokens = whole.Tokens[(first * 20)..((first + 2) * 20)], Targets = whole.Targets[(first * 20)..((first + 2) * 20)],
            Positions = whole.Positions[(first * 20)..((first + 2) * 20)], DocumentStarts = new int[40], DocumentIds = new int[40],
        };
        using var one = Create(config, threads, TrainingPrecision.Fp32, 80);
        one.ForwardBackward(whole);
        using var two = Create(config, threads, TrainingPrecision.Fp32, 80);
        two.ForwardBackward(Half(0), 0.5f);
        two.ForwardBackward(Half(2), 0.5f);
        foreach (var (a, b) in one.Parameters.Zip(two.Parameters))
        {
            var scale = 1e-6f + (1e-4f * a.Gradient.ToArray().Max(Math.Abs));
            Assert.All(a.Gradient.ToArray().Zip(b.Gradient.ToArray()), pair => Assert.Equal(pair.First, pair.Second, scale));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AWrittenModelIsReadBackAsItWas(bool mtpCopies)
    {
        var config = Toys.V3() with { BosTokenId = 0, EosTokenIds = [1], RopeScaling = new YarnScaling { Factor = 4, BetaFast = 32, BetaSlow = 1, Mscale = 1, MscaleAllDim = 1, OriginalMaxPositionEmbeddings = 16 } };
        var folder = Directory.CreateTempSubdirectory("hadal-").FullName;
        try
        {
            using var threads = new KernelThreads(2);
            using var model = Create(config, threads, TrainingPrecision.Fp32, 80);
            model.RouterBiases[0].Values[1] = 0.25f;
            ModelWriter.Write(model, folder, WeightFormat.F32, mtpCopies);
            using var checkpoint = Checkpoint.Open(folder);
            Assert.Equal(config with { EosTokenIds = [], Assumptions = [] }, checkpoint.Config with { EosTokenIds = [], Assumptions = [] });
            Assert.Equal(config.EosTokenIds, checkpoint.Config.EosTokenIds);
            using var copy = new TrainingModel(checkpoint.Config, model.Options, threads);
            copy.Load(checkpoint);
            Assert.All(model.Parameters.Zip(copy.Parameters), pair => Assert.Equal(pair.First.Weight.ToArray(), pair.Second.Weight.ToArray()));
            Assert.Equal(0.25f, copy.RouterBiases[0].Values[1]);
            Assert.Throws<IOException>(() => ModelWriter.Write(model, folder, WeightFormat.F32));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void BadBatchesAreRefused()
    {
        var config = Toys.V3();
        using var threads = new KernelThreads(1);
        using var model = Create(config, threads, TrainingPrecision.Fp32, 40);
        Assert.Throws<ArgumentException>(() => model.Evaluate(Toys.Batch(config, 2, 21, 1)));
        foreach (var spoil in new Action<PackedBatch>[]
        {
            b => b.Tokens[3] = config.VocabSize, b => b.Tokens[3] = -1, b => b.Targets[3] = config.VocabSize, b => b.Positions[3] = config.MaxPositionEmbeddings, b => b.DocumentStarts[3] = 4,
            b => (b.DocumentStarts[3], b.DocumentStarts[4]) = (2, 1),
        })
        {
            var batch = Toys.Batch(config, 1, 20, 1);
            spoil(batch);
            Assert.Throws<ArgumentException>(() => model.Evaluate(batch));
        }
    }

    [Fact]
    public void AGradientThatIsNoNumberStopsTheStepAndIsNamed()
    {
        var config = Toys.V3();
        using var threads = new KernelThreads(2);
        using var model = Create(config, threads, TrainingPrecision.Fp32, 40);
        Assert.Null(model.FirstNonFinite());
        var spoilt = model.Parameters[5];
        spoilt.Gradient[1] = float.NaN;
        var before = model.Parameters[0].Weight.ToArray();
        Assert.False(AdamW.Step(model, new AdamWSettings { Step = 1, LearningRate = 1 }).Applied);
        Assert.Equal(before, model.Parameters[0].Weight.ToArray());
        Assert.Equal(spoilt.Name, model.FirstNonFinite());
    }

    [Fact]
    public void MomentsInBf16FollowThoseInFloat32()
    {
        var config = Toys.V3();
        using var threads = new KernelThreads(2);
        using var exact = Create(config, threads, TrainingPrecision.Fp32, 80);
        using var rounded = new TrainingModel(config, exact.Options with { Bf16Moments = true }, threads);
        rounded.Initialize(1);
        for (var step = 1; step <= 5; step++)
        {
            Step(exact, Toys.Batch(config, 2, 40, step), step);
            Step(rounded, Toys.Batch(config, 2, 40, step), step);
        }

        Assert.Equal(WeightFormat.BF16, rounded.Parameters[0].MomentFormat);
        Assert.Equal(2 * rounded.Parameters[0].Count, rounded.Parameters[0].SecondMoment.Length);
        var (a, b) = (exact.Evaluate(Toys.Batch(config, 2, 40, 9)).Main, rounded.Evaluate(Toys.Batch(config, 2, 40, 9)).Main);
        Assert.Equal(a, b, 0.02);
        Assert.NotEqual(a, b);
    }

    internal static TrainingModel Create(ModelConfig config, KernelThreads threads, TrainingPrecision precision, int tokens)
    {
        var model = new TrainingModel(config, new TrainingOptions { Precision = precision, MaxTokens = tokens, InitializerRange = 0.1 }, threads);
        model.Initialize(seed: 1);
        return model;
    }

    private static void Step(TrainingModel model, PackedBatch batch, int step, double rate = 1e-3)
    {
        model.ClearGradients();
        var statistics = model.ForwardBackward(batch);
        Assert.True(AdamW.Step(model, new AdamWSettings { Step = step, LearningRate = rate }).Applied);
        RouterBiasUpdate.Apply(model, statistics.ExpertLoads, 0.001);
    }
}
