using System.Text.Json.Nodes;
using Hadal.Checkpoints.Tokenization;
using Hadal.Training.Data;

namespace Hadal.Cli.Tests.Commands;

public sealed class ShardsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("hadal-").FullName;
    private readonly string[] command;

    public ShardsTests()
    {
        Tokenizer.CreateByteLevel([("t", "h")]).Save(folder);
        File.WriteAllText(Path.Combine(folder, "a.jsonl"), "{\"text\": \"the sea\"}\n{\"text\": \"the deep\"}\n");
        command = ["shards", "--input", Path.Combine(folder, "a.jsonl"), "--tokenizer", folder, "--output", Path.Combine(folder, "out")];
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task ShardsAreWrittenAndSayWhatTheyHold()
    {
        var report = JsonNode.Parse((await CommandLineRun.Hadal([.. command, "--json"])).AssertSucceeded().Out)!;
        Assert.Equal((1, 2, 13, 15), ((int)report["shards"]!, (int)report["documents"]!, (int)report["tokens"]!, (int)report["bytes"]!));
        using var shards = TokenShards.Open(Path.Combine(folder, "out"));
        Assert.Equal(2, shards.Count);
        Assert.Contains("finished shards already", (await CommandLineRun.Hadal(command)).AssertFailed(ExitCode.Failed));
    }

    [Fact]
    public async Task ThePersonIsToldTheSame() =>
        Assert.Contains("2 documents, 13 tokens of 1.154 bytes each, in 1 shards", (await CommandLineRun.Hadal(command)).AssertSucceeded().Out);

    [Fact]
    public async Task AnInterruptedRunSaysHowToGoOn()
    {
        var run = await CommandLineRun.Interrupted(command);
        Assert.EndsWith("interrupted", run.AssertFailed(ExitCode.Interrupted));
        Assert.Contains("the same command goes on", run.Error);
        (await CommandLineRun.Hadal(command)).AssertSucceeded();
    }
}
