using Hadal.Checkpoints;
using Hadal.Checkpoints.Safetensors;
using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Inference.Speculation;
using Hadal.Inference.Tests.Engine;
using Hadal.Numerics.Threading;
using Hadal.Tests;

namespace Hadal.Inference.Tests.Speculation;

public sealed class SpeculationTests
{
    [Theory]
    [InlineData("tiny-v3")]
    [InlineData("tiny-v3-fp8")]
    [InlineData("tiny-v3-fp8-aligned")]
    public void GreedyOutputIsTheGoldenOneWithAnyNumberOfDrafts(string name)
    {
        var folder = SharedFiles.Path("fixtures", name);
        using var checkpoint = Checkpoint.Open(folder);
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        var golden = expected.ReadInt32("seq17.greedy");
        var model = new DeepSeek(checkpoint);
        using var threads = new KernelThreads(2);
        foreach (var acceptance in Enum.GetValues<DraftAcceptance>())
        {
            foreach (var source in (DraftSource[])[DraftSource.Mtp, DraftSource.PromptLookup])
            {
                foreach (var drafts in (int[])[1, 2, 4])
                {
                    using var engine = new InferenceEngine(
                        model, null, threads,
                        new EngineOptions { CacheTokens = 256, PageTokens = 16, Speculation = new SpeculationOptions { DraftTokens = drafts, Source = source, Acceptance = acceptance } });
                    var request = new GenerationRequest { Prompt = expected.ReadInt32("seq17.tokens"), MaxNewTokens = golden.Length, IgnoreEos = true, Sampling = new SamplingOptions { Temperature = 0 } };
                    for (var turn = 0; turn < 2; turn++)
                    {
                        // The second time all of it is in the prefix cache.
                        var events = engine.Generate(request, TestContext.Current.CancellationToken).ToList();
                        Assert.Equal(golden, events.Select(e => e.Id!.Value));
                        var usage = events[^1].Usage!;
                        Assert.Equal(golden.Length, usage.GeneratedTokens);
                        Assert.Equal(golden.Length, usage.Steps + usage.AcceptedTokens);
                        Assert.Equal(turn == 0 ? 0 : 16, usage.CachedTokens);
                        Assert.True(source != DraftSource.Mtp || usage.DraftedTokens > 0);
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData("tiny-v3")]
    [InlineData("tiny-v3-fp8")]
    [InlineData("tiny-v3-fp8-aligned")]
    public void TheFirstDraftIsTheMostProbableOfTheGoldenMtpLogits(string name)
    {
        var folder = SharedFiles.Path("fixtures", name);
        using var checkpoint = Checkpoint.Open(folder);
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        using var threads = new KernelThreads(2);
        foreach (var (input, tensor) in ((MtpInput, string)[])[(MtpInput.AfterFinalNorm, "mtp"), (MtpInput.BeforeFinalNorm, "mtp_prenorm")])
        {
            using var core = new EngineCore(
                new DeepSeek(checkpoint), null, threads,
                new EngineOptions { CacheTokens = 64, PrefillTokens = 7, Speculation = new SpeculationOptions(), Forward = new ForwardOptions { MtpInput = input } }, TimeProvider.System);
            var sequence = core.Prepare(new GenerationRequest { Prompt = expected.ReadInt32("seq17.tokens"), IgnoreEos = true, Sampling = new SamplingOptions { Temperature = 0 } });
            core.Add(sequence);
            while (sequence.Output.Count == 0)
                core.Step();
            var golden = expected.ReadSingles($"seq17.{tensor}.logits").AsSpan()[^checkpoint.Config.VocabSize..];
            Assert.Equal(System.Numerics.Tensors.TensorPrimitives.IndexOfMax<float>(golden), sequence.Drafts[0]);
            Assert.Equal(2, sequence.Drafts.Count);
        }
    }

    [Theory]
    [InlineData("tiny-v3")]
    [InlineData("tiny-v3-fp8-aligned")]
    public void SharedNoiseGivesTheSampledTokensOfNoSpeculation(string name)
    {
        using var checkpoint = Checkpoint.Open(SharedFiles.Path("fixtures", name));
        var model = new DeepSeek(checkpoint);
        using var threads = new KernelThreads(2);
        using var plain = new InferenceEngine(model, null, threads, new EngineOptions { CacheTokens = 512 });
        using var drafting = new InferenceEngine(model, null, threads, new EngineOptions { CacheTokens = 512, Speculation = new SpeculationOptions { DraftTokens = 3 } });
        for (var seed = 0; seed < 6; seed++)
        {
            var request = new GenerationRequest
            {
                Prompt = [3, 1, 4, 1, 5], MaxNewTokens = 40, IgnoreEos = true,
                Sampling = new SamplingOptions { Seed = seed, Temperature = 0.6 + (0.2 * seed), TopK = seed % 2 * 20, FrequencyPenalty = seed / 10.0 },
            };
            Assert.Equal(Ids(plain, request), Ids(drafting, request));
        }

        Assert.True(drafting.Statistics.DraftedTokens > 200);
    }

    [Fact]
    public void TheMtpModuleDraftsAsGoodAsItsLogits()
    {
        // Greedy drafts of the scripted module are right unless it was told to err.
        using var threads = new KernelThreads(1);
        using var engine = new InferenceEngine(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 4096, Speculation = new SpeculationOptions { DraftTokens = 1 } });
        var request = new GenerationRequest { Prompt = [1, 2, 3], MaxNewTokens = 1000, IgnoreEos = true, Sampling = new SamplingOptions { Temperature = 0 } };
        var usage = engine.Generate(request, TestContext.Current.CancellationToken).Last().Usage!;
        Assert.InRange(usage.AcceptanceRate!.Value, 0.6, 0.95);
        Assert.Equal(1 + usage.AcceptanceRate.Value, usage.AcceptedLength!.Value, 0.01);
    }

    [Fact]
    public void PromptLookupDraftsWhatFollowedTheSameTokens()
    {
        Span<int> draft = stackalloc int[3];
        Assert.Equal(3, PromptLookup.Draft([1, 2, 3, 4, 5, 6, 1, 2, 3], draft));
        Assert.Equal([4, 5, 6], draft);

        // A longer match before a later one, the later of equals, and what is there.
        Assert.Equal(3, PromptLookup.Draft([7, 1, 2, 8, 0, 2, 9, 7, 1, 2], draft));
        Assert.Equal([8, 0, 2], draft);
        Assert.Equal(2, PromptLookup.Draft([5, 1, 5, 2, 5], draft));
        Assert.Equal([2, 5], draft[..2]);
        Assert.Equal(1, PromptLookup.Draft([4, 4], draft[..1]));
        Assert.Equal(0, PromptLookup.Draft([1, 2, 3], draft));
        Assert.Equal(0, PromptLookup.Draft([1], draft));
    }

    // Two models' worth of logits, each option of the sampler: the drafts must leave no trace in the distribution.
    [Theory]
    [InlineData(1.0, 0, 1.0, 0.0)]
    [InlineData(0.7, 5, 1.0, 0.0)]
    [InlineData(1.3, 0, 0.8, 0.0)]
    [InlineData(1.0, 6, 0.9, 0.05)]
    public void RejectionSamplingLeavesTheDistributionAsItIs(double temperature, int topK, double topP, double minP)
    {
        const int Draws = 40_000, Vocabulary = 12;
        var random = new Random(3);
        foreach (var distance in (double[])[0, 0.5, 3])
        {
            var target = Enumerable.Range(0, Vocabulary).Select(_ => (float)(3 * random.NextDouble())).ToArray();
            var draft = target.Select(x => (float)(x + (distance * random.NextDouble()))).ToArray();
            var options = new SamplingOptions { Temperature = temperature, TopK = topK, TopP = topP, MinP = minP, Seed = 5 };
            double[] p = new double[Vocabulary], q = new double[Vocabulary];
            new Sampler(options, []).Distribution([.. target], p);
            var sampler = new Sampler(options, []);
            var counts = new int[Vocabulary];
            var accepted = 0;
            for (var i = 0; i < Draws; i++)
            {
                var drafted = sampler.Draft([.. draft], 0, q);
                var token = sampler.SampleAfterDraft([.. target], drafted, q);
                counts[token]++;
                accepted += token == drafted ? 1 : 0;
            }

            AssertDistribution(p, counts, Draws);

            // The part of the drafts that stays is sum min(p, q) (Leviathan et al., theorem 3.5).
            Assert.Equal(p.Zip(q, Math.Min).Sum(), (double)accepted / Draws, 0.02);
        }
    }

    [Fact]
    public void SharedNoiseAcceptsAtLeastItsBoundAndDrawsFromTheModel()
    {
        const int Draws = 40_000, Vocabulary = 12;
        var random = new Random(4);
        var target = Enumerable.Range(0, Vocabulary).Select(_ => (float)(3 * random.NextDouble())).ToArray();
        var draft = target.Select(x => (float)(x + random.NextDouble())).ToArray();
        double[] p = new double[Vocabulary], q = new double[Vocabulary];
        var sampler = new Sampler(new SamplingOptions { Seed = 8 }, []);
        sampler.Distribution([.. target], p);
        sampler.Distribution([.. draft], q);
        var counts = new int[Vocabulary];
        var accepted = 0;
        for (var i = 0; i < Draws; i++)
        {
            var drafted = sampler.Guess([.. draft], 0);
            var ahead = sampler.Guess([.. target], 1);
            var token = sampler.Sample([.. target]);
            counts[token]++;
            accepted += token == drafted ? 1 : 0;
            Assert.Equal(ahead, sampler.Guess([.. target], 0));
        }

        AssertDistribution(p, counts, Draws);
        var distance = p.Zip(q, (a, b) => Math.Abs(a - b)).Sum() / 2;
        Assert.InRange((double)accepted / Draws, ((1 - distance) / (1 + distance)) - 0.01, 1 - distance + 0.01);
    }

    // The whole way through the engine: 6,000 short texts of the scripted model, pairs of tokens against their exact probabilities.
    [Theory]
    [InlineData(DraftAcceptance.Rejection)]
    [InlineData(DraftAcceptance.SharedNoise)]
    public async Task TextsOfTheEngineAreDistributedAsTheModelSays(DraftAcceptance acceptance)
    {
        const int Draws = 6000;
        using var threads = new KernelThreads(1);
        await using var engine = new InferenceEngine(
            new ScriptedModel(), null, threads,
            new EngineOptions { CacheTokens = 4096, PageTokens = 8, MaxWaiting = Draws, MaxSequences = 64, Speculation = new SpeculationOptions { DraftTokens = 2, Acceptance = acceptance } });
        var request = new GenerationRequest { Prompt = [1, 2], MaxNewTokens = 3, IgnoreEos = true };
        var texts = await Task.WhenAll(Enumerable.Range(0, Draws).Select(i => Read(engine, request with { Sampling = new SamplingOptions { Seed = i, TopK = 4 } })));
        Assert.True(engine.Statistics.AcceptedTokens > Draws / 3);

        // The second and third tokens are those that drafts have a part in.
        var expected = new double[ScriptedModel.Vocabulary * ScriptedModel.Vocabulary];
        for (var first = 0; first < ScriptedModel.Vocabulary; first++)
        {
            var p1 = ScriptedModel.Distribution([1, 2], new SamplingOptions { TopK = 4 })[first];
            if (p1 == 0)
                continue;
            var p2 = ScriptedModel.Distribution([1, 2, first], new SamplingOptions { TopK = 4 });
            for (var second = 0; second < ScriptedModel.Vocabulary; second++)
                expected[(first * ScriptedModel.Vocabulary) + second] += p1 * p2[second];
        }

        var counts = new int[expected.Length];
        foreach (var text in texts)
            counts[(text[0] * ScriptedModel.Vocabulary) + text[1]]++;
        AssertDistribution(expected, counts, Draws);
        Array.Clear(expected);
        Array.Clear(counts);
        for (var first = 0; first < ScriptedModel.Vocabulary; first++)
        {
            for (var second = 0; second < ScriptedModel.Vocabulary; second++)
            {
                var p = ScriptedModel.Distribution([1, 2], new SamplingOptions { TopK = 4 })[first] * ScriptedModel.Distribution([1, 2, first], new SamplingOptions { TopK = 4 })[second];
                if (p == 0)
                    continue;
                var p3 = ScriptedModel.Distribution([1, 2, first, second], new SamplingOptions { TopK = 4 });
                for (var third = 0; third < ScriptedModel.Vocabulary; third++)
                    expected[(second * ScriptedModel.Vocabulary) + third] += p * p3[third];
            }
        }

        foreach (var text in texts)
            counts[(text[1] * ScriptedModel.Vocabulary) + text[2]]++;
        AssertDistribution(expected, counts, Draws);
    }

    private static int[] Ids(InferenceEngine engine, GenerationRequest request) => [.. engine.Generate(request, TestContext.Current.CancellationToken).Select(e => e.Id!.Value)];

    private static async Task<int[]> Read(InferenceEngine engine, GenerationRequest request)
    {
        var ids = new List<int>();
        await foreach (var step in engine.Begin(request))
            ids.Add(step.Id!.Value);
        return [.. ids];
    }

    // Pearson's chi-square; its quantile by the cube-root approximation, at one failure in a million.
    private static void AssertDistribution(double[] expected, int[] counts, int draws)
    {
        Assert.Equal(0, counts.Where((_, i) => expected[i] == 0).Sum());
        var cells = Enumerable.Range(0, counts.Length).Where(i => expected[i] * draws >= 5).ToArray();
        var statistic = cells.Sum(i => Math.Pow(counts[i] - (expected[i] * draws), 2) / (expected[i] * draws));
        double freedom = Math.Max(1, cells.Length - 1);
        var quantile = freedom * Math.Pow(1 - (2 / (9 * freedom)) + (4.75 * Math.Sqrt(2 / (9 * freedom))), 3);
        Assert.True(statistic <= quantile, $"chi-square {statistic} with {freedom} degrees of freedom, counts {string.Join(' ', counts)}");
    }
}
