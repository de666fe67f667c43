using System.Runtime.CompilerServices;

namespace Hadal.Cli.Tests;

internal static class ModuleSetup
{
    // The demo model of these tests is not the user's.
    [ModuleInitializer]
    internal static void UseACacheFolderOfOurOwn() =>
        Environment.SetEnvironmentVariable("XDG_CACHE_HOME", Path.Combine(Path.GetTempPath(), $"hadal-tests-{Environment.UserName}"));
}
