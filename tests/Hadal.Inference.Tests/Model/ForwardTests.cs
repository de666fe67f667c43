using CsCheck;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Inference.Verification;
using Hadal.Numerics.Tests.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Model;

/// <summary>The bits of a result do not depend on how it is computed, whatever the model.</summary>
public sealed class ForwardTests : IDisposable
{
    private static readonly Gen<int> Seeds = Gen.Int[0, 1 << 24];

    private readonly KernelThreads one = new(1);
    private readonly KernelThreads two = new(2);
    private readonly KernelThreads three = new(3);

    public void Dispose()
    {
        one.Dispose();
        two.Dispose();
        three.Dispose();
    }

    [Fact]
    public void NeitherRunsNorThreadsChangeABit() => Seeds.Sample(
        seed =>
        {
            var random = new Random(seed);
            using var run = ModelRun.Random(seed);
            var tokens = run.Tokens(random, random.Next(1, 40));
            var options = RandomOptions(random);
            var whole = run.Logits(tokens, one, options);
            Assert.True(Array.TrueForAll(whole, float.IsFinite), "logits are not finite");
            Bits.AssertEqual(whole, run.Logits(tokens, two, options, 1), "token by token");
            Bits.AssertEqual(whole, run.Logits(tokens, three, options, ModelRun.RandomRuns(random, tokens.Length)), "random runs");
            Bits.AssertEqual(whole, run.Logits(tokens, two, options), "2 threads");
            using var pool = new CachePool(run.Model.Config, tokens.Length, 8);
            using var cache = new SequenceCache(pool);
            var watched = new ForwardContext(two, options, new RecordingProbe(run.Model.Config.NumHiddenLayers));
            Bits.AssertEqual(whole, run.Logits(cache, tokens, watched), "looked at");
        },
        iter: 40,
        threads: 1);

    [Fact]
    public void MtpModulesDoNotDependOnRunsNorThreads() => Seeds.Sample(
        seed =>
        {
            var random = new Random(seed);
            using var run = ModelRun.Random(seed, latent: true);
            var tokens = run.Tokens(random, random.Next(2, 24));
            var options = RandomOptions(random) with { MtpInput = random.Next(2) == 0 ? MtpInput.AfterFinalNorm : MtpInput.BeforeFinalNorm };
            var whole = run.MtpLogits(tokens, one, options);
            var pieces = run.MtpLogits(tokens, three, options, ModelRun.RandomRuns(random, tokens.Length));
            Assert.Equal(whole.Count, pieces.Count);
            for (var m = 0; m < whole.Count; m++)
                Bits.AssertEqual(whole[m], pieces[m], $"module {m}");

            // Modules left out, or run in between, leave the main model as it is.
            using var dropped = new ModelRun(run.Checkpoint, dropMtp: true);
            Assert.Equal(0, dropped.Model.MtpModules);
            Bits.AssertEqual(run.Logits(tokens, one, options), dropped.Logits(tokens, two, options), "without MTP modules");
        },
        iter: 25,
        threads: 1);

    [Fact]
    public void SequencesOfABatchAreAsIfAlone() => Seeds.Sample(
        seed =>
        {
            var random = new Random(seed);
            using var run = ModelRun.Random(seed);
            var options = RandomOptions(random);
            var prompts = Enumerable.Range(0, random.Next(1, 5)).Select(_ => run.Tokens(random, random.Next(1, 20))).ToArray();
            using var pool = new CachePool(run.Model.Config, 400, 4);
            var caches = prompts.Select(_ => new SequenceCache(pool)).ToArray();
            var found = prompts.Select(_ => new List<float>()).ToArray();
            var batch = new ForwardBatch();
            var context = new ForwardContext(two, options);
            while (true)
            {
                batch.Clear();
                var members = new List<(int Sequence, int Count)>();
                foreach (var i in Enumerable.Range(0, prompts.Length).Where(i => caches[i].Length < prompts[i].Length && random.Next(3) > 0))
                {
                    var count = random.Next(1, prompts[i].Length - caches[i].Length + 1);
                    batch.Add(caches[i], prompts[i].AsSpan(caches[i].Length, count), LogitRequest.All);
                    members.Add((i, count));
                }

                if (members.Count == 0 && Enumerable.Range(0, prompts.Length).All(i => caches[i].Length == prompts[i].Length))
                    break;
                if (members.Count == 0)
                    continue;
                var logits = run.Model.Forward(batch, context).Logits;
                foreach (var (i, count) in members)
                {
                    found[i].AddRange(logits[..(count * run.Model.Config.VocabSize)]);
                    logits = logits[(count * run.Model.Config.VocabSize)..];
                }
            }

            for (var i = 0; i < prompts.Length; i++)
                Bits.AssertEqual(run.Logits(prompts[i], one, options), found[i].ToArray(), $"sequence {i}");
            foreach (var cache in caches)
                cache.Dispose();
            Assert.Equal(pool.PageCount, pool.FreePages);
        },
        iter: 25,
        threads: 1);

    [Fact]
    public void LogitsComeForTheRowsAskedFor()
    {
        using var run = ModelRun.Random(3);
        var tokens = run.Tokens(new Random(3), 9);
        var vocab = run.Model.Config.VocabSize;
        var all = run.Logits(tokens, one);
        using var pool = new CachePool(run.Model.Config, 60, 4);
        using SequenceCache none = new(pool), every = new(pool), last = new(pool);
        var batch = new ForwardBatch();
        batch.Add(none, tokens, LogitRequest.None);
        batch.Add(every, tokens.AsSpan(0, 4), LogitRequest.All);
        batch.Add(last, tokens.AsSpan(0, 6), LogitRequest.Last);
        Assert.Equal([9, 10, 11, 12, 18], batch.LogitRows);
        var found = run.Model.Forward(batch, new ForwardContext(one)).Logits;
        Bits.AssertEqual([.. all[..(4 * vocab)], .. all[(5 * vocab)..(6 * vocab)]], found, "4 rows and the last of 6");
        batch.Clear();
        batch.Add(none, [0], LogitRequest.None);
        Assert.True(run.Model.Forward(batch, new ForwardContext(one)).Logits.IsEmpty);
    }

    [Fact]
    public void LeavingOutStatesNobodyNeedsChangesNoBit() => Seeds.Sample(
        seed =>
        {
            var random = new Random(seed);
            using var run = ModelRun.Random(seed);
            var options = RandomOptions(random);
            var (vocab, width) = (run.Model.Config.VocabSize, run.Model.Config.HiddenSize);
            var prompts = Enumerable.Range(0, random.Next(1, 5)).Select(_ => run.Tokens(random, random.Next(1, 20))).ToArray();
            using var pool = new CachePool(run.Model.Config, 800, 4);
            var caches = prompts.Select(_ => new SequenceCache(pool)).ToArray();
            var others = prompts.Select(_ => new SequenceCache(pool)).ToArray();
            ForwardBatch batch = new() { LogitsOnly = true }, whole = new();
            ForwardContext context = new(two, options), wholeContext = new(one, options);
            while (Enumerable.Range(0, prompts.Length).Any(i => caches[i].Length < prompts[i].Length))
            {
                batch.Clear();
                whole.Clear();
                foreach (var i in Enumerable.Range(0, prompts.Length).Where(i => caches[i].Length < prompts[i].Length))
                {
                    var part = prompts[i].AsSpan(caches[i].Length, random.Next(1, prompts[i].Length - caches[i].Length + 1));
                    var request = (LogitRequest)random.Next(3);
                    batch.Add(caches[i], part, request);
                    whole.Add(others[i], part, request);
                }

                var found = run.Model.Forward(batch, context);
                var expected = run.Model.Forward(whole, wholeContext);
                Bits.AssertEqual(expected.Logits, found.Logits, "logits");
                Assert.Equal(batch.LogitRows.Count * width, found.Hidden.Length);
                for (var i = 0; i < batch.LogitRows.Count; i++)
                {
                    Bits.AssertEqual(expected.Hidden.Slice(batch.LogitRows[i] * width, width), found.Hidden.Slice(i * width, width), $"state of row {i}");
                    Bits.AssertEqual(expected.Normed.Slice(batch.LogitRows[i] * width, width), found.Normed.Slice(i * width, width), $"normed row {i}");
                }

                Assert.Equal(batch.LogitRows.Count * vocab, found.Logits.Length);
            }

            // What the caches hold is the same, too.
            int[] more = [1, 0];
            for (var i = 0; i < prompts.Length; i++)
            {
                Bits.AssertEqual(run.Logits(others[i], more, wholeContext), run.Logits(caches[i], more, context), $"after sequence {i}");
                caches[i].Dispose();
                others[i].Dispose();
            }
        },
        iter: 30,
        threads: 1);

    [Fact]
    public void TruncatingAndComputingAgainIsAsIfStraight() => Seeds.Sample(
        seed =>
        {
            var random = new Random(seed);
            using var run = ModelRun.Random(seed);
            var options = RandomOptions(random);
            var tokens = run.Tokens(random, 30);
            var straight = run.Logits(tokens, one, options);
            using var pool = new CachePool(run.Model.Config, 64, 4);
            using var cache = new SequenceCache(pool);
            var context = new ForwardContext(two, options);
            var vocab = run.Model.Config.VocabSize;
            for (var i = 0; i < 6; i++)
            {
                // A detour through other tokens, taken back.
                var kept = random.Next(cache.Length + 1);
                cache.Truncate(kept);
                run.Logits(cache, run.Tokens(random, random.Next(1, 20)), context);
                cache.Truncate(kept);
                var end = random.Next(kept + 1, tokens.Length + 1);
                Bits.AssertEqual(straight.AsSpan(kept * vocab, (end - kept) * vocab), run.Logits(cache, tokens[kept..end], context), $"rows {kept} to {end}");
                if (end == tokens.Length)
                    cache.Truncate(random.Next(end));
            }
        },
        iter: 20,
        threads: 1);

    [Fact]
    public void DecodingAllocatesNothing()
    {
        for (var seed = 0; seed < 8; seed++)
        {
            foreach (var threads in new[] { one, two })
            {
                using var run = ModelRun.Random(seed);
                var options = RandomOptions(new Random(seed));
                using var pool = new CachePool(run.Model.Config, 400);
                using SequenceCache first = new(pool), second = new(pool);
                var context = new ForwardContext(threads, options);
                var batch = new ForwardBatch();
                run.Logits(first, run.Tokens(new Random(seed), 40), context);
                run.Logits(second, run.Tokens(new Random(seed), 17), context);

                // Scratch grows with the longest sequence seen, so one longer than the measured ones comes first.
                Decode(40);
                first.Truncate(40);
                second.Truncate(17);
                Decode(10);
                Assert.Equal(0, Decode(20));

                // Bytes allocated by this thread.
                long Decode(int steps)
                {
                    ReadOnlySpan<int> token = [1];
                    var before = GC.GetAllocatedBytesForCurrentThread();
                    for (var i = 0; i < steps; i++)
                    {
                        batch.Clear();
                        batch.Add(first, token, LogitRequest.Last);
                        batch.Add(second, token, LogitRequest.Last);
                        var result = run.Model.Forward(batch, context);
                        for (var m = 0; i > 0 && m < run.Model.MtpModules; m++)
                            run.Model.ForwardMtp(m, batch, result.State(options.MtpInput), context);
                    }

                    return GC.GetAllocatedBytesForCurrentThread() - before;
                }
            }
        }
    }

    private static ForwardOptions RandomOptions(Random random) => new()
    {
        Attention = random.Next(2) == 0 ? AttentionForm.Absorb : AttentionForm.Naive,
        Activations = random.Next(5) switch { 0 => ActivationPrecision.Fp8, 1 => ActivationPrecision.Int8, 2 => ActivationPrecision.BF16, _ => ActivationPrecision.F32 },
    };
}
