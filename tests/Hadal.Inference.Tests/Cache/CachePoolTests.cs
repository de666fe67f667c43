using CsCheck;
using Hadal.Inference.Cache;
using Hadal.Inference.Tests.Model;

namespace Hadal.Inference.Tests.Cache;

public sealed class CachePoolTests
{
    [Fact]
    public void NoPageIsLostOrSharedWhateverIsDone() => Gen.Int[0, 1 << 24].Sample(seed =>
    {
        var random = new Random(seed);
        var config = RandomConfigs.Of(seed);
        var pageTokens = 1 << random.Next(4);
        using var pool = new CachePool(config, random.Next(1, 60), pageTokens);
        var sequences = new List<(SequenceCache Cache, List<float> Rows)>();
        var next = 1f;
        for (var step = 0; step < 120; step++)
        {
            var i = random.Next(sequences.Count + 1);
            switch (random.Next(6))
            {
                case 0:
                    sequences.Add((new SequenceCache(pool), []));
                    break;
                case 1 when i < sequences.Count:
                    sequences[i].Cache.Dispose();
                    sequences[i].Cache.Dispose();
                    sequences.RemoveAt(i);
                    break;
                case 2 when i < sequences.Count:
                    var length = random.Next(sequences[i].Rows.Count + 1);
                    sequences[i].Cache.Truncate(length);
                    sequences[i].Rows.RemoveRange(length, sequences[i].Rows.Count - length);
                    break;
                case > 2 when i < sequences.Count:
                    var count = random.Next(1, 12);
                    try
                    {
                        sequences[i].Cache.Reserve(sequences[i].Rows.Count + count);
                    }
                    catch (CacheFullException)
                    {
                        Assert.True(sequences.Sum(s => Pages(s.Rows.Count)) + Pages(sequences[i].Rows.Count + count) - Pages(sequences[i].Rows.Count) > pool.PageCount);
                        sequences[i].Cache.ReturnUnused();
                        break;
                    }

                    for (var layer = 0; layer < pool.Layers; layer++)
                    {
                        var pages = sequences[i].Cache.Pages(layer);
                        for (var t = 0; t < count; t++)
                            pages.Write(sequences[i].Rows.Count + t, Row(next + t, layer, pool.Layout.Width));
                    }

                    sequences[i].Rows.AddRange(Enumerable.Range(0, count).Select(t => next + t));
                    sequences[i].Cache.Advance(null, count);
                    next += count;
                    break;
            }

            Assert.Equal(pool.PageCount - sequences.Sum(s => Pages(s.Rows.Count)), pool.FreePages);
        }

        foreach (var (cache, rows) in sequences)
        {
            Assert.Equal(rows.Count, cache.Length);
            for (var layer = 0; layer < pool.Layers; layer++)
            {
                for (var t = 0; t < rows.Count; t++)
                    Assert.Equal(Row(rows[t], layer, pool.Layout.Width), cache.Pages(layer).Read(t));
            }

            cache.Dispose();
        }

        Assert.Equal(pool.PageCount, pool.FreePages);

        int Pages(int rows) => (rows + pageTokens - 1) / pageTokens;

        static float[] Row(float tag, int layer, int width) => [.. Enumerable.Repeat(tag + (layer / 16f), width)];
    });

    [Fact]
    public async Task PagesAreTakenAndReturnedFromSeveralThreads()
    {
        using var pool = new CachePool(RandomConfigs.Of(1), 64, 1);
        var tasks = Enumerable.Range(0, 4).Select(n => Task.Run(() =>
        {
            var random = new Random(n);
            for (var run = 0; run < 300; run++)
            {
                using var cache = new SequenceCache(pool);
                try
                {
                    cache.Reserve(random.Next(1, 30));
                }
                catch (CacheFullException)
                {
                    // The others hold them; what was taken goes back with the sequence.
                }
            }
        }, TestContext.Current.CancellationToken));
        await Task.WhenAll(tasks);
        Assert.Equal(64, pool.FreePages);
    }

    // Row i of module m was computed from tokens up to i + m + 1.
    [Fact]
    public void TruncatingForgetsMtpRowsThatSawWhatIsDropped()
    {
        var config = RandomConfigs.Latent(1) with { NumNextnPredictLayers = 2 };
        using var pool = new CachePool(config, 32, 4);
        using var cache = new SequenceCache(pool);
        cache.Reserve(10);
        cache.Advance(null, 10);
        cache.Advance(0, 10);
        cache.Advance(1, 9);
        cache.Truncate(10);
        Assert.Equal((10, 10, 9), (cache.Length, cache.LengthOf(0), cache.LengthOf(1)));
        cache.Truncate(7);
        Assert.Equal((7, 6, 5), (cache.Length, cache.LengthOf(0), cache.LengthOf(1)));
        cache.Truncate(1);
        Assert.Equal((1, 0, 0), (cache.Length, cache.LengthOf(0), cache.LengthOf(1)));
        Assert.Equal(7, pool.FreePages);
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.Truncate(2));
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.Truncate(-1));
    }

    [Fact]
    public void ImpossiblePoolsAreRefused()
    {
        var config = RandomConfigs.Of(1);
        Assert.Throws<ArgumentOutOfRangeException>(() => new CachePool(config, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new CachePool(config, 10, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new CachePool(config, 10, 48));
        Assert.Throws<ArgumentOutOfRangeException>(() => new CachePool(config, 10, -4));
    }
}
