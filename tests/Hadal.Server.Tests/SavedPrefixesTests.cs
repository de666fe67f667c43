using Hadal.Inference.Chat;
using Hadal.Inference.Engine;
using Hadal.Inference.Model;
using Hadal.Numerics.Kernels;

namespace Hadal.Server.Tests;

/// <summary>The prefix cache in a folder, from one run to the next.</summary>
public sealed class SavedPrefixesTests(RandomModelFolder folder) : IDisposable
{
    private static readonly int[] Prompt = [.. Enumerable.Range(0, 200).Select(i => 5 + (i % 90))];

    private readonly string prefixes = Path.Combine(Path.GetTempPath(), $"hadal-prefixes-{Guid.NewGuid():N}");

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        if (Directory.Exists(prefixes))
            Directory.Delete(prefixes, recursive: true);
        File.Delete(prefixes);
    }

    [Fact]
    public async Task AServerFindsConversationsAgainAfterARestart()
    {
        var question = $$"""{"model":"random","messages":[{"role":"user","content":"{{string.Concat(Enumerable.Repeat("How deep? ", 40))}}"}],"max_tokens":8,"temperature":0}""";
        var (first, cachedAtFirst) = await Ask();
        var (second, cached) = await Ask();
        Assert.Equal(0, cachedAtFirst);
        Assert.InRange(cached, 200, 1000);
        Assert.Equal(first, second);

        async Task<(string Text, int Cached)> Ask()
        {
            await using var server = await RunningServer.OfFolder(folder.Path, changeModel: m => m with { Run = m.Run with { PrefixCacheFolder = prefixes } });
            var answer = await server.PostOk("v1/chat/completions", question);
            return (answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!, answer.GetProperty("usage").GetProperty("prompt_cache_hit_tokens").GetInt32());
        }
    }

    [Fact]
    public async Task AServerWhosePrefixesHaveNoPlaceDoesNotStart()
    {
        File.WriteAllText(prefixes, "a file");
        var error = await Assert.ThrowsAsync<IOException>(() => RunningServer.OfFolder(folder.Path, changeModel: m => m with { Run = m.Run with { PrefixCacheFolder = prefixes } }));
        Assert.StartsWith($"{prefixes}: expected a folder", error.Message);
    }

    [Fact]
    public void EachArithmeticHasItsFileAndOnlyTheOwnerReadsIt()
    {
        Assert.Equal(0, Run(CacheFormat.F32).Cached);
        Assert.Equal(0, Run(CacheFormat.BF16).Cached);
        Assert.Equal(2, Directory.GetFiles(prefixes).Length);
        Assert.InRange(Run(CacheFormat.F32).Cached, 150, 200);
        foreach (var file in Directory.GetFiles(prefixes).Where(_ => !OperatingSystem.IsWindows()))
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, new FileInfo(file).UnixFileMode);
    }

    [Fact]
    public void ADamagedFileIsSaidAndWrittenAnew()
    {
        _ = Run(CacheFormat.F32);
        var file = Assert.Single(Directory.GetFiles(prefixes));
        var bytes = File.ReadAllBytes(file);
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(file, bytes);
        var (cached, notices) = Run(CacheFormat.F32);
        Assert.Equal(0, cached);
        Assert.StartsWith($"{file}: ", Assert.Single(notices));
        (cached, notices) = Run(CacheFormat.F32);
        Assert.InRange(cached, 150, 200);
        Assert.Empty(notices);
    }

    [Fact]
    public void AFolderThatIsNoneEndsTheLoadAndOneThatGoesIsSaid()
    {
        File.WriteAllText(prefixes, "a file");
        Assert.StartsWith($"{prefixes}: expected a folder", Assert.Throws<IOException>(() => Run(CacheFormat.F32)).Message);
        Assert.Throws<IOException>(() => new HadalModelOptions { PrefixCacheFolder = "" }.MakePrefixCacheFolder());
        if (OperatingSystem.IsLinux())
            Assert.StartsWith("/proc: expected a folder", Assert.Throws<IOException>(() => new HadalModelOptions { PrefixCacheFolder = "/proc" }.MakePrefixCacheFolder()).Message);
        File.Delete(prefixes);
        var (_, notices) = Run(CacheFormat.F32, () => Directory.Delete(prefixes));
        Assert.Contains("could not be saved", Assert.Single(notices));
    }

    private (int Cached, List<string> Notices) Run(CacheFormat cache, Action? before = null)
    {
        List<string> notices = [];
        var options = new HadalModelOptions
        {
            Threads = 1, PrefixCacheFolder = prefixes, Engine = new EngineOptions { CacheTokens = 1024, Forward = new ForwardOptions { Cache = cache } },
        };
        int cached;
        using (var model = HadalModel.Load(folder.Path, options, notice: notices.Add, cancellation: Cancellation))
        {
            cached = model.Engine.Generate(new Inference.Generation.GenerationRequest { Prompt = Prompt, MaxNewTokens = 2, IgnoreEos = true }, Cancellation).Last().Usage!.CachedTokens;
            before?.Invoke();
        }

        return (cached, notices);
    }
}
