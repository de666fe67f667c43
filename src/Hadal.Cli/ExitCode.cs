namespace Hadal.Cli;

/// <summary>What the program's exit code says.</summary>
internal static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Success = 0;

    /// <summary>The work failed, or a check did not hold.</summary>
    public const int Failed = 1;

    /// <summary>The command line was wrong; nothing was tried.</summary>
    public const int Usage = 2;

    /// <summary>Ctrl-C, by the shells' convention of 128 + SIGINT.</summary>
    public const int Interrupted = 130;
}
