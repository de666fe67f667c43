using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using Hadal.Cli;
using Hadal.Cli.Terminals;

namespace Hadal.House.Tests;

/// <summary>What README and docs say is there: commands, options, files, folders, links.</summary>
public sealed partial class PageTests : IDisposable
{
    private static readonly string[] DotnetCommands = ["run", "test", "build", "publish"];

    private readonly Interrupts interrupts = new();
    private readonly RootCommand root;

    public PageTests() => root = HadalCli.Tree(new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, false), interrupts).Root;

    public void Dispose() => interrupts.Dispose();

    [Fact]
    public void EveryCommandLineOfAPageParses()
    {
        var lines = CommandLines().ToList();
        var wrong =
            from line in lines
            let result = root.Parse(Words(line.Text))
            where result.Errors.Count > 0
            select $"{line.Page}: {line.Text}: {result.Errors[0].Message}";
        Assert.Empty(wrong);
        Assert.True(lines.Count > 10, "the pages hold command lines");
    }

    [Fact]
    public void EveryExampleOfTheHelpParses()
    {
        var wrong =
            from command in root.Subcommands.Concat(root.Subcommands.SelectMany(c => c.Subcommands))
            from example in Assert.IsType<CommandWithExamples>(command).Examples
            let result = root.Parse(Words(example))
            where result.Errors.Count > 0 || !Below(command).Contains(result.CommandResult.Command)
            select $"{example}: {(result.Errors.Count > 0 ? result.Errors[0].Message : "another command")}";
        Assert.Empty(wrong);
    }

    [Fact]
    public void EveryCommandIsInReadmeAndInItsPage()
    {
        foreach (var command in root.Subcommands)
        {
            Assert.Contains($"hadal {command.Name} ", Repository.Read("README.md"));
            Assert.Contains($"\n## {command.Name}\n", Repository.Read("docs/CLI.md"));
        }
    }

    [Fact]
    public void EveryOptionThatAPageNamesExists()
    {
        var known = Below(root).SelectMany(c => c.Options).Select(o => o.Name).ToHashSet();
        var wrong =
            from page in Repository.Pages
            from Match option in NamedOption().Matches(Repository.Read(page))
            where !known.Contains(option.Groups[1].Value)
            select $"{page}: {option.Groups[1].Value}";
        Assert.Empty(wrong);
    }

    [Fact]
    public void TheTwoCommandsOfReadmeNameWhatIsThere()
    {
        var dotnet = Block().Matches(Repository.Read("README.md")).SelectMany(b => b.Groups["text"].Value.Split('\n')).Where(l => l.StartsWith("dotnet ", StringComparison.Ordinal)).ToList();
        Assert.Equal(2, dotnet.Count);
        Assert.All(dotnet, line => Assert.Contains(line.Split(' ')[1], DotnetCommands));
        Assert.True(Directory.Exists(Path.Combine(Repository.Root, ProjectOption().Match(dotnet[0]).Groups[1].Value)));
        Assert.Contains(dotnet[1], Repository.Read(".ci/run"));
    }

    [Fact]
    public void TheSampleOfReadmeIsTheOneThatIsBuiltAndRun() =>
        Assert.Contains($"```csharp\n{Repository.Read("samples/Hadal.Samples.Chat/Program.cs")}```", Repository.Read("README.md"));

    [Fact]
    public void EveryPathThatAPageNamesExists()
    {
        var wrong =
            from page in Repository.Pages
            from Match path in NamedPath().Matches(Repository.Read(page))
            where !Exists(path.Groups[1].Value)
            select $"{page}: {path.Groups[1].Value}";
        Assert.Empty(wrong);
    }

    [Fact]
    public void EveryLinkLeadsSomewhere()
    {
        var wrong =
            from page in Repository.Pages
            from Match link in Link().Matches(Repository.Read(page))
            where !Exists(Path.Combine(Path.GetDirectoryName(page)!, link.Groups[1].Value))
            select $"{page}: {link.Groups[1].Value}";
        Assert.Empty(wrong);
    }

    [Fact]
    public void ArchitectureNamesEveryFolderOfTheSource()
    {
        var page = Repository.Read("docs/ARCHITECTURE.md");
        var folders = Repository.Files.Where(f => f.StartsWith("src/", StringComparison.Ordinal) && f.Count(c => c == '/') > 2).Select(f => f[..f.LastIndexOf('/')]).Distinct();
        Assert.All(folders, f => Assert.Contains($"`{f}`", page));
    }

    // The command itself and all below it.
    private static IEnumerable<Command> Below(Command command) => command.Subcommands.SelectMany(Below).Prepend(command);

    private static bool Exists(string path) => Path.Combine(Repository.Root, path) is var full && (File.Exists(full) || Directory.Exists(full));

    // hadal … and dotnet run … -- …, with what stands before a pipe left out.
    private static IEnumerable<(string Page, string Text)> CommandLines() =>
        from page in Repository.Pages
        from Match block in Block().Matches(Repository.Read(page))
        from line in block.Groups["text"].Value.Split('\n')
        let text = line.Split(" | ")[^1].Trim()
        let hadal = text.StartsWith("dotnet run ", StringComparison.Ordinal) ? $"hadal {text[(text.IndexOf(" -- ", StringComparison.Ordinal) + 4)..]}" : text
        where hadal.StartsWith("hadal ", StringComparison.Ordinal)
        select (page, hadal);

    private static List<string> Words(string line) => [.. CommandLineParser.SplitCommandLine(line["hadal ".Length..])];

    [GeneratedRegex("```\n(?<text>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture)]
    private static partial Regex Block();

    [GeneratedRegex("`(--[a-z][a-z0-9-]*)[ `]")]
    private static partial Regex NamedOption();

    [GeneratedRegex("--project ([^ ]+)")]
    private static partial Regex ProjectOption();

    [GeneratedRegex("`(?<path>(?:src|tests|docs|\\.ci)/[A-Za-z0-9_./-]+)`")]
    private static partial Regex NamedPath();

    [GeneratedRegex(@"\]\((?!https?:)([^)#]+)")]
    private static partial Regex Link();
}
