using System.Diagnostics;

namespace Hadal.House.Tests;

/// <summary>The files of this repository, as committed or about to be.</summary>
internal static class Repository
{
    private static readonly string[] Unwatched = ["bin", "obj", "TestResults", "artifacts", ".git", ".vs", ".idea", "BenchmarkDotNet.Artifacts", "node_modules"];

    /// <summary>The folder that holds Hadal.slnx.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Every file outside build output, with a path from the root in forward slashes.</summary>
    public static IReadOnlyList<string> Files { get; } = List(Root).Select(f => Path.GetRelativePath(Root, f).Replace('\\', '/')).Order().ToList();

    /// <summary>The text of a file.</summary>
    public static string Read(string file) => File.ReadAllText(Path.Combine(Root, file));

    /// <summary>README and the pages of docs.</summary>
    public static IEnumerable<string> Pages => Files.Where(f => f.EndsWith(".md", StringComparison.Ordinal) && (f == "README.md" || f.StartsWith("docs/", StringComparison.Ordinal)));

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx")))
                return folder.FullName;
        }

        throw new UnreachableException("the tests run from a build inside the repository");
    }

    private static IEnumerable<string> List(string folder)
    {
        foreach (var file in Directory.EnumerateFiles(folder))
            yield return file;
        foreach (var below in Directory.EnumerateDirectories(folder).Where(d => !Unwatched.Contains(Path.GetFileName(d))))
        {
            foreach (var file in List(below))
                yield return file;
        }
    }
}
