namespace Hadal.Cli.Tests;

/// <summary>Wrong command lines: exit code 2, one line and one hint.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData("hadal: a command is missing")]
    [InlineData("hadal: there is no command 'inspekt'", "inspekt")]
    [InlineData("hadal inspect: MODEL is missing", "inspect")]
    [InlineData("hadal inspect: there is no option --jsom", "inspect", "--jsom")]
    [InlineData("hadal inspect: there is no option --jsom", "inspect", "--jsom", "model")]
    [InlineData("hadal inspect: 'c' is one argument too many", "inspect", "a", "c")]
    [InlineData("hadal inspect: --context: expected a whole number of at least 1, found '0'", "inspect", "a", "--context", "0")]
    [InlineData("hadal logits: --tokens: expected token ids such as 1,2,3, found '1,x'", "logits", "--model", "a", "--output", "o", "--tokens", "1,x")]
    [InlineData("hadal logits: --tokens: expected token ids such as 1,2,3, found '1,-2'", "logits", "--model", "a", "--output", "o", "--tokens", "1,-2")]
    [InlineData("hadal logits: --tokens: expected token ids such as 1,2,3, found '99999999999'", "logits", "--model", "a", "--output", "o", "--tokens", "99999999999")]
    [InlineData("hadal logits: one of --tokens, --tokens-file is needed", "logits", "--model", "a", "--output", "o")]
    [InlineData("hadal logits: --tokens and --tokens-file exclude each other", "logits", "--model", "a", "--output", "o", "--tokens", "1", "--tokens-file", "f")]
    [InlineData("hadal logits: Option '--output' is required", "logits", "--model", "a", "--tokens", "1")]
    [InlineData("hadal logits: --attention: expected one of absorb, naive, found 'flash'", "logits", "--model", "a", "--output", "o", "--tokens", "1", "--attention", "flash")]
    [InlineData("hadal logits: --threads: expected a whole number from 1 to 1024, found '0'", "logits", "--model", "a", "--output", "o", "--tokens", "1", "--threads", "0")]
    public async Task AWrongCommandLineIsNamed(string line, params string[] args) =>
        Assert.Equal(line, (await CommandLineRun.Hadal(args)).AssertFailed(ExitCode.Usage));

    [Theory]
    [InlineData("inspect", "inspekt")]
    [InlineData("--json", "inspect", "model", "--jsn")]
    public async Task ATypingSlipGetsASuggestion(string suggestion, params string[] args) =>
        Assert.Contains($"did you mean {suggestion}?", (await CommandLineRun.Hadal(args)).Error);

    [Fact]
    public async Task AnAtSignIsNoResponseFile() =>
        Assert.Contains("@nowhere: expected a model folder", (await CommandLineRun.Hadal("inspect", "@nowhere")).AssertFailed(ExitCode.Failed));
}
