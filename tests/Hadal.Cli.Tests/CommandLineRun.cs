using Hadal.Cli.Terminals;

namespace Hadal.Cli.Tests;

/// <summary>One run of the program inside this process: the real entry point on streams of our own.</summary>
internal sealed record CommandLineRun(int ExitCode, string Out, string Error)
{
    /// <summary>The lines of standard output.</summary>
    public string[] Lines => Out.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Runs <c>hadal</c> with these arguments.</summary>
    public static Task<CommandLineRun> Hadal(params string[] args) => WithInput(string.Empty, args);

    /// <summary>Runs <c>hadal</c> with something on standard input.</summary>
    public static Task<CommandLineRun> WithInput(string input, params string[] args) => Run(input, interrupted: false, args);

    /// <summary>Runs <c>hadal</c> with Ctrl-C already pressed.</summary>
    public static Task<CommandLineRun> Interrupted(params string[] args) => Run(string.Empty, interrupted: true, args);

    private static async Task<CommandLineRun> Run(string input, bool interrupted, string[] args)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        using var interrupts = new Interrupts();
        if (interrupted)
            interrupts.Interrupt();
        var terminal = new Terminal(new StringReader(input), output, error, inputIsTerminal: false, outputIsTerminal: false, errorIsTerminal: false);
        var exitCode = await HadalCli.RunAsync(args, terminal, interrupts);
        return new CommandLineRun(exitCode, output.ToString(), error.ToString());
    }

    /// <summary>Asserts one line of error and one of hint, no stack trace, nothing on standard output.</summary>
    /// <returns>The error line.</returns>
    public string AssertFailed(int exitCode)
    {
        Assert.Equal(exitCode, ExitCode);
        Assert.Empty(Out);
        var lines = Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.True(lines.Length >= 2, Error);
        Assert.StartsWith("hadal", lines[^2]);
        Assert.StartsWith("hint: ", lines[^1]);
        Assert.DoesNotContain("   at ", Error);
        return lines[^2];
    }

    /// <summary>Asserts success.</summary>
    public CommandLineRun AssertSucceeded()
    {
        Assert.True(ExitCode == 0, $"exit code {ExitCode}: {Error}");
        return this;
    }
}
