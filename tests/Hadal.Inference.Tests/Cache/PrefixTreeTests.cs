using Hadal.Inference.Cache;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Tests.Cache;

public sealed class PrefixTreeTests
{
    private const int PageTokens = 4;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RandomOperationsLeaveEveryRowRightAndEveryPageAccountedFor(bool lookahead)
    {
        var random = new Random(11);
        using var pool = new CachePool(TracedSequence.Config, 40 * PageTokens, PageTokens);
        using var tree = new PrefixTree(pool, lookahead);
        var live = new List<TracedSequence>();
        var reused = 0;
        for (var step = 0; step < 6000; step++)
        {
            switch (random.Next(8))
            {
                case 0 or 1 when live.Count < 5:
                    var fresh = new TracedSequence(pool);
                    // Few distinct tokens, so that beginnings agree often and part in every place of a page.
                    for (var n = random.Next(1, 24); n > 0; n--)
                        fresh.Tokens.Add(random.Next(2));
                    if (pool.FreePages == 0)
                        tree.Evict(1);
                    if (pool.FreePages > 0)
                        reused += tree.Adopt(fresh.TokenSpan, fresh.Cache, touch: random.Next(2) == 0);
                    Assert.InRange(fresh.Cache.Length, 0, fresh.Tokens.Count - 1);
                    fresh.Check(lookahead);
                    live.Add(fresh);
                    break;
                case 2 or 3 when live.Count > 0:
                    var growing = live[random.Next(live.Count)];
                    for (var n = random.Next(1, 6); n > 0; n--)
                        growing.Tokens.Add(random.Next(2));
                    var missing = growing.Cache.PagesMissing(growing.Tokens.Count) + 1;
                    if (pool.FreePages < missing)
                        tree.Evict(missing - pool.FreePages);
                    if (pool.FreePages >= missing)
                        growing.Compute();
                    break;
                case 4 when live.Count > 0:
                    var whole = live[random.Next(live.Count)];
                    tree.Insert(whole.TokenSpan, whole.Cache, whole.Cache.Length / PageTokens * PageTokens);
                    break;
                case 5 when live.Count > 0:
                    var done = live[random.Next(live.Count)];
                    tree.Insert(done.TokenSpan, done.Cache, done.Cache.Length);
                    done.Check(lookahead);
                    done.Dispose();
                    live.Remove(done);
                    break;
                case 6 when live.Count > 0:
                    // Writing goes on inside a page that others may hold: it has to be copied first.
                    var cut = live[random.Next(live.Count)];
                    var length = random.Next(cut.Cache.Length + 1);
                    if (length % PageTokens == 0)
                        break;
                    cut.Cache.Truncate(length);
                    cut.Cache.TruncateMtp(0, length - 1);
                    cut.Tokens.RemoveRange(length, cut.Tokens.Count - length);
                    cut.Tokens.Add(random.Next(2));
                    if (pool.FreePages == 0)
                        tree.Evict(1);
                    if (pool.FreePages > 0)
                    {
                        cut.Compute();
                        break;
                    }

                    cut.Dispose();
                    live.Remove(cut);
                    break;
                case 7:
                    tree.Evict(random.Next(4));
                    break;
            }

            foreach (var sequence in live)
                sequence.Check(lookahead);
            tree.CheckIntegrity(live.Select(s => s.Cache));
        }

        Assert.True(reused > 1000, $"only {reused} rows were reused");
        foreach (var sequence in live)
            sequence.Dispose();
        tree.Clear();
        Assert.Equal(pool.PageCount, pool.FreePages);
    }

    [Fact]
    public void TheLeastRecentlyUsedLeafGoesFirstAndWhatASequenceHoldsStays()
    {
        using var pool = new CachePool(TracedSequence.Config, 8 * PageTokens, PageTokens);
        using var tree = new PrefixTree(pool);
        Remember(pool, tree, [0, 0, 0, 0, 1, 1, 1, 1, 7]);
        Remember(pool, tree, [0, 0, 0, 0, 2, 2, 2, 2, 7]);
        Remember(pool, tree, [5, 5, 5, 5, 7]);
        Assert.Equal(4, tree.Pages);
        using var holder = new TracedSequence(pool);
        holder.Tokens.AddRange([0, 0, 0, 0, 1, 1, 1, 1, 3]);
        Assert.Equal(8, tree.Adopt(holder.TokenSpan, holder.Cache, touch: false));

        Assert.Equal(1, tree.Evict(1));
        Assert.Equal(4, tree.Match([0, 0, 0, 0, 2, 2, 2, 2, 7]));
        Assert.Equal(8, tree.Match([0, 0, 0, 0, 1, 1, 1, 1, 7]));
        Assert.Equal(1, tree.Evict(9));
        Assert.Equal(0, tree.Match([5, 5, 5, 5, 7]));
        Assert.Equal(0, tree.EvictablePages);
        holder.Dispose();
        Assert.Equal(2, tree.EvictablePages);
        Assert.Equal(2, tree.Evict(9));
        tree.CheckIntegrity([]);
    }

    [Fact]
    public void APageThatAgreesInPartIsCopiedAndALongerOneTakesItsPlace()
    {
        using var pool = new CachePool(TracedSequence.Config, 8 * PageTokens, PageTokens);
        using var tree = new PrefixTree(pool);
        Remember(pool, tree, [0, 1, 2, 7]);
        using var second = new TracedSequence(pool);
        second.Tokens.AddRange([0, 1, 3, 3, 3, 3]);
        Assert.Equal(2, tree.Adopt(second.TokenSpan, second.Cache));
        second.Compute();
        second.Check(mtp: false);
        Assert.Equal(3, tree.Match([0, 1, 2, 7, 7]));
        Remember(pool, tree, [0, 1, 2, 4, 4, 4]);
        Assert.Equal(2, tree.Pages);
        Assert.Equal(5, tree.Match([0, 1, 2, 4, 4, 0]));
        tree.CheckIntegrity([second.Cache]);
    }

    [Fact]
    public void WithLookaheadTheSamePageBeforeAnotherTokenIsAnotherPage()
    {
        using var pool = new CachePool(TracedSequence.Config, 8 * PageTokens, PageTokens);
        using var tree = new PrefixTree(pool, lookahead: true);
        Remember(pool, tree, [0, 0, 0, 0, 1, 1]);
        Assert.Equal(4, tree.Match([0, 0, 0, 0, 1, 2]));
        Assert.Equal(3, tree.Match([0, 0, 0, 0, 2, 2]));
        Assert.Equal(3, tree.Match([0, 0, 0, 0]));
    }

    [Fact]
    public void ATreeSurvivesARestartAndADamagedOrForeignFileIsRefused()
    {
        var path = Path.Combine(Path.GetTempPath(), $"hadal-prefix-{Guid.NewGuid():N}");
        var fingerprint = new byte[32];
        try
        {
            using var pool = new CachePool(TracedSequence.Config, 8 * PageTokens, PageTokens);
            using var tree = new PrefixTree(pool, lookahead: true);
            Remember(pool, tree, [0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 7]);
            Remember(pool, tree, [0, 0, 0, 0, 1, 2, 7]);
            PrefixTreeFile.Save(path, tree, pool, fingerprint);
            PrefixTreeFile.Save(path, tree, pool, fingerprint);
            Assert.False(File.Exists(path + ".partial"));

            int[] prompt = [0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 7];
            using (var again = new Restored(path, fingerprint))
            {
                Assert.Null(again.Refusal);
                again.Tree.CheckIntegrity([]);
                using var sequence = new TracedSequence(again.Pool);
                sequence.Tokens.AddRange(prompt);
                Assert.Equal(10, again.Tree.Adopt(prompt, sequence.Cache));
                sequence.Check(mtp: true);
            }

            // Room for one page: the most recently used path keeps its beginning.
            using (var small = new Restored(path, fingerprint, capacity: PageTokens))
            {
                Assert.Null(small.Refusal);
                Assert.Equal(4, small.Tree.Match(prompt));
            }

            var other = new byte[32];
            other[5] = 1;
            using (var foreign = new Restored(path, other))
                Assert.Contains("another model", foreign.Refusal);
            using (var narrower = new Restored(path, fingerprint, format: CacheFormat.Q8))
                Assert.Contains("row format is 0, expected 2", narrower.Refusal);
            var bytes = File.ReadAllBytes(path);
            var random = new Random(3);
            for (var i = 0; i < 200; i++)
            {
                var damaged = bytes.ToArray();
                if (i % 3 == 0)
                    damaged = damaged[..random.Next(damaged.Length)];
                else
                    damaged[random.Next(damaged.Length)] ^= (byte)(1 << random.Next(8));
                File.WriteAllBytes(path, damaged);
                using var refused = new Restored(path, fingerprint);
                Assert.NotNull(refused.Refusal);
                Assert.DoesNotContain('\n', refused.Refusal);
                Assert.Equal(refused.Pool.PageCount, refused.Pool.FreePages);
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void Remember(CachePool pool, PrefixTree tree, int[] tokens)
    {
        using var sequence = new TracedSequence(pool);
        sequence.Tokens.AddRange(tokens);
        tree.Adopt(tokens, sequence.Cache);
        sequence.Compute();
        tree.Insert(tokens, sequence.Cache, sequence.Cache.Length);
    }

    private sealed class Restored : IDisposable
    {
        public Restored(string path, byte[] fingerprint, int capacity = 8 * PageTokens, CacheFormat format = CacheFormat.F32)
        {
            Pool = new CachePool(TracedSequence.Config, capacity, PageTokens, format);
            Tree = new PrefixTree(Pool, lookahead: true);
            Refusal = PrefixTreeFile.Restore(path, Tree, Pool, fingerprint);
        }

        public CachePool Pool { get; }

        public PrefixTree Tree { get; }

        public string? Refusal { get; }

        public void Dispose()
        {
            Tree.Dispose();
            Pool.Dispose();
        }
    }
}
