using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Inference.Speculation;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Engine;

/// <summary>The generation loop, a step at a time, on a scripted model.</summary>
public sealed class EngineCoreTests
{
    public static TheoryData<string, SpeculationOptions?> Speculations => new()
    {
        { "none", null },
        { "mtp", new SpeculationOptions { DraftTokens = 3 } },
        { "lookup", new SpeculationOptions { DraftTokens = 4, Source = DraftSource.PromptLookup } },
    };

    [Theory]
    [MemberData(nameof(Speculations))]
    public void WhateverHappensAroundItASequenceGetsTheTokensItGetsAlone(string name, SpeculationOptions? speculation)
    {
        // 30 pages of 4 tokens for requests of up to 60 tokens: pre-emption and eviction all the time.
        var random = new Random(7);
        var time = new ManualTime();
        using var threads = new KernelThreads(1);
        var options = new EngineOptions
        {
            CacheTokens = 120, PageTokens = 4, MaxSequences = 6, PrefillTokens = 24, PrefillTokensBesideDecode = 5, MaxUnread = 32, Speculation = speculation,
        };
        using var core = new EngineCore(new ScriptedModel(), null, threads, options, time);
        var live = new List<Reader>();
        int complete = 0, cached = 0, late = 0;
        for (var step = 0; step < 4000; step++)
        {
            if (live.Count < 12 && random.Next(3) == 0)
                live.Add(new Reader(core, Request(random)));
            if (random.Next(40) == 0 && live.Count > 0)
                live[random.Next(live.Count)].Sequence.Cancel();
            time.Advance(TimeSpan.FromMilliseconds(1));
            core.Retire();
            core.Step();
            core.CheckIntegrity();
            foreach (var reader in live.Where(_ => random.Next(3) > 0).ToList())
            {
                if (!reader.Read())
                    continue;
                live.Remove(reader);
                complete += reader.Reason is FinishReason.Stop or FinishReason.Length ? 1 : 0;
                late += reader.Reason == FinishReason.TimeLimit ? 1 : 0;
                cached += reader.Usage?.CachedTokens ?? 0;
            }
        }

        Assert.True(core.Statistics.Preemptions > 50, $"{name}: {core.Statistics.Preemptions} pre-emptions");
        Assert.True(complete > 200 && cached > 2000 && late > 5, $"{name}: {complete} complete, {late} late, {cached} cached tokens");
        Assert.Equal(speculation is not null, core.Statistics.AcceptedTokens > 100);
        foreach (var reader in live)
            reader.Sequence.Cancel();
        core.Retire();
        Assert.True(core.IsIdle);
        core.CheckIntegrity();
        Assert.Equal(core.Pool.PageCount, core.Pool.FreePages + core.Tree.Pages);
    }

    [Fact]
    public void ALongPromptStallsNoOneWhoDecodes()
    {
        using var threads = new KernelThreads(1);
        var batches = new List<int[]>();
        var model = new ScriptedModel { BeforeForward = b => batches.Add([.. Counts(b)]) };
        using var core = new EngineCore(model, null, threads, new EngineOptions { CacheTokens = 4096, PrefillTokens = 512, PrefillTokensBesideDecode = 64 }, TimeProvider.System);
        var first = new Reader(core, new GenerationRequest { Prompt = [1, 2, 3], MaxNewTokens = 60, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 1 } });
        core.Step();
        var second = new Reader(core, new GenerationRequest { Prompt = Enumerable.Repeat(5, 1000).ToArray(), MaxNewTokens = 2, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 1 } });
        while (core.Step())
            Assert.True(batches[^1][0] == 1 || first.Read(), "the decoding sequence waited");
        Assert.True(first.Read());
        Assert.True(second.Read());
        Assert.Equal(16, batches.Count(b => b.Length == 2 && b[1] > 1));

        static List<int> Counts(ForwardBatch batch)
        {
            var counts = new List<int>();
            foreach (var segment in batch.Segments)
                counts.Add(segment.Count);
            return counts;
        }
    }

    [Fact]
    public void RequestsThatArriveTogetherComputeTheirCommonBeginningOnce()
    {
        var tokens = 0;
        using var threads = new KernelThreads(1);
        using var core = new EngineCore(
            new ScriptedModel { BeforeForward = b => tokens += b.TokenCount }, null, threads, new EngineOptions { CacheTokens = 4096, PageTokens = 16 }, TimeProvider.System);
        var readers = Enumerable.Range(0, 8).Select(i => new Reader(core, new GenerationRequest
        {
            Prompt = [.. Enumerable.Range(0, 160).Select(t => 1 + (t % 7)), 8 + i], MaxNewTokens = 3, IgnoreEos = true, Sampling = new SamplingOptions { Seed = i },
        })).ToList();
        while (core.Step())
            core.CheckIntegrity();
        Assert.All(readers, r => Assert.True(r.Read()));
        Assert.All(readers.Skip(1), r => Assert.Equal(160, r.Usage!.CachedTokens));
        Assert.Equal(161 + 7 + (8 * 2), tokens);
    }

    [Fact]
    public void SideRequestsUseTheCacheButNeitherFillNorEmptyIt()
    {
        using var threads = new KernelThreads(1);
        using var core = new EngineCore(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 128, PageTokens = 4, SidePart = 0.25 }, TimeProvider.System);
        Assert.Equal(24, core.Tree.MaxPages);
        var conversations = new List<int[]>();
        for (var i = 0; i < 4; i++)
        {
            conversations.Add([.. Enumerable.Range(0, 20).Select(t => 1 + ((t + i) % 9))]);
            Run(conversations[i], side: false);
        }

        var pages = core.Tree.Pages;
        Assert.True(pages >= 20);
        var known = conversations.ConvertAll(c => core.Tree.Match([.. c, 1]));
        Assert.All(known, k => Assert.Equal(20, k));
        for (var i = 0; i < 30; i++)
        {
            var reader = Run([.. conversations[i % 4], 9, 9, 9, 1 + (i % 5)], side: true);
            Assert.InRange(reader.Usage!.CachedTokens, 20, 22);
        }

        Assert.Equal(pages, core.Tree.Pages);
        Assert.Equal(known, conversations.ConvertAll(c => core.Tree.Match([.. c, 1])));

        Reader Run(int[] prompt, bool side)
        {
            var reader = new Reader(core, new GenerationRequest { Prompt = prompt, MaxNewTokens = 3, IgnoreEos = true, IsSideRequest = side, Sampling = new SamplingOptions { Seed = 3 } });
            while (core.Step())
                core.CheckIntegrity();
            Assert.True(reader.Read());
            return reader;
        }
    }

    [Fact]
    public void HigherPriorityGoesFirst()
    {
        using var threads = new KernelThreads(1);
        using var core = new EngineCore(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 256, MaxSequences = 1 }, TimeProvider.System);
        var order = new List<int>();
        var readers = new List<Reader>();
        for (var i = 0; i < 4; i++)
            readers.Add(new Reader(core, new GenerationRequest { Prompt = [1 + i], MaxNewTokens = 2, IgnoreEos = true, Priority = i % 2, Sampling = new SamplingOptions { Seed = 1 } }));
        while (core.Step())
        {
            for (var i = 0; i < readers.Count; i++)
            {
                if (readers[i].Read() && !order.Contains(i))
                    order.Add(i);
            }
        }

        Assert.Equal([1, 3, 0, 2], order);
    }

    [Fact]
    public void AFailureEndsTheSequencesOfItsStepAndNoOther()
    {
        using var threads = new KernelThreads(1);
        var fail = false;
        using var core = new EngineCore(
            new ScriptedModel { BeforeForward = _ => { if (fail) throw new InvalidOperationException("broken"); } }, null, threads, new EngineOptions { CacheTokens = 256, MaxSequences = 1 }, TimeProvider.System);
        var first = new Reader(core, new GenerationRequest { Prompt = [1], MaxNewTokens = 9, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 1 } });
        var second = new Reader(core, new GenerationRequest { Prompt = [2], MaxNewTokens = 2, IgnoreEos = true, Sampling = new SamplingOptions { Seed = 1 } });
        core.Step();
        fail = true;
        core.Step();
        fail = false;
        while (core.Step())
            core.CheckIntegrity();
        Assert.Equal("broken", Assert.Throws<InvalidOperationException>(() => first.Read()).Message);
        Assert.True(second.Read());
        core.CheckIntegrity();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(6)]
    public void StreamsThatNobodyReadsHoldNeitherPagesNorPlaces(int places)
    {
        // Six unread streams fill all places, or all pages; others come and are served, and the unread go on when they are read.
        using var threads = new KernelThreads(1);
        using var core = new EngineCore(
            new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 6 * 80, PageTokens = 16, MaxSequences = places, MaxUnread = 32, SidePart = 0 }, TimeProvider.System);
        GenerationRequest Of(int token, int count) => new() { Prompt = [token, 1, 2, 3], MaxNewTokens = count, IgnoreEos = true, Sampling = new SamplingOptions { Seed = token } };
        var unread = Enumerable.Range(4, 6).Select(token => new Reader(core, Of(token, 60))).ToList();
        for (var i = 0; i < 400; i++)
            core.Step();
        var read = Enumerable.Range(10, 5).Select(token => new Reader(core, Of(token, 200))).ToList();
        for (var i = 0; i < 5000 && read.Count > 0; i++)
        {
            core.Step();
            core.CheckIntegrity();
            read.RemoveAll(r => r.Read());
        }

        Assert.Empty(read);
        for (var i = 0; i < 5000 && unread.Count > 0; i++)
        {
            core.Step();
            core.CheckIntegrity();
            unread.RemoveAll(r => r.Read());
        }

        Assert.Empty(unread);
        Assert.True(core.IsIdle);
    }

    [Fact]
    public void AStepThatFailsHalfWayLeavesNoDraftsBehind()
    {
        // The first in order fails when its logits are read; the cache of the second then still holds rows of its unverified drafts.
        using var threads = new KernelThreads(1);
        using var core = new EngineCore(
            new ScriptedModel(0), null, threads,
            new EngineOptions { CacheTokens = 512, PageTokens = 4, Speculation = new SpeculationOptions { DraftTokens = 4, Source = DraftSource.PromptLookup } }, TimeProvider.System);
        var drafting = new Reader(core, new GenerationRequest { Prompt = [.. Enumerable.Repeat(3, 20)], MaxNewTokens = 200, IgnoreEos = true, Sampling = new SamplingOptions { Temperature = 0 } });
        for (var i = 0; i < 100 && drafting.Sequence.Drafts.Count == 0; i++)
            core.Step();
        Assert.NotEmpty(drafting.Sequence.Drafts);
        var failing = new Reader(core, new GenerationRequest { Prompt = [1, 2], MaxNewTokens = 9, Priority = 1, Progress = new Failing(), Sampling = new SamplingOptions { Seed = 1 } });
        Assert.True(core.Step());
        core.CheckIntegrity();
        Assert.Equal("no progress", Assert.Throws<InvalidOperationException>(() => failing.Read()).Message);
        Assert.Equal("no progress", Assert.Throws<InvalidOperationException>(() => drafting.Read()).Message);
        Assert.True(core.IsIdle);
        Assert.Equal(core.Pool.PageCount, core.Pool.FreePages + core.Tree.Pages);
    }

    [Theory]
    [MemberData(nameof(Speculations))]
    public void AStepAllocatesItsEventsAndNothingElse(string name, SpeculationOptions? speculation)
    {
        // One page holds a whole sequence: the prefix tree makes a node for every page that fills up.
        using var threads = new KernelThreads(1);
        using var core = new EngineCore(new ScriptedModel(), null, threads, new EngineOptions { CacheTokens = 16_384, PageTokens = 2048, Speculation = speculation }, TimeProvider.System);
        var readers = Enumerable.Range(0, 3).Select(i => new Reader(core, new GenerationRequest { Prompt = [1 + i, 2, 3], IgnoreEos = true, MaxNewTokens = 1200, Sampling = new SamplingOptions { Seed = i } })).ToList();
        var before = GC.GetAllocatedBytesForCurrentThread();
        var probe = new GenerationEvent(1, string.Empty);
        var eventBytes = GC.GetAllocatedBytesForCurrentThread() - before;
        GC.KeepAlive(probe);
        var excess = new List<long>();
        for (var i = 0; i < 200; i++)
        {
            Assert.All(readers, r => Assert.False(r.Read()));
            var generated = core.Statistics.GeneratedTokens;
            before = GC.GetAllocatedBytesForCurrentThread();
            core.Step();
            var bytes = GC.GetAllocatedBytesForCurrentThread() - before;
            excess.Add(bytes - ((core.Statistics.GeneratedTokens - generated) * eventBytes));
        }

        // Lists double now and then while a sequence grows.
        Assert.True(excess.Skip(100).Count(e => e != 0) <= 4, $"{name}: {string.Join(' ', excess.Skip(100))}");
    }

    private sealed class Failing : IProgress<int>
    {
        public void Report(int value) => throw new InvalidOperationException("no progress");
    }

    private static GenerationRequest Request(Random random) => new()
    {
        Prompt = [.. Enumerable.Range(0, random.Next(1, 40)).Select(i => i < 12 ? 1 + (i % 3) : random.Next(1, 4))],
        MaxNewTokens = random.Next(0, 21),
        IgnoreEos = random.Next(2) == 0,
        Priority = random.Next(3),
        IsSideRequest = random.Next(5) == 0,
        TimeLimit = random.Next(6) == 0 ? TimeSpan.FromMilliseconds(random.Next(40)) : null,
        Sampling = new SamplingOptions { Seed = random.Next(1000), Temperature = random.Next(3) / 2.0, TopK = random.Next(3) * 4, FrequencyPenalty = random.Next(2) },
    };

    /// <summary>Reads a sequence's events and compares them with what it gets alone.</summary>
    private sealed class Reader
    {
        private readonly GenerationRequest request;
        private readonly List<int> expected;
        private int count;

        public Reader(EngineCore core, GenerationRequest request)
        {
            this.request = request;
            Sequence = core.Prepare(request);
            expected = ScriptedModel.Generate(request.Prompt, request.Sampling, request.MaxNewTokens ?? int.MaxValue, request.IgnoreEos);
            core.Add(Sequence);
        }

        public Sequence Sequence { get; }

        public FinishReason? Reason { get; private set; }

        public GenerationUsage? Usage { get; private set; }

        /// <summary>Reads what there is; true at the end.</summary>
        public bool Read()
        {
            while (Sequence.Events.TryRead(out var step))
            {
                Assert.Null(Reason);
                Reason = step.FinishReason;
                Usage = step.Usage;
                if (step.Id is { } id)
                    Assert.Equal(expected[count++], id);
            }

            if (!Sequence.Events.Completion.IsCompleted)
                return false;
            if (Sequence.Events.Completion.IsFaulted || Sequence.Events.Completion.IsCanceled)
            {
                if (!Sequence.IsCancelled)
                    Sequence.Events.Completion.GetAwaiter().GetResult();
                return true;
            }

            Assert.NotNull(Reason);
            if (Reason != FinishReason.TimeLimit)
            {
                Assert.Equal(Reason == FinishReason.Stop ? expected.Count - 1 : expected.Count, count);
                Assert.Equal(expected.Count, Usage!.GeneratedTokens);
            }

            Assert.Equal(request.Prompt.Count, Usage!.PromptTokens);
            Assert.InRange(Usage.Steps, Usage.GeneratedTokens - Usage.AcceptedTokens, Usage.GeneratedTokens);
            return true;
        }
    }
}
