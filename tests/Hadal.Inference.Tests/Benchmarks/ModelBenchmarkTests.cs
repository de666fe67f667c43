using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Synthetic;
using Hadal.Inference.Benchmarks;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Inference.Speculation;
using Hadal.Numerics;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Benchmarks;

public sealed class ModelBenchmarkTests
{
    // The whole architecture, small: MLA, experts, an MTP module.
    private static readonly ModelConfig Small = PublishedShapes.Find("v3-slice:2") with
    {
        VocabSize = 300, HiddenSize = 256, IntermediateSize = 256, NumAttentionHeads = 2, QLoraRank = 256, KvLoraRank = 256, QkNopeHeadDim = 32, QkRopeHeadDim = 16, VHeadDim = 32,
        NRoutedExperts = 16, MoeIntermediateSize = 256, NumExpertsPerTok = 3, BosTokenId = 0, EosTokenIds = [1],
    };

    [Fact]
    public void EveryFigureIsThereAndTheyBelongTogether()
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse("q4_k_m"));
        using var threads = new KernelThreads(2);
        var options = new ForwardOptions { Activations = ActivationPrecision.Int8, Cache = CacheFormat.BF16 };
        var plan = new BenchmarkPlan { PromptTokens = 9, GenerateTokens = 4, Batch = 3, Contexts = [40, 200], FirstToken = true };
        var r = new ModelBenchmark(checkpoint, new DeepSeek(checkpoint), threads, options).Run(plan, cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(("bf16", "int8", 2, 3, 9, 4), (r.CacheType, r.Activations, r.Threads, r.Batch, r.PromptTokens, r.GenerateTokens));
        Assert.Equal(r.WeightBytesPerStep / 3, r.WeightBytesPerToken, 1e-6);
        Assert.Equal(r.DecodeTokensPerSecond / r.WallTokensPerSecond, r.RooflineFraction, 1e-9);
        Assert.Equal(r.ReadBandwidthGbS * 1e9 / r.WeightBytesPerToken, r.WallTokensPerSecond, r.WallTokensPerSecond * 1e-9);
        Assert.InRange(r.PlainReadBandwidthGbS, r.ReadBandwidthGbS / 10, r.ReadBandwidthGbS * 10);
        Assert.InRange(r.WeightBytesPerStep, 1, r.WeightsBytes);
        Assert.True(r.PeakRssBytes > r.WeightsBytes && r.FirstTokenSeconds > 0 && r.PrefillTokensPerSecond > 0 && r.PeakGflops > 0);
        Assert.Equal(MemoryPlan.CacheBytesOfToken(Small, CacheFormat.BF16) * 3 * 128, r.CacheBytes);
        Assert.Equal([40, 200], r.Contexts.Select(c => c.Context));
        foreach (var c in r.Contexts)
        {
            Assert.Equal((long)c.Context * 2 * 2 * AttentionKernel.LatentRowWidth(256, 16), c.CacheBytesRead);
            Assert.InRange(c.DecodeAttentionSeconds, 1e-9, c.DecodeStepSeconds);
            Assert.InRange(c.PrefillAttentionSeconds, 1e-9, c.PrefillSeconds);
            Assert.Equal(c.CacheBytesRead / c.DecodeAttentionSeconds / 1e9, c.CacheReadGbS, c.CacheReadGbS * 1e-9);
        }

        Assert.Equal(0, r.GcBytesPerToken);
        Assert.Empty(r.Rounds);
        Assert.Throws<ArgumentOutOfRangeException>(() => (plan with { GenerateTokens = 1 }).Validate());
        Assert.Throws<ArgumentOutOfRangeException>(() => (plan with { Rounds = 0 }).Validate());
        Assert.Throws<ArgumentOutOfRangeException>(() => (plan with { Contexts = [0] }).Validate());
    }

    // More steps in all than the cache has room for behind the prompt: each round begins there again.
    [Fact]
    public void RoundsBeginBehindThePromptAndAddUpToTheWhole()
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse("q8_0"));
        using var threads = new KernelThreads(1);
        var plan = new BenchmarkPlan { PromptTokens = 60, GenerateTokens = 40, Rounds = 4 };
        var r = new ModelBenchmark(checkpoint, new DeepSeek(checkpoint), threads, new ForwardOptions()).Run(plan, cancellation: TestContext.Current.CancellationToken);
        Assert.InRange(ModelBenchmark.CacheTokens(plan), 100, 219);
        Assert.Equal(4, r.Rounds.Count);
        Assert.Equal((r.ReadBandwidthBeforeGbS, r.ReadBandwidthAfterGbS), (r.Rounds[0].ReadBandwidthBeforeGbS, r.Rounds[^1].ReadBandwidthAfterGbS));
        for (var i = 1; i < 4; i++)
            Assert.Equal(r.Rounds[i - 1].ReadBandwidthAfterGbS, r.Rounds[i].ReadBandwidthBeforeGbS);
        Assert.Equal(r.Rounds.Average(x => (x.ReadBandwidthBeforeGbS + x.ReadBandwidthAfterGbS) / 2), r.ReadBandwidthGbS, 1e-9);
        Assert.Equal(4 / r.Rounds.Sum(x => 1 / x.DecodeTokensPerSecond), r.DecodeTokensPerSecond, r.DecodeTokensPerSecond * 1e-9);
        Assert.All(r.Rounds, x => Assert.True(x.RooflineFraction > 0));
    }

    // What was measured before Ctrl-C is not lost.
    [Fact]
    public async Task WholeRoundsAreTheResultOfARunThatIsInterrupted()
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse("q8_0"));
        using var threads = new KernelThreads(1);
        using var interrupt = new CancellationTokenSource();
        var plan = new BenchmarkPlan { PromptTokens = 5, GenerateTokens = 3, Rounds = 50, Contexts = [40] };
        var benchmark = new ModelBenchmark(checkpoint, new DeepSeek(checkpoint), threads, new ForwardOptions());
        var r = benchmark.Run(plan, new After(2 / 50.0, interrupt), interrupt.Token);
        Assert.Equal((2, 0), (r.Rounds.Count, r.Contexts.Count));
        Assert.Equal(r.Rounds[1].ReadBandwidthAfterGbS, r.ReadBandwidthAfterGbS);
        await interrupt.CancelAsync();
        Assert.Throws<OperationCanceledException>(() => benchmark.Run(plan, cancellation: interrupt.Token));

        using var late = new CancellationTokenSource();
        r = benchmark.Run(plan with { Rounds = 2 }, new After(1, late), late.Token);
        Assert.Equal((2, 0), (r.Rounds.Count, r.Contexts.Count));
        Assert.Single(benchmark.Run(plan with { Rounds = 2 }, cancellation: TestContext.Current.CancellationToken).Contexts);
    }

    [Theory]
    [InlineData("q4_k_m", false)]
    [InlineData("q5_0", false)]
    [InlineData("q6_k", false)]
    [InlineData("q8_0", false)]
    [InlineData("q4_k_m", true)]
    [InlineData("fp8", true)]
    [InlineData("bf16", true)]
    public void RepackedWeightsGiveTheSameBits(string mix, bool inHugePages)
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse(mix));
        using var copied = new SyntheticCheckpoint(Small, FormatMix.Parse(mix));
        var plan = MemoryPlan.For(checkpoint, 64);
        Assert.False(RepackedWeights.Pays(checkpoint, plan with { AvailableBytes = plan.RequiredBytes }), "no memory for copies");
        Assert.SkipUnless(inHugePages || RepackedWeights.Pays(checkpoint, plan), "this processor multiplies weights as they lie in the file");
        using var threads = new KernelThreads(2);
        using var repacked = new RepackedWeights(copied, threads, inHugePages);
        var source = copied.Matrix("model.layers.1.mlp.experts.0.up_proj.weight", Small.MoeIntermediateSize, Small.HiddenSize);
        Assert.True(source.Row(128).ContainsAnyExcept((byte)0));
        float[][] logits = [.. new[] { new DeepSeek(checkpoint), new DeepSeek(copied, repacked: repacked) }.Select(model =>
        {
            using var pool = new CachePool(Small, 64, 8);
            using var cache = new SequenceCache(pool);
            var context = new ForwardContext(threads, new ForwardOptions { Activations = ActivationPrecision.Int8 });
            var batch = new ForwardBatch();
            batch.Add(cache, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], LogitRequest.All);
            return model.Forward(batch, context).Logits.ToArray();
        })];
        Assert.Equal(11 * Small.VocabSize, logits[0].Length);
        Assert.Equal(logits[0], logits[1]);
        if (OperatingSystem.IsLinux())
            Assert.False(source.Row(128).ContainsAnyExcept((byte)0), "what was copied was not given back");
    }

    [Fact]
    public void WhatDoesNotFitIsRefusedAndWhatIsNotWantedIsNotCopied()
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse("q8_0"));
        using var threads = new KernelThreads(1);
        var plan = MemoryPlan.For(checkpoint, 64);
        var message = Assert.Throws<InsufficientMemoryException>(() => RepackedWeights.Plan(checkpoint, plan with { AvailableBytes = plan.CacheBytes - 1 }, threads, wanted: true)).Message;
        Assert.Contains($"for {plan.CacheTokens} tokens", message, StringComparison.Ordinal);
        Assert.Throws<InsufficientMemoryException>(() => RepackedWeights.Plan(checkpoint, plan with { AvailableBytes = plan.RequiredBytes - 1 }, threads, wanted: false));
        Assert.Null(RepackedWeights.Plan(checkpoint, plan, threads, wanted: false));
        using var copies = RepackedWeights.Plan(checkpoint, plan, threads, wanted: true);
        var inHugePages = HugePages.PageBytes > 0 && plan.WeightBytes + (plan.WeightBytes / 16) <= HugePages.FreeBytes + HugePages.OvercommitBytes;
        Assert.Equal(RepackedWeights.Pays(checkpoint, plan) || inHugePages, copies is not null);
        Assert.Equal(inHugePages, copies?.InHugePages ?? false);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void LoadingEndsWhenItIsCancelled(bool repack)
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse("q8_0"));
        using var threads = new KernelThreads(1);
        using var repacked = repack ? new RepackedWeights(checkpoint, threads) : null;
        using var late = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => new DeepSeek(checkpoint, progress: new After(0, late), repacked: repacked, cancellation: late.Token));
    }

    [Fact]
    public void WeightTrafficIsWhatTheChosenExpertsTake()
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse("q8_0"));
        using var threads = new KernelThreads(1);
        var model = new DeepSeek(checkpoint);
        var (traffic, chosen) = (new WeightTraffic(checkpoint), new Chosen());
        foreach (var probe in (IForwardProbe[])[traffic, chosen])
        {
            using var pool = new CachePool(Small, 64, 8);
            using var cache = new SequenceCache(pool);
            var context = new ForwardContext(threads, null, probe);
            var batch = new ForwardBatch();
            foreach (var run in (int[][])[[1, 2, 3, 4, 5], [6]])
            {
                batch.Clear();
                batch.Add(cache, run, LogitRequest.Last);
                model.Forward(batch, context);
            }
        }

        long Bytes(Func<string, bool> which) => checkpoint.Tensors.Where(t => which(t.Name)).Sum(t => t.ByteLength);
        double expected = Bytes(n => !n.Contains(".experts.", StringComparison.Ordinal) && !n.Contains("layers.2.", StringComparison.Ordinal) && !n.Contains("embed_tokens", StringComparison.Ordinal));
        foreach (var (layer, id) in chosen.Experts)
            expected += Bytes(n => n.StartsWith($"model.layers.{layer}.mlp.experts.{id}.", StringComparison.Ordinal)) / 2.0;
        Assert.Equal(expected, traffic.BytesPerStep(2), 1e-3);
    }

    [Fact]
    public void DraftsChangeTheSpeedOnly()
    {
        using var checkpoint = new SyntheticCheckpoint(Small, FormatMix.Parse("bf16"));
        using var threads = new KernelThreads(1);
        foreach (var source in (DraftSource[])[DraftSource.Mtp, DraftSource.PromptLookup])
        {
            var r = new SpeculationBenchmark(new DeepSeek(checkpoint), threads, new ForwardOptions()).Run(
                new SpeculationOptions { DraftTokens = 2, Source = source }, 20, 12, TestContext.Current.CancellationToken);
            Assert.True(r.SameTokens);
            Assert.Equal(source == DraftSource.Mtp ? "mtp" : "lookup", r.Source);
            Assert.Equal(r.TokensPerSecond / r.PlainTokensPerSecond, r.Gain, 1e-9);
            Assert.InRange(r.AcceptedLength, 1, 3);
        }
    }

    private sealed class Chosen : IForwardProbe
    {
        public List<(int Layer, int Id)> Experts { get; } = [];

        public void Tensor(string name, int layer, ReadOnlySpan<float> values)
        {
        }

        public void Routing(int layer, ReadOnlySpan<int> ids, ReadOnlySpan<float> weights) => Experts.AddRange(ids.ToArray().Distinct().Select(id => (layer, id)));
    }

    private sealed class After(double part, CancellationTokenSource interrupt) : IProgress<double>
    {
        public void Report(double value)
        {
            if (value >= part)
                interrupt.Cancel();
        }
    }
}
