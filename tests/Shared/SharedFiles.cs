namespace Hadal.Tests;

/// <summary>The folder of golden files beside the repository. Tests that use it skip with a message where it is absent.</summary>
internal static class SharedFiles
{
    private static readonly string? Root = Find();

    /// <summary>The path of a golden file or folder; skips the running test when it is not there.</summary>
    public static string Path(params string[] parts)
    {
        var path = Root is null ? null : System.IO.Path.Combine([Root, .. parts]);
        Assert.SkipWhen(path is null || !(File.Exists(path) || Directory.Exists(path)), $"shared/{string.Join('/', parts)} is not on this machine");
        return path!;
    }

    private static string? Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (!File.Exists(System.IO.Path.Combine(folder.FullName, "Hadal.slnx")))
                continue;
            var shared = System.IO.Path.Combine(folder.Parent?.FullName ?? "/", "shared");
            return Directory.Exists(shared) ? shared : null;
        }

        return null;
    }
}
