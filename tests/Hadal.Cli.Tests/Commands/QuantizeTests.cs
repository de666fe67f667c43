using System.Text.Json.Nodes;

namespace Hadal.Cli.Tests.Commands;

public sealed class QuantizeTests(DemoFolder demo) : IClassFixture<DemoFolder>, IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("hadal-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData("F32", 0)]
    [InlineData("BF16", 0)]
    [InlineData("Q8_0", 0.01)]
    [InlineData("Q4_0", 0.15)]
    public async Task AGgufFileIsWrittenAndRunsLikeItsSource(string type, double error)
    {
        var output = Path.Combine(folder, "model.gguf");
        var report = JsonNode.Parse((await CommandLineRun.Hadal("quantize", demo.Path, "--to", "gguf", "--type", type, "--output", output, "--json")).AssertSucceeded().Out)!;
        Assert.All(report["tensors"]!.AsArray(), t => Assert.InRange((double)t!["relative_rms_error"]!, 0, error));
        string[] generate = ["generate", "--prompt", "The deep sea", "--max-new-tokens", "6", "--temperature", "0", "--ids", "--model"];
        var written = (await CommandLineRun.Hadal([.. generate, output])).AssertSucceeded();
        if (error == 0)
            Assert.Equal((await CommandLineRun.Hadal([.. generate, demo.Path])).AssertSucceeded().Out, written.Out);
    }

    [Fact]
    public async Task AnFp8FolderIsWrittenAndHolds()
    {
        var output = Path.Combine(folder, "fp8");
        var run = (await CommandLineRun.Hadal("quantize", demo.Path, "--to", "fp8", "--output", output)).AssertSucceeded();
        Assert.Matches(@"F8_E4M3 +│ +\d\.\de-\d", run.Out);
        var inspected = (await CommandLineRun.Hadal("inspect", output)).AssertSucceeded();
        Assert.Contains("F8_E4M3", inspected.Out);
        (await CommandLineRun.Hadal("verify", output)).AssertSucceeded();
    }

    [Fact]
    public async Task NothingIsOverwritten()
    {
        var output = Path.Combine(folder, "model.gguf");
        await File.WriteAllTextAsync(output, "mine", TestContext.Current.CancellationToken);
        var run = await CommandLineRun.Hadal("quantize", demo.Path, "--to", "gguf", "--type", "Q8_0", "--output", output);
        Assert.Contains("exists already", run.AssertFailed(ExitCode.Failed));
        Assert.Equal("mine", await File.ReadAllTextAsync(output, TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("--to gguf needs --type", "--to", "gguf", "--output", "o")]
    [InlineData("--type goes with --to gguf only", "--to", "fp8", "--type", "Q8_0", "--output", "o")]
    [InlineData("--type goes with --to gguf only", "--to", "FP8", "--type", "q8_0", "--output", "o")]
    [InlineData("--to: expected one of fp8, gguf, found 'zip'", "--to", "zip", "--output", "o")]
    [InlineData("Option '--to' is required", "--output", "o")]
    public async Task AWrongCommandLineIsNamed(string line, params string[] args) =>
        Assert.Equal($"hadal quantize: {line}", (await CommandLineRun.Hadal(["quantize", "model", .. args])).AssertFailed(ExitCode.Usage));
}
