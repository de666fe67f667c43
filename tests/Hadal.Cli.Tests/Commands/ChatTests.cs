using System.Text.Json.Nodes;

namespace Hadal.Cli.Tests.Commands;

public sealed class ChatTests(DemoFolder demo) : IClassFixture<DemoFolder>, IDisposable
{
    private readonly string file = Path.Combine(Path.GetTempPath(), $"hadal-{Guid.NewGuid():N}.json");

    public void Dispose() => File.Delete(file);

    [Fact]
    public async Task AnswersGoToStandardOutputAndNoticesToStandardError()
    {
        var run = await Chat("hello\n", "--max-new-tokens", "5", "--logit-bias", "70=1e9", "--temperature", "0");
        Assert.Equal("CCCCC\n", run.Out);
        Assert.Contains("5 tokens", run.Error);
        Assert.Contains("template deepseek-v3", run.Error);
    }

    [Fact]
    public async Task TheConversationIsKeptSavedAndLoaded()
    {
        string[] letters = ["--max-new-tokens", "3", "--logit-bias", "70=1e9", "--temperature", "0"];
        await Chat($"one\\\ntwo\n/system Be brief\nthree\n/save {file}\n", letters);
        var saved = JsonNode.Parse(await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken))!.AsArray();
        Assert.Equal(["system Be brief", "user one\ntwo", "assistant CCC", "user three", "assistant CCC"], saved.Select(m => $"{m!["role"]} {m["content"]}"));
        var loaded = await Chat($"/undo\n/regen\n/save {file}\n", [.. letters, "--load", file]);
        Assert.Equal("CCC\n", loaded.Out);
        Assert.Equal(3, JsonNode.Parse(await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken))!.AsArray().Count);
    }

    [Fact]
    public async Task WhatTheCacheHoldsOfTheTurnsBeforeIsUsedAgain()
    {
        var run = await Chat("hello there\nand now\n", "--max-new-tokens", "4", "--logit-bias", "70=1e9", "--temperature", "0");

        // The prompt of the second turn begins with that of the first and its answer, of which the last token has not been computed.
        var first = (await CommandLineRun.Hadal("tokenize", "--model", demo.Path, "--text", "<｜begin▁of▁sentence｜><｜User｜>hello there<｜Assistant｜>CCC")).Out.Split(',').Length;
        Assert.Contains($"{first} reused", run.Error);
    }

    [Fact]
    public async Task AFullContextIsALineAndNotTheEnd()
    {
        var run = await Chat($"{new string('a', 200)}\nhi\n", "--max-new-tokens", "2", "--context", "64", "--logit-bias", "70=1e9", "--temperature", "0");
        Assert.Contains("but the context holds 64; the message is taken back", run.Error);
        Assert.Equal("CC\n", run.Out);
    }

    [Theory]
    [InlineData("/nope", "there is no command /nope")]
    [InlineData("/set temperature -1", "Temperature must be")]
    [InlineData("/set warmth 1", "there is no setting warmth")]
    [InlineData("/set temperature 0.25\n/set", "temperature 0.25, top-k 0")]
    [InlineData("/load nowhere.json", "nowhere.json")]
    [InlineData("/undo", "there is nothing to take back")]
    [InlineData("/regen", "there is no question to answer")]
    [InlineData("/system", "there is no system prompt")]
    [InlineData("/help", "/regen")]
    [InlineData("/stats", "0 messages, 0 of 4096 tokens")]
    public async Task ACommandAnswersInALine(string input, string line)
    {
        var run = await Chat(input + "\n");
        Assert.Contains(line, run.Error);
        Assert.Empty(run.Out);
    }

    [Fact]
    public async Task ExitEndsTheChat() => Assert.Empty((await Chat("/exit\nhello\n")).Out);

    private async Task<CommandLineRun> Chat(string input, params string[] args) =>
        (await CommandLineRun.WithInput(input, ["chat", "--model", demo.Path, .. args])).AssertSucceeded();
}
