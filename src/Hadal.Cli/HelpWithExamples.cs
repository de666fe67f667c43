using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Hadal.Cli;

/// <summary>The library's help, followed by examples: of a help page they are what is read.</summary>
internal sealed class HelpWithExamples(IReadOnlyList<string> rootExamples) : SynchronousCommandLineAction
{
    private readonly HelpAction help = new() { MaxWidth = 120 };

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <summary>Makes every help option below <paramref name="root"/> show examples.</summary>
    public static void Install(RootCommand root, IReadOnlyList<string> rootExamples)
    {
        foreach (var option in root.Options.OfType<HelpOption>())
            option.Action = new HelpWithExamples(rootExamples);
    }

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        ArgumentNullException.ThrowIfNull(parseResult);
        help.Invoke(parseResult);
        var examples = parseResult.CommandResult.Command is CommandWithExamples command ? command.Examples : rootExamples;
        var output = parseResult.InvocationConfiguration.Output;
        output.WriteLine(examples.Count == 1 ? "Example:" : "Examples:");
        foreach (var example in examples)
            output.WriteLine($"  {example}");
        return ExitCode.Success;
    }
}

/// <summary>A command whose help ends with examples.</summary>
internal sealed class CommandWithExamples(string name, string description, params string[] examples) : Command(name, description)
{
    /// <summary>Command lines that work as they stand, but for the paths.</summary>
    public IReadOnlyList<string> Examples { get; } = examples;
}
