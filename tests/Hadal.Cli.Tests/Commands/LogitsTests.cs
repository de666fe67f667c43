using Hadal.Checkpoints.Safetensors;
using Hadal.Tests;

namespace Hadal.Cli.Tests.Commands;

public sealed class LogitsTests : IDisposable
{
    private readonly string output = Path.Combine(Path.GetTempPath(), $"hadal-{Guid.NewGuid():N}.safetensors");

    [Theory]
    [InlineData("tiny-v3", "mtp.logits", "after-norm")]
    [InlineData("tiny-v3", "mtp_prenorm.logits", "before-norm")]
    public async Task TheFileHoldsTheRecordedLogits(string model, string mtp, string input)
    {
        var folder = SharedFiles.Path("fixtures", model);
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        var tokens = string.Join(',', expected.ReadInt32("seq17.tokens"));
        (await CommandLineRun.Hadal("logits", "--model", folder, "--tokens", tokens, "--output", output, "--mtp", "--mtp-input", input)).AssertSucceeded();
        using var written = SafetensorsFile.Open(output);
        Assert.Equal([17, 1024], written.Find("logits").Shape);
        AssertClose(expected.ReadSingles("seq17.logits"), written.ReadSingles("logits"));
        AssertClose(expected.ReadSingles($"seq17.{mtp}"), written.ReadSingles("mtp_logits"));
    }

    [Fact]
    public async Task LongInputIsComputedInChunksAndAnOlderFileReplaced()
    {
        var folder = SharedFiles.Path("fixtures", "tiny-v2-lite");
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        var tokens = expected.ReadInt32("seq150.tokens");
        var ids = Path.ChangeExtension(output, ".json");
        await File.WriteAllTextAsync(ids, $"[{string.Join(", ", tokens)}]", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(output, "something older", TestContext.Current.CancellationToken);
        (await CommandLineRun.Hadal("logits", "--model", folder, "--tokens-file", ids, "--output", output, "--attention", "naive")).AssertSucceeded();
        File.Delete(ids);
        using var written = SafetensorsFile.Open(output);
        var vocabulary = (int)written.Find("logits").Shape[1];
        var logits = written.ReadSingles("logits");
        var rows = expected.ReadInt32("seq150.logit_positions").SelectMany(p => logits.Skip(p * vocabulary).Take(vocabulary)).ToArray();
        AssertClose(expected.ReadSingles("seq150.logits"), rows);
    }

    [Fact]
    public async Task AnIdOutsideTheVocabularyIsNamed()
    {
        var run = await CommandLineRun.Hadal("logits", "--model", SharedFiles.Path("fixtures", "tiny-v3"), "--tokens", "1,1024", "--output", output);
        Assert.Equal("hadal: token id 1024 at position 1 is outside the vocabulary of 1024", run.AssertFailed(ExitCode.Failed));
        Assert.False(File.Exists(output));
    }

    [Fact]
    public async Task AMissingOutputFolderIsOneLine()
    {
        var run = await CommandLineRun.Hadal("logits", "--model", SharedFiles.Path("fixtures", "tiny-v2"), "--tokens", "1", "--output", Path.Combine(output, "out.safetensors"));
        Assert.Contains("--output: expected a folder", run.AssertFailed(ExitCode.Failed));
    }

    [Fact]
    public async Task AModelWithoutMtpSaysSo()
    {
        var run = await CommandLineRun.Hadal("logits", "--model", SharedFiles.Path("fixtures", "tiny-v2"), "--tokens", "1", "--output", output, "--mtp");
        Assert.Contains("no MTP module", run.AssertFailed(ExitCode.Failed));
    }

    public void Dispose() => File.Delete(output);

    private static void AssertClose(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], actual[i], 2e-4f);
    }
}
