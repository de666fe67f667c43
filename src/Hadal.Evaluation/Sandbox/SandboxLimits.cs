namespace Hadal.Evaluation.Sandbox;

/// <summary>What a program in the sandbox may use.</summary>
public sealed record SandboxLimits
{
    /// <summary>Time by the clock.</summary>
    public TimeSpan Wall { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Processor time of a process, in seconds.</summary>
    public int CpuSeconds { get; init; } = 8;

    /// <summary>Address space of a process, in bytes.</summary>
    public long MemoryBytes { get; init; } = 1L << 30;

    /// <summary>Length of a file, in bytes.</summary>
    public long FileBytes { get; init; } = 16L << 20;

    /// <summary>All files together, in bytes.</summary>
    public long DiskBytes { get; init; } = 64L << 20;

    /// <summary>Processes and threads.</summary>
    public int Processes { get; init; } = 8;

    /// <summary>Output and error output, each, in bytes; a program that writes more is ended.</summary>
    public int OutputBytes { get; init; } = 1 << 20;
}

/// <summary>How a program ended.</summary>
public enum SandboxOutcome
{
    /// <summary>By itself, or by a limit that the kernel keeps (processor time, memory, file size).</summary>
    Exited,

    /// <summary>Its time by the clock was over.</summary>
    TimeLimit,

    /// <summary>It wrote too much.</summary>
    OutputLimit,
}

/// <summary>What came of a program.</summary>
/// <param name="Outcome">How it ended.</param>
/// <param name="ExitCode">Its exit code; 128 + n after signal n.</param>
/// <param name="Output">What it wrote, up to the limit.</param>
/// <param name="Error">What it wrote to its error output, up to the limit.</param>
public sealed record SandboxResult(SandboxOutcome Outcome, int ExitCode, string Output, string Error)
{
    /// <summary>Why a program did not do what was asked, in one line.</summary>
    public string Summary => Outcome switch
    {
        SandboxOutcome.TimeLimit => "time limit",
        SandboxOutcome.OutputLimit => "output limit",
        _ => Error.TrimEnd().Split('\n')[^1] is { Length: > 0 } line ? line[..Math.Min(line.Length, 200)] : $"exit code {ExitCode}",
    };
}

/// <summary>The sandbox cannot be had on this machine.</summary>
/// <param name="message">Why.</param>
public sealed class SandboxUnavailableException(string message) : Exception(message);
