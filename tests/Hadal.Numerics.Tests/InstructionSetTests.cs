using System.Diagnostics;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Tests;

/// <summary>Runs the other tests of this project again on narrower instruction sets, in processes of their own: the runtime chooses once, at start.</summary>
public sealed class InstructionSetTests
{
    [Theory]
    [InlineData("DOTNET_EnableAVX512")]
    [InlineData("DOTNET_EnableAVX2")]
    [InlineData("DOTNET_EnableHWIntrinsic")]
    public async Task TheTestsPassWithout(string knob)
    {
        Assert.SkipUnless(Vector128.IsHardwareAccelerated, "nothing to switch off");
        var program = Path.ChangeExtension(typeof(InstructionSetTests).Assembly.Location, OperatingSystem.IsWindows() ? ".exe" : null);
        Assert.SkipUnless(File.Exists(program), $"{program} is not there to be started");
        var start = new ProcessStartInfo(program, ["-class-", typeof(InstructionSetTests).FullName!, "-namespace-", typeof(Threading.KernelThreadsTests).Namespace!, "-noColor"])
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        start.Environment[knob] = "0";
        using var process = Process.Start(start)!;
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, output);
        Assert.Contains("Failed: 0", output, StringComparison.Ordinal);
        Assert.DoesNotContain("Total: 0", output, StringComparison.Ordinal);
    }
}
