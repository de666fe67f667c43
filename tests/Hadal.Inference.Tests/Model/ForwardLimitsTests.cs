using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics.Tests.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Model;

/// <summary>What cannot be computed is refused by a typed error, and leaves everything as it was.</summary>
public sealed class ForwardLimitsTests
{
    [Fact]
    public void TheContextEndsWithATypedErrorAndTheCacheGoesOn()
    {
        using var threads = new KernelThreads(1);
        using var run = ModelRun.Random(5, latent: true);
        var tokens = run.Tokens(new Random(1), RandomConfigs.Positions);
        var straight = run.Logits(tokens, threads);
        using var pool = new CachePool(run.Model.Config, 2 * RandomConfigs.Positions);
        using var cache = new SequenceCache(pool);
        var context = new ForwardContext(threads);
        run.Logits(cache, tokens[..^1], context);
        var free = pool.FreePages;
        var thrown = Assert.Throws<ContextOverflowException>(() => run.Logits(cache, [1, 2], context));
        Assert.Equal((RandomConfigs.Positions + 1, RandomConfigs.Positions), (thrown.Required, thrown.Available));
        Assert.Equal((RandomConfigs.Positions - 1, free), (cache.Length, pool.FreePages));
        Bits.AssertEqual(straight.AsSpan(straight.Length - run.Model.Config.VocabSize), run.Logits(cache, tokens[^1..], context), "last token");
        Assert.Throws<ContextOverflowException>(() => run.Logits(cache, [1], context));
    }

    [Fact]
    public void AFullCacheIsATypedErrorAndTakesNoPages()
    {
        using var threads = new KernelThreads(1);
        using var run = ModelRun.Random(6);
        var context = new ForwardContext(threads);
        using var pool = new CachePool(run.Model.Config, 16, 4);
        using SequenceCache first = new(pool), second = new(pool);
        var tokens = run.Tokens(new Random(2), 20);
        run.Logits(first, tokens[..5], context);
        run.Logits(second, tokens[..3], context);
        Assert.Equal(1, pool.FreePages);

        // A sequence may hold every page there is, and then ask for another.
        using (var alone = new CachePool(run.Model.Config, 8, 4))
        using (var all = new SequenceCache(alone))
        {
            run.Logits(all, tokens[..8], context);
            Assert.Throws<CacheFullException>(() => run.Logits(all, tokens[8..9], context));
        }

        // The first sequence's page is there, the second's is not.
        var batch = new ForwardBatch();
        batch.Add(first, tokens.AsSpan(5, 4), LogitRequest.Last);
        batch.Add(second, tokens.AsSpan(3, 2), LogitRequest.Last);
        Assert.Throws<CacheFullException>(() => run.Model.Forward(batch, context).Logits.Length);
        Assert.Throws<CacheFullException>(() => run.Logits(first, tokens[5..14], context));
        Assert.Equal((5, 3, 1), (first.Length, second.Length, pool.FreePages));
        var vocab = run.Model.Config.VocabSize;
        Bits.AssertEqual(run.Logits(tokens[..9], threads).AsSpan(5 * vocab), run.Logits(first, tokens[5..9], context), "first goes on");
        Assert.Throws<CacheFullException>(() => run.Logits(second, tokens[3..5], context));
        first.Dispose();
        Bits.AssertEqual(run.Logits(tokens[..12], threads).AsSpan(3 * vocab), run.Logits(second, tokens[3..12], context), "second goes on");
    }

    [Fact]
    public void WrongCallsAreRefused()
    {
        using var threads = new KernelThreads(1);
        using var run = ModelRun.Random(7, latent: true);
        var context = new ForwardContext(threads);
        using var pool = new CachePool(run.Model.Config, 100);
        using var cache = new SequenceCache(pool);
        var batch = new ForwardBatch();
        Assert.Throws<ArgumentException>(() => run.Model.Forward(batch, context).Logits.Length);
        Assert.Throws<ArgumentException>(() => batch.Add(cache, [], LogitRequest.Last));
        foreach (var id in new[] { -1, run.Model.Config.VocabSize, int.MinValue })
            Assert.Throws<ArgumentException>(() => run.Logits(cache, [0, id], context));
        Assert.Equal((0, pool.PageCount), (cache.Length, pool.FreePages));
        batch.Add(cache, [1], LogitRequest.Last);
        Assert.Throws<ArgumentException>(() => batch.Add(cache, [2], LogitRequest.Last));
        Assert.Throws<ArgumentOutOfRangeException>(() => run.Model.ForwardMtp(run.Model.MtpModules, batch, new float[run.Model.Config.HiddenSize], context).Logits.Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => run.Model.ForwardMtp(-1, batch, new float[run.Model.Config.HiddenSize], context).Logits.Length);
        cache.Dispose();
        Assert.Throws<ObjectDisposedException>(() => run.Model.Forward(batch, context).Logits.Length);
    }

    [Fact]
    public void ABatchBeyondTheLongestArrayIsRefusedByName()
    {
        var scratch = new ForwardScratch();
        var thrown = Assert.Throws<ArgumentException>(() => scratch.Take(Slot.Intermediate, 163_840L * 128 * 192).Length);
        Assert.Contains("Intermediate", thrown.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ATensorOfAnotherShapeIsNamed()
    {
        var config = RandomConfigs.Of(1);
        using var checkpoint = new RandomCheckpoint(config, 1);
        checkpoint.Set("model.norm.weight", new float[config.HiddenSize + 1]);
        Assert.Contains("model.norm.weight", Assert.Throws<InvalidDataException>(() => new DeepSeek(checkpoint)).Message, StringComparison.Ordinal);
    }
}
