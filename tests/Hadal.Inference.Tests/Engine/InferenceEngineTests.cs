using Hadal.Checkpoints.Config;
using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Inference.Speculation;
using Hadal.Inference.Tests.Model;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Engine;

public sealed class InferenceEngineTests
{
    [Fact]
    public async Task AThousandCancellationsLoseNoPage()
    {
        using var threads = new KernelThreads(1);
        await using var engine = new InferenceEngine(
            new ScriptedModel(), null, threads,
            new EngineOptions { CacheTokens = 2048, PageTokens = 8, MaxWaiting = 2000, PrefillTokens = 64, Speculation = new SpeculationOptions { DraftTokens = 2 } });
        var ended = await Task.WhenAll(Enumerable.Range(0, 1000).Select(i => Task.Run(() => Cancelled(engine, new Random(i)))));
        Assert.Equal(1000, ended.Sum());
        await engine.DrainAsync(TestContext.Current.CancellationToken);
        await engine.CheckIntegrityAsync();
        var statistics = engine.Statistics;
        Assert.Equal((0, 0, statistics.Pages), (statistics.Running, statistics.Waiting, statistics.FreePages + statistics.PrefixPages));

        // Cancelled by token before or after some events, or by a reader that leaves.
        static async Task<int> Cancelled(InferenceEngine engine, Random random)
        {
            using var source = new CancellationTokenSource();
            var request = new GenerationRequest
            {
                Prompt = [.. Enumerable.Range(0, random.Next(1, 100)).Select(_ => random.Next(1, 3))], MaxNewTokens = 1000, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 1 },
            };
            var stop = random.Next(10);
            var leave = random.Next(2) == 0;
            var read = 0;
            if (stop == 0 && !leave)
                await source.CancelAsync();
            try
            {
                await foreach (var _ in engine.Submit(request, source.Token))
                {
                    if (++read < stop)
                        continue;
                    if (leave)
                        return 1;
                    await source.CancelAsync();
                }
            }
            catch (OperationCanceledException)
            {
                return 1;
            }

            return 0;
        }
    }

    [Theory]
    [InlineData(CacheFormat.F32)]
    [InlineData(CacheFormat.BF16)]
    [InlineData(CacheFormat.Q8)]
    public async Task TheSameAloneAndAmongThirtyTwoOthersOnAnyNumberOfThreads(CacheFormat cache)
    {
        // A real model, small, of the whole architecture: MLA, experts, an MTP module.
        var config = Enumerable.Range(0, 1000).Select(RandomConfigs.Latent).First(c => c.Architecture == Architecture.DeepseekV3 && c.NumNextnPredictLayers == 1 && c.NRoutedExperts > 0 && c.VocabSize > 30);
        using var checkpoint = new RandomCheckpoint(config, 5);
        var model = new DeepSeek(checkpoint);
        var random = new Random(2);
        var requests = Enumerable.Range(0, 33).Select(i => new GenerationRequest
        {
            Prompt = [.. Enumerable.Range(0, random.Next(1, 40)).Select(t => t < 10 ? t % config.VocabSize : random.Next(config.VocabSize))],
            MaxNewTokens = 12,
            IgnoreEos = true,
            Sampling = new SamplingOptions { Seed = i, Temperature = i % 3 * 0.7, TopP = i % 2 == 0 ? 1 : 0.9 },
        }).ToList();

        using var one = new KernelThreads(1);
        var alone = new List<int[]>();
        foreach (var request in requests)
        {
            using var engine = new InferenceEngine(model, null, one, new EngineOptions { CacheTokens = 64, PageTokens = 16, Forward = new ForwardOptions { Cache = cache } });
            alone.Add([.. engine.Generate(request, TestContext.Current.CancellationToken).Select(e => e.Id!.Value)]);
        }

        Assert.True(alone.Select(a => string.Join(' ', a)).Distinct().Count() > 30);
        foreach (var (count, speculation, tokens) in new (int, SpeculationOptions?, int)[] { (1, null, 4096), (3, null, 400), (2, new SpeculationOptions { DraftTokens = 3 }, 500) })
        {
            using var threads = new KernelThreads(count);
            using var engine = new InferenceEngine(
                model, null, threads, new EngineOptions { CacheTokens = tokens, PageTokens = 16, MaxSequences = 40, PrefillTokens = 100, PrefillTokensBesideDecode = 33, Speculation = speculation, Forward = new ForwardOptions { Cache = cache } });
            var together = await Task.WhenAll(requests.Select(r => Read(engine.Begin(r))));
            for (var i = 0; i < requests.Count; i++)
                Assert.Equal(alone[i], together[i].Select(e => e.Id!.Value));
            await engine.CheckIntegrityAsync();
            Assert.Equal(tokens < 4096, engine.Statistics.Preemptions > 0);
        }
    }

    [Fact]
    public async Task WhatCannotBeServedIsRefusedBeforeAnythingRuns()
    {
        using var threads = new KernelThreads(1);
        using var blocked = new ManualResetEventSlim();
        var model = new ScriptedModel { BeforeForward = _ => blocked.Wait() };
        await using var engine = new InferenceEngine(model, null, threads, new EngineOptions { CacheTokens = 100, MaxWaiting = 3, MaxSequences = 1 });
        Assert.Equal(100, engine.ContextTokens);
        var overflow = Assert.Throws<ContextOverflowException>(() => engine.Begin(new GenerationRequest { Prompt = new int[80], MaxNewTokens = 21 }));
        Assert.Equal((101, 100), (overflow.Required, overflow.Available));
        Assert.Throws<ContextOverflowException>(() => engine.Begin(new GenerationRequest { Prompt = new int[100] }));
        Assert.Throws<ArgumentException>(() => engine.Begin(new GenerationRequest { Prompt = [] }));
        Assert.Throws<ArgumentException>(() => engine.Begin(new GenerationRequest { Prompt = [ScriptedModel.Vocabulary] }));
        foreach (var id in (int[])[-1, ScriptedModel.Vocabulary])
            Assert.Throws<ArgumentException>(() => engine.Begin(new GenerationRequest { Prompt = [1], Sampling = new SamplingOptions { LogitBias = new Dictionary<int, double> { [id] = 1 } } }));
        Assert.Throws<ArgumentOutOfRangeException>(() => engine.Begin(new GenerationRequest { Prompt = [1], MaxNewTokens = -1 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => engine.Begin(new GenerationRequest { Prompt = [1], Sampling = new SamplingOptions { TopP = 2 } }));
        Assert.Throws<ArgumentException>(() => engine.Begin(new GenerationRequest { Prompt = [1], StopStrings = ["x"] }));

        var accepted = new List<Task<List<GenerationEvent>>>();
        var refused = 0;
        for (var i = 0; i < 20; i++)
        {
            try
            {
                accepted.Add(Read(engine.Begin(new GenerationRequest { Prompt = [1], MaxNewTokens = 1 })));
            }
            catch (QueueFullException e)
            {
                Assert.Equal(3, e.Limit);
                refused++;
            }
        }

        Assert.InRange(refused, 10, 17);
        blocked.Set();
        Assert.All(await Task.WhenAll(accepted), e => Assert.NotNull(e[^1].FinishReason));
        await engine.DrainAsync(TestContext.Current.CancellationToken);
        Assert.Throws<EngineStoppedException>(() => engine.Begin(new GenerationRequest { Prompt = [1] }));
    }

    [Fact]
    public async Task AReaderThatStopsPausesAndOthersGoOn()
    {
        using var threads = new KernelThreads(1);
        await using var engine = new InferenceEngine(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 2048, MaxUnread = 32 });
        var request = new GenerationRequest { Prompt = [1, 2], MaxNewTokens = 300, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 4 } };
        var slow = engine.Begin(request);
        var others = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Read(engine.Begin(request))));
        var read = await Read(slow);
        Assert.All(others, o => Assert.Equal(read.Select(e => e.Id), o.Select(e => e.Id)));
        Assert.Equal(300, read.Count);
    }

    [Fact]
    public async Task WhatWasNeverReadCanBeCancelled()
    {
        using var threads = new KernelThreads(1);
        await using var engine = new InferenceEngine(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 2048, MaxUnread = 32 });
        using var source = new CancellationTokenSource();
        _ = engine.Submit(new GenerationRequest { Prompt = [1, 2], MaxNewTokens = 300, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 4 } }, source.Token);
        await source.CancelAsync();
        await engine.DrainAsync(TestContext.Current.CancellationToken);
        Assert.Equal((0, 0), (engine.Statistics.Running, engine.Statistics.Waiting));
        await engine.CheckIntegrityAsync();
    }

    [Fact]
    public async Task TimeLimitsEndWhatWaitsAndWhatRuns()
    {
        var time = new ManualTime();
        using var threads = new KernelThreads(1);
        var passes = 0;
        var model = new ScriptedModel { BeforeForward = _ => time.Advance(TimeSpan.FromSeconds(passes++ < 10 ? 1 : 0)) };
        await using var engine = new InferenceEngine(model, null, threads, new EngineOptions { CacheTokens = 2048, MaxSequences = 1 }, time);
        var request = new GenerationRequest { Prompt = [1, 2], MaxNewTokens = 100, IgnoreEos = true, TimeLimit = TimeSpan.FromSeconds(5), Sampling = new SamplingOptions { Seed = 4 } };
        var running = Read(engine.Begin(request));
        var waiting = Read(engine.Begin(request with { TimeLimit = TimeSpan.FromSeconds(2) }));
        var events = await running;
        Assert.Equal((FinishReason.TimeLimit, 5), (events[^1].FinishReason, events[^1].Usage!.GeneratedTokens));
        events = await waiting;
        Assert.Equal((FinishReason.TimeLimit, 0, 2), (events[^1].FinishReason, events[^1].Usage!.GeneratedTokens, events[^1].Usage!.PromptTokens));
    }

    [Fact]
    public async Task DrainingFinishesAndDisposingFails()
    {
        using var threads = new KernelThreads(1);
        var request = new GenerationRequest { Prompt = [1, 2], MaxNewTokens = 1500, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 4 } };
        var engine = new InferenceEngine(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 2048 });
        var reading = Read(engine.Begin(request));
        await engine.DrainAsync(TestContext.Current.CancellationToken);
        Assert.Equal(1500, (await reading).Count);
        await engine.DisposeAsync();

        engine = new InferenceEngine(new ScriptedModel { BeforeForward = _ => Thread.Sleep(1) }, null, threads, new EngineOptions { CacheTokens = 2048 });
        reading = Read(engine.Begin(request));
        engine.Dispose();
        engine.Dispose();
        await Assert.ThrowsAsync<EngineStoppedException>(() => reading);
        await engine.DrainAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task UsageEventsAndProgressSayWhatHappened()
    {
        using var threads = new KernelThreads(1);
        await using var engine = new InferenceEngine(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 2048, PageTokens = 8, PrefillTokens = 16 });
        var progress = new Progress();
        var request = new GenerationRequest
        {
            Prompt = [.. Enumerable.Range(0, 40).Select(i => 1 + (i % 5))], MaxNewTokens = 6, IgnoreEos = true, Progress = progress,
            Sampling = new SamplingOptions { Seed = 4, TopLogprobs = 2 },
        };
        var events = await Read(engine.Begin(request));
        Assert.Equal([16, 32, 40], progress.Reports);
        Assert.Equal(new GenerationUsage { PromptTokens = 40, CachedTokens = 0, GeneratedTokens = 6, Steps = 6 }, events[^1].Usage);
        Assert.All(events, e => Assert.Equal(2, e.TopLogprobs!.Count));
        Assert.All(events, e => Assert.InRange(e.Logprob!.Value, -20, e.TopLogprobs![0].Logprob));
        Assert.Equal(FinishReason.Length, events[^1].FinishReason);

        // The next turn of the conversation finds all of it.
        var next = await Read(engine.Begin(request with { Prompt = [.. request.Prompt, .. events.Select(e => e.Id!.Value), 7], MaxNewTokens = 1, Progress = null }));
        Assert.Equal(45, next[^1].Usage!.CachedTokens);
        var none = await Read(engine.Begin(request with { MaxNewTokens = 0 }));
        Assert.Equal((1, FinishReason.Length, 0), (none.Count, none[0].FinishReason, none[0].Usage!.GeneratedTokens));
        var stopped = await Read(engine.Begin(request with { StopTokens = [events[2].Id!.Value], Sampling = new SamplingOptions { Seed = 4 } }));
        Assert.Equal((FinishReason.Stop, null, 3), (stopped[^1].FinishReason, stopped[^1].Id, stopped[^1].Usage!.GeneratedTokens));
    }

    [Fact]
    public async Task APrefixCacheIsFoundAgainAfterARestart()
    {
        var path = Path.Combine(Path.GetTempPath(), $"hadal-engine-{Guid.NewGuid():N}");
        var fingerprint = new byte[32];
        using var threads = new KernelThreads(1);
        var options = new EngineOptions { CacheTokens = 2048, PageTokens = 8, Speculation = new SpeculationOptions() };
        var request = new GenerationRequest { Prompt = [.. Enumerable.Range(0, 40).Select(i => 1 + (i % 5))], MaxNewTokens = 6, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 4 } };
        try
        {
            List<GenerationEvent> first;
            await using (var engine = new InferenceEngine(new ScriptedModel(), null, threads, options))
            {
                first = await Read(engine.Begin(request));
                await engine.SavePrefixesAsync(path, fingerprint);
                await Assert.ThrowsAsync<DirectoryNotFoundException>(() => engine.SavePrefixesAsync(Path.Combine(path, "no", "folder"), fingerprint));
            }

            await using (var engine = new InferenceEngine(new ScriptedModel(), null, threads, options))
            {
                Assert.Null(await engine.RestorePrefixesAsync(path, fingerprint));
                var again = await Read(engine.Begin(request));
                Assert.Equal(first.Select(e => e.Id), again.Select(e => e.Id));
                Assert.Equal(39, again[^1].Usage!.CachedTokens);
                Assert.Contains("in use", await engine.RestorePrefixesAsync(path, fingerprint));
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static async Task<List<GenerationEvent>> Read(IAsyncEnumerable<GenerationEvent> events)
    {
        var read = new List<GenerationEvent>();
        await foreach (var step in events)
            read.Add(step);
        return read;
    }

    private sealed class Progress : IProgress<int>
    {
        public List<int> Reports { get; } = [];

        public void Report(int value) => Reports.Add(value);
    }
}
