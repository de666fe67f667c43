namespace Hadal.Cli;

/// <summary>Something that a person asked for and that cannot be: said in one line and a hint.</summary>
/// <param name="message">What is wrong.</param>
/// <param name="hint">What to do instead.</param>
/// <param name="exitCode">The exit code.</param>
internal sealed class CommandException(string message, string hint, int exitCode = ExitCode.Failed) : Exception(message)
{
    /// <summary>What to do instead.</summary>
    public string Hint { get; } = hint;

    /// <summary>The exit code.</summary>
    public int ExitCode { get; } = exitCode;
}
