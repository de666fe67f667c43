using System.Text.Json.Nodes;
using Hadal.Tests;

namespace Hadal.Cli.Tests.Commands;

public sealed class InspectTests
{
    [Fact]
    public async Task TheReportNamesWhatTheModelIs()
    {
        var run = (await CommandLineRun.Hadal("inspect", SharedFiles.Path("fixtures", "tiny-v3"))).AssertSucceeded();
        Assert.Contains("DeepSeek-V3", run.Out);
        Assert.Contains("4 of 16, 2 of 4 groups, 1 shared", run.Out);
        Assert.Empty(run.Error);
    }

    [Theory]
    [InlineData("tiny-v3")]
    [InlineData("tiny-v2")]
    [InlineData("tiny-v3-fp8")]
    [InlineData("tiny-dense-gqa")]
    public async Task TheNumbersAddUp(string model)
    {
        var run = (await CommandLineRun.Hadal("inspect", SharedFiles.Path("fixtures", model), "--json", "--tensors", "--context", "100")).AssertSucceeded();
        var report = JsonNode.Parse(run.Out)!;
        var tensors = report["tensors"]!.AsArray();
        long total = (long)report["parameters"]!["total"]!, mtp = (long)report["parameters"]!["mtp"]!, activated = (long)report["parameters"]!["activated"]!;
        Assert.Equal(tensors.Count, (int)report["tensor_count"]!);
        Assert.Equal(tensors.Sum(t => t!["shape"]!.AsArray().Aggregate(1L, (n, d) => n * (long)d!)), total + mtp);
        Assert.Equal(tensors.Sum(t => (long)t!["bytes"]!), (long)report["memory"]!["weights_bytes"]!);
        Assert.Equal(100 * (long)report["memory"]!["cache_bytes_per_token"]!, (long)report["memory"]!["cache_bytes"]!);
        Assert.InRange(activated, 1, total);
        Assert.Equal(model.Contains("dense", StringComparison.Ordinal), activated == total);
    }

    // By hand from config.json of tiny-v3: D 256, I 384, F 64, E 16, K 4, Q 128, C 128, H 4, N 32, R 16, U 32, V 1024, 1 dense and 3 MoE layers.
    [Fact]
    public async Task ParametersAreCountedAsDeepSeekCountsThem()
    {
        const long Attention = (128 * 256) + 128 + (4 * 48 * 128) + ((128 + 16) * 256) + 128 + (4 * 64 * 128) + (256 * 4 * 32);
        const long Norms = 2 * 256, Expert = 3 * 64 * 256, Dense = 3 * 384 * 256, Router = (16 * 256) + 16;
        const long Shared = (2 * 1024 * 256) + 256 + (4 * (Attention + Norms)) + Dense + (3 * (Router + Expert));
        var report = JsonNode.Parse((await CommandLineRun.Hadal("inspect", SharedFiles.Path("fixtures", "tiny-v3"), "--json")).AssertSucceeded().Out)!;
        Assert.Equal(Shared + (3 * 16 * Expert), (long)report["parameters"]!["total"]!);
        Assert.Equal(Shared + (3 * 4 * Expert), (long)report["parameters"]!["activated"]!);
    }

    [Fact]
    public async Task AMissingFolderIsOneLine() =>
        Assert.Contains("no-such-folder", (await CommandLineRun.Hadal("inspect", "no-such-folder")).AssertFailed(ExitCode.Failed));
}
