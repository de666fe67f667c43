using System.Text.Json;
using System.Text.RegularExpressions;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Tests.Commands;

public sealed partial class ServeTests
{
    [Fact]
    public async Task ServesTheBundledModelUntilInterruptedAndHoldsEveryCase()
    {
        var notices = new SharedWriter();
        using var interrupts = new Interrupts();
        var terminal = new Terminal(TextReader.Null, TextWriter.Null, notices, inputIsTerminal: false, outputIsTerminal: false, errorIsTerminal: false);
        var serving = HadalCli.RunAsync(["serve", "--port", "0", "--context", "4096", "--threads", "1"], terminal, interrupts);
        Match address;
        while (!(address = Address().Match(notices.ToString())).Success)
        {
            Assert.False(serving.IsCompleted, notices.ToString());
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }

        var url = $"{address.Value}/v1";
        var table = (await CommandLineRun.Hadal("conform", url)).AssertSucceeded();
        Assert.Matches(@"\n(\d+) of \1 cases hold\n$", table.Out);
        var json = JsonDocument.Parse((await CommandLineRun.Hadal("conform", url, "--model", "hadal-tiny", "--json")).AssertSucceeded().Out).RootElement;
        Assert.Equal((0, json.GetProperty("cases").GetArrayLength()), (json.GetProperty("failed").GetInt32(), json.GetProperty("passed").GetInt32()));
        var load = JsonDocument.Parse((await CommandLineRun.Hadal("load", url, "--seconds", "5", "--connections", "4", "--prompt", "8", "--generate", "8", "--drop", "0.3", "--json")).AssertSucceeded().Out).RootElement;
        Assert.True(load.GetProperty("complete").GetInt32() > 0 && load.GetProperty("tokens_per_second").GetDouble() > 0, load.ToString());
        interrupts.Interrupt();
        Assert.Equal(ExitCode.Success, await serving);
        Assert.Contains("stopping", notices.ToString());
        (await CommandLineRun.Hadal("conform", url)).AssertFailed(ExitCode.Failed);
    }

    [Fact]
    public async Task WhatCannotBeServedIsSaidInOneLine()
    {
        using var demo = new DemoFolder();
        Assert.Contains("no key is set", (await CommandLineRun.Hadal("serve", "--model", demo.Path, "--host", "*", "--port", "0")).AssertFailed(ExitCode.Failed));
        Assert.Contains("no such file", (await CommandLineRun.Hadal("serve", "--config", "no-such-file.json")).AssertFailed(ExitCode.Failed));
        (await CommandLineRun.Hadal("serve", "--model", "no/such/model")).AssertFailed(ExitCode.Failed);
        (await CommandLineRun.Hadal("serve", "--port", "70000")).AssertFailed(ExitCode.Usage);
        (await CommandLineRun.Hadal("conform", "ftp://x")).AssertFailed(ExitCode.Usage);
        (await CommandLineRun.Hadal("conform", "http://127.0.0.1:1/v1")).AssertFailed(ExitCode.Failed);
        (await CommandLineRun.Hadal("load", "http://127.0.0.1:1/v1", "--key-variable", "HADAL_NO_SUCH_VARIABLE")).AssertFailed(ExitCode.Failed);
    }

    [GeneratedRegex(@"http://127\.0\.0\.1:\d+(?=,)")]
    private static partial Regex Address();
}
