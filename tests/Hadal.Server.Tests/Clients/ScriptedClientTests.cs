using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Hadal.Server.Tests.Clients;

/// <summary>Clients of other languages, each a script in this folder that ends with "ok": curl, and npm's openai and ai.</summary>
public sealed class ScriptedClientTests(RandomModelFolder folder)
{
    private static string Scripts([CallerFilePath] string file = "") => Path.GetDirectoryName(file)!;

    [Fact]
    public Task Curl() => Run("sh", "curl.sh", needs: "curl");

    [Fact]
    public Task OpenAIForNode() => Run("node", "openai.mjs", needs: "node", package: "openai");

    [Fact]
    public Task AISdkForNode() => Run("node", "ai.mjs", needs: "node", package: "ai");

    private async Task Run(string program, string script, string needs, string? package = null)
    {
        Assert.SkipUnless((Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(p => File.Exists(Path.Combine(p, needs)) || File.Exists(Path.Combine(p, needs + ".exe"))), $"{needs} is not installed");
        if (package is not null)
            Assert.SkipUnless(Directory.Exists(Path.Combine(Scripts(), "node_modules", package)), $"the package {package} is not there: run 'npm ci' in tests/Hadal.Server.Tests/Clients");
        await using var server = await RunningServer.OfFolder(folder.Path);
        var start = new ProcessStartInfo(program, [Path.Combine(Scripts(), script), server.Api.ToString()]) { UseShellExecute = false, WorkingDirectory = Scripts(), RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, await output + await error);
        Assert.EndsWith("ok", (await output).TrimEnd());
    }
}
