using System.Text.Json.Nodes;
using Hadal.Tests;

namespace Hadal.Cli.Tests.Commands;

public sealed class VerifyTests
{
    [Theory]
    [InlineData("tiny-v2-lite")]
    [InlineData("tiny-dense-gqa")]
    public async Task AFixtureHolds(string model)
    {
        var run = (await CommandLineRun.Hadal("verify", SharedFiles.Path("fixtures", model))).AssertSucceeded();
        Assert.Matches(@"^(\d+) of \1 checks hold", run.Lines[^1]);
        Assert.Matches(@"│ seq17\S* .*│ greedy +│", run.Out);
    }

    [Fact]
    public async Task WithoutGoldenValuesTheModelIsCheckedAgainstItself()
    {
        var run = (await CommandLineRun.Hadal("verify", SharedFiles.Path("fixtures", "tiny-v2-lite"), "--self", "--json")).AssertSucceeded();
        var report = JsonNode.Parse(run.Out)!;
        Assert.Equal(0, (int)report["failed"]!);
        var names = report["checks"]!.AsArray().Select(c => (string)c!["name"]!).ToList();
        Assert.Contains("prefill = token by token", names);
        Assert.Contains("naive ~ absorbed attention", names);
        Assert.Contains("BF16 product", names);
    }

    [Fact]
    public async Task AWrongGoldenValueFails()
    {
        using var copy = new ModelCopy(SharedFiles.Path("fixtures", "tiny-dense-gqa"));
        copy.FlipByte("expected.safetensors", fromEnd: 1);
        var run = await CommandLineRun.Hadal("verify", copy.Folder, "--failures");
        Assert.Equal(ExitCode.Failed, run.ExitCode);
        Assert.Contains("FAIL", run.Out);
        Assert.DoesNotMatch(@"^(\d+) of \1 checks hold", run.Lines[^1]);
    }

    [Fact]
    public async Task RecordedTrainingHoldsAndAWrongGradientFails()
    {
        using var copy = new ModelCopy(SharedFiles.Path("fixtures", "tiny-dense-gqa"));
        var run = (await CommandLineRun.Hadal("verify", copy.Folder, "--training")).AssertSucceeded();
        Assert.Matches(@"^(\d+) of \1 checks hold", run.Lines[^1]);
        Assert.Contains("gradient of lm_head.weight", run.Out);
        var report = JsonNode.Parse((await CommandLineRun.Hadal("verify", copy.Folder, "--training", "--json")).AssertSucceeded().Out)!;
        Assert.Equal(0, (int)report["failed"]!);
        copy.FlipByte("train_expected.safetensors", fromEnd: 1);
        run = await CommandLineRun.Hadal("verify", copy.Folder, "--training", "--failures");
        Assert.Equal(ExitCode.Failed, run.ExitCode);
        Assert.Contains("FAIL", run.Out);
        copy.Truncate("train_expected.safetensors", 100);
        Assert.Contains("train_expected.safetensors", (await CommandLineRun.Hadal("verify", copy.Folder, "--training")).AssertFailed(ExitCode.Failed));
        copy.Delete("train_expected.safetensors");
        Assert.Contains("train_expected.safetensors", (await CommandLineRun.Hadal("verify", copy.Folder, "--training")).AssertFailed(ExitCode.Failed));
    }

    [Fact]
    public async Task ATruncatedFileIsOneLine()
    {
        using var copy = new ModelCopy(SharedFiles.Path("fixtures", "tiny-dense-gqa"));
        copy.Truncate("model.safetensors", 100_000);
        var run = await CommandLineRun.Hadal("verify", copy.Folder);
        Assert.Contains("model.safetensors", run.AssertFailed(ExitCode.Failed));
    }
}
