using System.Text.RegularExpressions;

namespace Hadal.House.Tests;

/// <summary>Files stay small enough to be read, and hold nothing of the machine they were written on.</summary>
public sealed partial class FileTests
{
    private const int MostLines = 600;
    private const int MostBytes = 24 * 1024;
    private static readonly string[] Drawers = ["Core", "Common", "Utils", "Utilities", "Helpers", "Misc", "Abstractions"];

    [Fact]
    public void NoSourceFileIsTooLongToRead()
    {
        var wrong =
            from file in Repository.Files
            where file.EndsWith(".cs", StringComparison.Ordinal)
            let lines = Repository.Read(file).Count(c => c == '\n')
            let bytes = new FileInfo(Path.Combine(Repository.Root, file)).Length
            where lines > MostLines || bytes > MostBytes
            select $"{file}: {lines} lines, {bytes} bytes; at most {MostLines} lines and {MostBytes} bytes";
        Assert.Empty(wrong);
    }

    [Fact]
    public void NoFolderIsADrawer()
    {
        var wrong = Repository.Files.Where(f => f.Split('/').SkipLast(1).Any(folder => Drawers.Contains(folder.Split('.')[^1], StringComparer.OrdinalIgnoreCase)));
        Assert.Empty(wrong);
    }

    [Fact]
    public void NoFileNamesAPathOfSomebodysMachine()
    {
        var wrong =
            from file in Repository.Files
            where TextFile().IsMatch(file)
            from Match match in MachinePath().Matches(Repository.Read(file))
            select $"{file}: {match.Value}";
        Assert.Empty(wrong);
    }

    [Fact]
    public void EverySourceFileUsesAFileScopedNamespaceOrIsAProgram()
    {
        var wrong = Repository.Files
            .Where(f => f.EndsWith(".cs", StringComparison.Ordinal) && !f.EndsWith("/Program.cs", StringComparison.Ordinal))
            .Where(f => !Repository.Read(f).Contains("\nnamespace Hadal", StringComparison.Ordinal) && !Repository.Read(f).StartsWith("namespace Hadal", StringComparison.Ordinal));
        Assert.Empty(wrong);
    }

    // Spelled in pieces, so that this file does not find itself.
    [GeneratedRegex("(?<![\\w.])/(?:" + "home|Users|root|work" + ")/[\\w.-]+|\\b[A-Z]:\\\\" + "Users\\\\")]
    private static partial Regex MachinePath();

    [GeneratedRegex(@"\.(cs|csproj|props|slnx|json|jsonc|md|txt|yml|yaml|svg|editorconfig|gitignore)$|^\.ci/")]
    private static partial Regex TextFile();
}
