using System.CommandLine;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Tests;

/// <summary>Help is there for every command, and ends with something to copy.</summary>
public sealed class HelpTests
{
    /// <summary>The names of the public commands.</summary>
    public static TheoryData<string> Commands
    {
        get
        {
            using var interrupts = new Interrupts();
            var silent = new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, false);
            return [.. HadalCli.Tree(silent, interrupts).Root.Subcommands.Select(c => c.Name)];
        }
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public async Task EveryCommandHasADescriptionAndAnExample(string command)
    {
        var help = (await CommandLineRun.Hadal(command, "--help")).AssertSucceeded();
        Assert.StartsWith("Description:\n  ", help.Out);
        Assert.Matches($"Examples?:\n  hadal {command}( .*)?\n", help.Out);
        Assert.Empty(help.Error);
    }

    [Fact]
    public async Task TheVersionIsANumber() => Assert.Matches(@"^\d+\.\d+\.\d+\n$", (await CommandLineRun.Hadal("--version")).AssertSucceeded().Out);
}
