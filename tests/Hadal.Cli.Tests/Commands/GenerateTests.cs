using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints.Safetensors;
using Hadal.Tests;

namespace Hadal.Cli.Tests.Commands;

public sealed class GenerateTests(DemoFolder demo) : IClassFixture<DemoFolder>
{
    [Theory]
    [InlineData("tiny-v3", "absorb")]
    [InlineData("tiny-v3", "naive")]
    [InlineData("tiny-v2", "absorb")]
    [InlineData("tiny-dense-mha", "absorb")]
    public async Task GreedyIdsOnTheLastLineAreTheRecordedOnes(string model, string attention)
    {
        var folder = SharedFiles.Path("fixtures", model);
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        var run = (await CommandLineRun.Hadal(
            "generate", "--model", folder, "--tokens", string.Join(',', expected.ReadInt32("seq17.tokens")), "--max-new-tokens", "24", "--temperature", "0", "--ids", "--attention", attention)).AssertSucceeded();
        Assert.Equal(expected.ReadInt32("seq17.greedy"), JsonSerializer.Deserialize<int[]>(run.Lines[^1]));
    }

    [Fact]
    public async Task TheTextComesBeforeTheIds()
    {
        var run = (await CommandLineRun.Hadal("generate", "--model", demo.Path, "--prompt", "The deep sea", "--max-new-tokens", "12", "--seed", "5", "--ids")).AssertSucceeded();
        var ids = run.Lines[^1];
        Assert.InRange(JsonSerializer.Deserialize<int[]>(ids)!.Length, 1, 12);
        var text = (await CommandLineRun.Hadal("tokenize", "--model", demo.Path, "--text", ids, "--decode")).AssertSucceeded();
        Assert.Equal(text.Out, run.Out[..^(ids.Length + 1)]);
    }

    [Fact]
    public async Task TheSameSeedGivesTheSameTextOnAnyThreads()
    {
        string[] args = ["generate", "--model", demo.Path, "--prompt", "The deep sea", "--max-new-tokens", "20", "--seed", "5", "--top-k", "40", "--top-p", "0.95", "--min-p", "0.01"];
        var one = (await CommandLineRun.Hadal([.. args, "--threads", "1"])).AssertSucceeded();
        var two = (await CommandLineRun.Hadal([.. args, "--threads", "2"])).AssertSucceeded();
        Assert.Equal(one.Out, two.Out);
    }

    [Theory]
    [InlineData("mtp")]
    [InlineData("lookup")]
    public async Task DraftsChangeNoTokenAndAreReported(string source)
    {
        string[] args = ["generate", "--model", demo.Path, "--prompt", "The deep sea, the deep sea", "--max-new-tokens", "24", "--seed", "5", "--temperature", "0.3", "--ignore-eos", "--json"];
        var plain = JsonNode.Parse((await CommandLineRun.Hadal(args)).AssertSucceeded().Out)!;
        Assert.Null(plain["speculation"]);
        var drafted = JsonNode.Parse((await CommandLineRun.Hadal([.. args, "--draft", "3", "--draft-from", source])).AssertSucceeded().Out)!;
        Assert.Equal(plain["ids"]!.ToJsonString(), drafted["ids"]!.ToJsonString());
        var speculation = drafted["speculation"]!;
        Assert.True((int)speculation["drafted_tokens"]! >= (int)speculation["accepted_tokens"]!);
        Assert.InRange((double)speculation["accepted_length"]!, 1, 4);
    }

    [Fact]
    public async Task TheJsonObjectIsOneLineWithEverything()
    {
        var run = (await CommandLineRun.Hadal(
            "generate", "--model", demo.Path, "--prompt", "The deep sea", "--max-new-tokens", "6", "--temperature", "0", "--ignore-eos", "--json", "--logprobs", "3")).AssertSucceeded();
        var json = JsonNode.Parse(Assert.Single(run.Lines))!;
        Assert.Equal(6, json["ids"]!.AsArray().Count);
        Assert.Equal("length", (string?)json["finish_reason"]);
        Assert.Equal(13, (int)json["usage"]!["prompt_tokens"]!);
        Assert.Equal(6, (int)json["usage"]!["completion_tokens"]!);
        Assert.Equal(19, (int)json["usage"]!["total_tokens"]!);
        var logprobs = json["logprobs"]!.AsArray();
        Assert.Equal(json["ids"]!.ToJsonString(), $"[{string.Join(',', logprobs.Select(l => l!["id"]))}]");
        Assert.All(logprobs, l =>
        {
            Assert.Equal(3, l!["top"]!.AsArray().Count);
            Assert.Equal((int)l["id"]!, (int)l["top"]![0]!["id"]!);
            Assert.True((double)l["logprob"]! < 0);
        });
    }

    [Fact]
    public async Task AStopTokenEndsTheOutputAndIsNotPartOfIt()
    {
        string[] args = ["generate", "--model", demo.Path, "--prompt", "The deep sea", "--max-new-tokens", "6", "--temperature", "0", "--ignore-eos", "--json"];
        var whole = JsonNode.Parse((await CommandLineRun.Hadal(args)).AssertSucceeded().Out)!["ids"]!.AsArray().Select(i => (int)i!).ToArray();
        var cut = JsonNode.Parse((await CommandLineRun.Hadal([.. args, "--stop-token", $"{whole[3]}"])).AssertSucceeded().Out)!;
        Assert.Equal("stop", (string?)cut["finish_reason"]);
        Assert.Equal(whole.TakeWhile(id => id != whole[3]), cut["ids"]!.AsArray().Select(i => (int)i!));
    }

    [Fact]
    public async Task APromptInAFileIsContinuedLikeAnyOther()
    {
        var file = Path.GetTempFileName();
        try
        {
            const string Prompt = "The deep sea, 深海\n";
            await File.WriteAllTextAsync(file, Prompt, TestContext.Current.CancellationToken);
            string[] args = ["generate", "--model", demo.Path, "--max-new-tokens", "6", "--temperature", "0", "--ids"];
            var run = (await CommandLineRun.Hadal([.. args, "--prompt-file", file])).AssertSucceeded();
            Assert.Equal((await CommandLineRun.Hadal([.. args, "--prompt", Prompt])).AssertSucceeded().Out, run.Out);
            File.Delete(file);
            Assert.Contains(file, (await CommandLineRun.Hadal([.. args, "--prompt-file", file])).AssertFailed(ExitCode.Failed));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task ABiasForcesAToken()
    {
        var run = (await CommandLineRun.Hadal("generate", "--model", demo.Path, "--tokens", "70", "--max-new-tokens", "3", "--ids", "--temperature", "0", "--logit-bias", "70=1e9")).AssertSucceeded();
        Assert.Equal("[70, 70, 70]", run.Lines[^1]);
    }

    [Fact]
    public async Task WithoutAModelTheOneThatComesWithHadalWritesAndIsNamed()
    {
        var run = (await CommandLineRun.Hadal("generate", "--prompt", "Once upon a", "--max-new-tokens", "1", "--temperature", "0")).AssertSucceeded();
        Assert.Contains("this is hadal-tiny, which comes with hadal", run.Error);
        Assert.Equal(" time", run.Out.TrimEnd('\n'));
    }

    [Fact]
    public async Task AContextThatIsTooSmallIsOneLine()
    {
        var run = await CommandLineRun.Hadal("generate", "--model", demo.Path, "--tokens", "70,71,72", "--max-new-tokens", "4095");
        Assert.Equal("hadal: the sequence would have 4098 tokens, but the context holds 4096", run.AssertFailed(ExitCode.Failed));
        var chosen = await CommandLineRun.Hadal("generate", "--model", demo.Path, "--tokens", "70,71,72", "--max-new-tokens", "6", "--context", "8");
        Assert.Equal("hadal: the sequence would have 9 tokens, but the context holds 8", chosen.AssertFailed(ExitCode.Failed));
    }

    [Fact]
    public async Task APromptForAModelWithoutTokenizerIsOneLine()
    {
        var run = await CommandLineRun.Hadal("generate", "--model", SharedFiles.Path("fixtures", "tiny-v3"), "--prompt", "hello");
        Assert.Contains("expected a tokenizer, found none", run.AssertFailed(ExitCode.Failed));
    }

    [Theory]
    [InlineData("--prompt and --tokens exclude each other", "--prompt", "a", "--tokens", "1")]
    [InlineData("one of --prompt, --prompt-file, --tokens, --tokens-file is needed")]
    [InlineData("--temperature: expected a number of at least 0, found '-1'", "--prompt", "a", "--temperature", "-1")]
    [InlineData("--temperature: expected a number of at least 0, found 'NaN'", "--prompt", "a", "--temperature", "NaN")]
    [InlineData("--top-p: expected a number above 0 and at most 1, found '1.5'", "--prompt", "a", "--top-p", "1.5")]
    [InlineData("--max-new-tokens: expected a whole number of at least 0, found '-3'", "--prompt", "a", "--max-new-tokens", "-3")]
    [InlineData("--logit-bias: expected a token id and a number such as 1234=-5, found '5'", "--prompt", "a", "--logit-bias", "5")]
    [InlineData("--logprobs needs --json", "--prompt", "a", "--logprobs", "2")]
    [InlineData("--stop: expected a text, found ''", "--prompt", "a", "--stop", "")]
    public async Task AWrongCommandLineIsNamed(string line, params string[] args) =>
        Assert.Equal($"hadal generate: {line}", (await CommandLineRun.Hadal(["generate", .. args])).AssertFailed(ExitCode.Usage));

    [Fact]
    public async Task CtrlCGivesTheShellsExitCode()
    {
        var run = await CommandLineRun.Interrupted("generate", "--model", demo.Path, "--prompt", "a", "--max-new-tokens", "1000", "--ignore-eos");
        Assert.Equal(ExitCode.Interrupted, run.ExitCode);
        Assert.Contains("hadal: interrupted", run.Error);
    }
}
