using Hadal.Checkpoints;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Demo;

/// <summary>
/// The model of commands that are given none: small, random, of DeepSeek-V3's shape, made once in the user's cache folder. Its answers are noise.
/// </summary>
internal static class DemoModel
{
    private const int Seed = 20241226;

    // Goes up with every change of what RandomModel writes.
    private const int Version = 1;

    /// <summary>The folder of the demo model, which is made where it is not there yet.</summary>
    public static string Path(Terminal terminal)
    {
        var folder = System.IO.Path.Combine(CacheFolder(), "hadal", $"demo-model-{Version}");
        if (!Directory.Exists(folder))
            Make(folder);
        terminal.Notice("No --model is given: this is a small random model, made on the spot. It shows that everything runs; its answers are noise.");
        return folder;
    }

    // XDG's base directory where it is set, the system's own otherwise; on Linux that is ~/.local/share, which is no cache.
    private static string CacheFolder()
    {
        var named = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        if (!string.IsNullOrEmpty(named) && System.IO.Path.IsPathRooted(named))
            return named;
        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        var folder = OperatingSystem.IsWindows() || home.Length == 0
            ? Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData)
            : System.IO.Path.Combine(home, OperatingSystem.IsMacOS() ? "Library/Caches" : ".cache");
        return folder.Length > 0 ? folder : System.IO.Path.GetTempPath();
    }

    // Written beside and renamed, so that an interrupted run leaves nothing under the right name. Two at once: the second finds the first one's.
    private static void Make(string folder)
    {
        var beside = $"{folder}.{Environment.ProcessId}.{Guid.NewGuid():N}";
        Directory.CreateDirectory(beside);
        try
        {
            RandomModel.Write(beside, Seed);
            Directory.Move(beside, folder);
        }
        catch (IOException) when (Directory.Exists(folder))
        {
            Directory.Delete(beside, recursive: true);
        }
        catch
        {
            Directory.Delete(beside, recursive: true);
            throw;
        }
    }
}
