using System.Text.Json;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Sandbox;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Training.Runs;

namespace Hadal.Cli;

/// <summary>
/// How an exception is told to a person: one line of what is wrong, one hint of what to do, an exit code. The only place that knows.
/// </summary>
/// <param name="Line">What is wrong.</param>
/// <param name="Hint">What to do about it.</param>
/// <param name="ExitCode">The process's exit code.</param>
internal sealed record Failure(string Line, string? Hint, int ExitCode)
{
    /// <summary>The failure that an exception stands for. Everything is explained; a bug is called one.</summary>
    public static Failure Explain(Exception exception) => exception switch
    {
        OperationCanceledException => new("interrupted", null, Cli.ExitCode.Interrupted),
        CommandException wrong => new(wrong.Message, wrong.Hint, wrong.ExitCode),
        ContextOverflowException or CacheFullException => Failed(exception, "shorten the prompt, ask for fewer tokens, or raise --context up to the model's own context"),
        TrainingDivergedException => Failed(exception, "a lower schedule.learning_rate, more schedule.warmup_steps or a smaller optimizer.max_gradient_norm helps; --output with another name begins anew"),
        RecipeMismatchException => Failed(exception, "--output with another name begins a new run; the run that is there goes on with its own recipe"),
        ModelUnfitException => Failed(exception, "use tasks that generate, a server with prompt log-probabilities, or --model"),
        EndpointException => Failed(exception, "check the address, the model's name and the key; with --output the run goes on where it ended"),
        SandboxUnavailableException => Failed(exception, "code tasks need Linux, python3 and the right to make namespaces; '--tasks all' leaves them out where they cannot run"),
        InvalidDataException => Failed(exception, "the file is damaged, incomplete or not what its name says; 'hadal inspect' shows what can be read of a model"),
        FileNotFoundException or DirectoryNotFoundException => Failed(exception, "check the path; where MODEL is asked for, it is a folder with config.json or a .gguf file"),
        UnauthorizedAccessException => Failed(exception, "check the permissions of the file and its folder"),
        JsonException => Failed(exception, "the JSON input is malformed"),
        IOException => Failed(exception, "check the disk and the path"),
        NotSupportedException => Failed(exception, "'hadal inspect' shows what the model asks for"),
        OutOfMemoryException => Failed(exception, "close other programs, choose a smaller --context or a smaller format ('hadal quantize')"),
        _ => new($"{exception.GetType().Name}: {OneLine(exception.Message)}", "this is a bug in hadal; --verbose shows where it happened", Cli.ExitCode.Failed),
    };

    /// <summary>Writes line and hint to standard error, and the stack where it was asked for.</summary>
    public void Report(Terminal terminal, Exception exception, bool verbose)
    {
        terminal.Error.WriteLine($"hadal: {Line}");
        if (Hint is not null)
            terminal.Error.WriteLine($"hint: {Hint}");
        if (verbose)
            terminal.Error.WriteLine(exception);
    }

    private static Failure Failed(Exception exception, string hint) => new(OneLine(exception.Message), hint, Cli.ExitCode.Failed);

    private static string OneLine(string message) => message.ReplaceLineEndings(" ");
}
