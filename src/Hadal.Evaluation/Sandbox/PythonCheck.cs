using System.Security.Cryptography;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Sandbox;

/// <summary>Whether a program passes its tests: it has to reach its end, which it shows by a mark that is new in every run.</summary>
internal static class PythonCheck
{
    /// <summary>Runs a program that raises an error where a test fails.</summary>
    /// <param name="sandbox">Where.</param>
    /// <param name="program">The model's code and its tests.</param>
    /// <param name="extraction">What was taken from the output, for the transcript.</param>
    /// <param name="cancellation">Ends it.</param>
    public static async Task<Verdict> RunAsync(PythonSandbox? sandbox, string program, string extraction, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(sandbox);

        // A program that calls exit(0) before its tests has not passed them.
        var mark = RandomNumberGenerator.GetHexString(32);
        var result = await sandbox.RunAsync($"{program}\n\nprint('\\n{mark}', flush=True)\n", string.Empty, cancellation: cancellation);
        var passed = result is { Outcome: SandboxOutcome.Exited, ExitCode: 0 } && result.Output.TrimEnd().EndsWith(mark, StringComparison.Ordinal);
        return Verdict.Of(extraction, passed, "pass@1", passed ? null : result.ExitCode == 0 ? "ended before its tests" : result.Summary);
    }
}
