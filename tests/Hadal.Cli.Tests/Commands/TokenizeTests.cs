using System.Text.Json.Nodes;
using Hadal.Tests;

namespace Hadal.Cli.Tests.Commands;

public sealed class TokenizeTests : IDisposable
{
    private readonly string file = Path.Combine(Path.GetTempPath(), $"hadal-{Guid.NewGuid():N}.jsonl");

    private static string V3 => SharedFiles.Path("data", "tokenizers", "deepseek-v3");

    [Fact]
    public async Task EveryGoldenCaseIsExact()
    {
        var cases = SharedFiles.Path("data", "tokenizers", "deepseek-v3", "cases-shared.jsonl");
        var expected = (await File.ReadAllLinesAsync(cases, TestContext.Current.CancellationToken)).Select(l => JsonNode.Parse(l)!).ToList();
        var ids = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--jsonl", cases)).AssertSucceeded();
        Assert.Equal(expected.Select(c => c["ids"]!.ToJsonString()), ids.Lines.Select(l => l.Replace(" ", string.Empty)));
        var texts = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--jsonl", cases, "--decode")).AssertSucceeded();
        Assert.Equal(expected.Select(c => (string)c["text"]!), texts.Lines.Select(l => (string)JsonNode.Parse(l)!));
    }

    [Fact]
    public async Task ATextAndAFileAreOneLine()
    {
        const string Text = "Two lines:\nthe deep sea";
        var given = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--text", Text)).AssertSucceeded();
        await File.WriteAllTextAsync(file, Text, TestContext.Current.CancellationToken);
        var read = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--file", file)).AssertSucceeded();
        Assert.Equal(given.Out, read.Out);
        Assert.Matches(@"^\[\d+(, \d+)*\]\n$", given.Out);
        var back = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--text", given.Out.Trim(), "--decode")).AssertSucceeded();
        Assert.Equal(Text + "\n", back.Out);
    }

    [Fact]
    public async Task TheFirstTokenIsAddedOnRequest()
    {
        var without = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--text", "sea")).AssertSucceeded();
        var with = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--text", "sea", "--bos")).AssertSucceeded();
        Assert.Equal(without.Out.Replace("[", "[0, "), with.Out);
    }

    [Fact]
    public async Task ControlTokensCanBeLeftAsText()
    {
        var parsed = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--text", "<｜User｜>")).AssertSucceeded();
        var plain = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--text", "<｜User｜>", "--plain")).AssertSucceeded();
        Assert.Equal("[128803]\n", parsed.Out);
        Assert.Contains(", ", plain.Out);
    }

    [Fact]
    public async Task HalfASurrogatePairIsTheReplacementCharacter()
    {
        await File.WriteAllTextAsync(file, """
            {"text": "a\ud83db\\ud83d"}
            {"text": "a\ufffdb\\ud83d"}
            """, TestContext.Current.CancellationToken);
        var run = (await CommandLineRun.Hadal("tokenize", "--model", V3, "--jsonl", file)).AssertSucceeded();
        Assert.Equal(run.Lines[0], run.Lines[1]);
    }

    [Theory]
    [InlineData("{\"text\": 5}")]
    [InlineData("{\"ids\": [1]}")]
    [InlineData("not json")]
    public async Task AWrongLineIsNamed(string line)
    {
        await File.WriteAllTextAsync(file, $"\n{line}\n", TestContext.Current.CancellationToken);
        Assert.Contains("line 2: expected an object with \"text\"", (await CommandLineRun.Hadal("tokenize", "--model", V3, "--jsonl", file)).AssertFailed(ExitCode.Failed));
    }

    [Fact]
    public async Task AModelWithoutATokenizerSaysSo() =>
        Assert.Contains("expected a tokenizer, found none", (await CommandLineRun.Hadal("tokenize", "--model", SharedFiles.Path("fixtures", "tiny-v3"), "--text", "a")).AssertFailed(ExitCode.Failed));

    [Fact]
    public async Task TheTokenizerInsideAGgufIsRead()
    {
        var run = (await CommandLineRun.Hadal("tokenize", "--model", SharedFiles.Path("data", "tokenizers", "llama.cpp", "ggml-vocab-deepseek-llm.gguf"), "--text", "Hello world")).AssertSucceeded();
        Assert.Matches(@"^\[\d+, \d+\]\n$", run.Out);
    }

    public void Dispose() => File.Delete(file);
}
