using Hadal.Checkpoints.Tests.Files;

namespace Hadal.Checkpoints.Tests;

public sealed class MemoryPlanTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("tiny-v3", 192 * 4 * 5)]
    [InlineData("tiny-v2-lite", 192 * 4 * 3)]
    [InlineData("tiny-dense-mha", 2 * 4 * 32 * 4 * 3)]
    [InlineData("tiny-dense-gqa", 2 * 2 * 32 * 4 * 3)]
    public void A_token_takes_what_its_layers_keep(string name, long bytes)
    {
        using var checkpoint = Checkpoint.Open(Fixtures.Path(name));
        var plan = MemoryPlan.For(checkpoint, 1000);
        Assert.Equal(bytes, plan.CacheBytesPerToken);
        Assert.Equal(1000 * bytes, plan.CacheBytes);
        Assert.Equal(checkpoint.Tensors.Sum(t => t.ByteLength), plan.WeightBytes);
        Assert.InRange(plan.AvailableBytes, 1 << 20, 1L << 50);
        plan.Check();
    }

    [Fact]
    public void What_does_not_fit_is_refused_with_all_figures()
    {
        new MemoryPlan(600, 4, 100, 1000).Check();
        var error = Assert.Throws<InsufficientMemoryException>(() => new MemoryPlan(600L << 30, 70272, 163840, 24L << 30).Check());
        Assert.Equal("weights of 600.0 GiB and a cache of 10.7 GiB for 163840 tokens need 610.7 GiB, but 24.0 GiB are available", error.Message);
        Assert.Throws<InsufficientMemoryException>(() => new MemoryPlan(601, 4, 100, 1000).Check());
        Assert.Throws<OverflowException>(() => new MemoryPlan(1, long.MaxValue, 2, 1000).Check());
    }

    [Theory]
    [InlineData("", 8L << 20)]
    [InlineData("0::/a/b", 4L << 20)]
    [InlineData("3:cpu:/x\n5:cpuset,memory:/docker/abc", 5L << 20)]
    public void The_tightest_limit_counts(string groups, long expected)
    {
        Write("proc/meminfo", "MemTotal:       16384 kB\nMemFree:        1 kB\nMemAvailable:   8192 kB\n");
        Write("proc/self/cgroup", groups);

        // Version 2: the inner group has no limit, the outer one has 6 MiB, of which 3 MiB are used, 1 MiB of that page cache.
        Write("sys/fs/cgroup/a/b/memory.max", "max\n");
        Write("sys/fs/cgroup/a/b/memory.current", "1048576\n");
        Write("sys/fs/cgroup/a/memory.max", "6291456\n");
        Write("sys/fs/cgroup/a/memory.current", "3145728\n");
        Write("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 1000000\nactive_file 48576\n");

        // Version 1: the path is one of the host; the container sees its own group at the root.
        Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "6291456\n");
        Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
        Assert.Equal(expected, SystemMemory.Available(folder.Path));
    }

    private void Write(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(folder.File(path))!);
        folder.Write(path, text);
    }
}
