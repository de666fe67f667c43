using System.CommandLine;
using System.CommandLine.Invocation;
using Hadal.Cli.Commands;
using Hadal.Cli.Evaluation;
using Hadal.Cli.Terminals;

namespace Hadal.Cli;

/// <summary>The command line: its tree of commands, and one run of it.</summary>
internal static class HadalCli
{
    private static readonly ParserConfiguration Parsing = new() { ResponseFileTokenReplacer = null };

    /// <summary>The root with every command below it.</summary>
    /// <param name="terminal">What the commands read and write.</param>
    /// <param name="interrupts">What Ctrl-C means to them.</param>
    public static (RootCommand Root, Option<bool> Verbose) Tree(Terminal terminal, Interrupts interrupts)
    {
        var verbose = new Option<bool>("--verbose") { Description = "Show where an error happened.", Recursive = true };
        var root = new RootCommand("Trains, evaluates, quantises, serves and runs DeepSeek models on the CPU, and proves that the numbers are right.")
        {
            ServeCommand.Create(terminal),
            ConformCommand.Create(terminal),
            LoadCommand.Create(terminal),
            ChatCommand.Create(terminal, interrupts),
            GenerateCommand.Create(terminal),
            InspectCommand.Create(terminal),
            VerifyCommand.Create(terminal),
            LogitsCommand.Create(terminal),
            TokenizeCommand.Create(terminal),
            RenderCommand.Create(terminal),
            QuantizeCommand.Create(terminal),
            BenchCommand.Create(terminal),
            TokenizerCommand.Create(terminal),
            ShardsCommand.Create(terminal),
            TrainCommand.Create(terminal),
            SftCommand.Create(terminal),
            EvalCommand.Create(terminal),
        };
        root.Add(verbose);
        root.HelpName = "hadal";
        root.Options.OfType<VersionOption>().Single().Action = new ShowVersion();
        HelpWithExamples.Install(root, ["hadal serve", "hadal chat", "hadal verify path/to/model", "hadal inspect path/to/model", "hadal generate --model path/to/model --prompt \"The deep sea\" --max-new-tokens 32"]);
        return (root, verbose);
    }

    /// <summary>Parses and runs one command line.</summary>
    /// <returns>The exit code; see <see cref="ExitCode"/>.</returns>
    public static async Task<int> RunAsync(string[] args, Terminal terminal, Interrupts interrupts)
    {
        var (root, verbose) = Tree(terminal, interrupts);
        var result = root.Parse(args, Parsing);
        if (result.Action is ParseErrorAction)
            return UsageErrors.Report(result, terminal);
        try
        {
            var configuration = new InvocationConfiguration
            {
                Output = terminal.Out,
                Error = terminal.Error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
            };
            return await result.InvokeAsync(configuration, interrupts.Token);
        }
        catch (Exception exception) when (Failure.Explain(exception) is { } failure)
        {
            failure.Report(terminal, exception, result.GetValue(verbose));
            return failure.ExitCode;
        }
        finally
        {
            await terminal.Out.FlushAsync();
        }
    }

    private sealed class ShowVersion : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            parseResult.InvocationConfiguration.Output.WriteLine(typeof(HadalCli).Assembly.GetName().Version!.ToString(3));
            return ExitCode.Success;
        }
    }
}
