using System.Xml.Linq;

namespace Hadal.House.Tests;

/// <summary>References go one way: Numerics, Checkpoints, Inference, Server, Cli (docs/ARCHITECTURE.md).</summary>
public sealed class DependencyTests
{
    // What each project may reference directly. A new project has to be entered here, and so thought about.
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["Hadal.Numerics"] = [],
        ["Hadal.Checkpoints"] = ["Hadal.Numerics"],
        ["Hadal.Inference"] = ["Hadal.Checkpoints", "Hadal.Numerics"],
        ["Hadal.Training"] = ["Hadal.Checkpoints", "Hadal.Numerics"],
        ["Hadal.Server"] = ["Hadal.Inference"],
        ["Hadal.Evaluation"] = ["Hadal.Inference", "Hadal.Checkpoints", "Hadal.Numerics"],
        ["Hadal.Cli"] = ["Hadal.Server", "Hadal.Evaluation", "Hadal.Training", "Hadal.Inference", "Hadal.Checkpoints", "Hadal.Numerics"],
    };

    [Fact]
    public void EveryProjectReferencesOnlyWhatIsBelowIt()
    {
        var wrong =
            from project in Projects("src/")
            let name = Path.GetFileNameWithoutExtension(project)
            from reference in References(project)
            where !Allowed.GetValueOrDefault(name, []).Contains(reference)
            select $"{name} references {reference}";
        Assert.Empty(wrong);
    }

    [Fact]
    public void EveryProjectIsEntered() =>
        Assert.Equal(Allowed.Keys.Order(), Projects("src/").Select(p => Path.GetFileNameWithoutExtension(p)!).Order());

    [Fact]
    public void EveryProjectHasTestsUnderTheSameName()
    {
        var tests = Projects("tests/").Select(p => Path.GetFileNameWithoutExtension(p)!).ToHashSet();
        Assert.All(Allowed.Keys, name => Assert.Contains($"{name}.Tests", tests));
    }

    [Fact]
    public void TheSolutionHoldsEveryProject()
    {
        var listed = XDocument.Parse(Repository.Read("Hadal.slnx")).Descendants("Project").Select(p => p.Attribute("Path")!.Value.Replace('\\', '/')).Order();
        Assert.Equal(Repository.Files.Where(f => f.EndsWith(".csproj", StringComparison.Ordinal)).Order(), listed);
    }

    [Fact]
    public void OnlyTheCommandLineWritesToTheConsole()
    {
        var wrong = Repository.Files
            .Where(f => f.StartsWith("src/", StringComparison.Ordinal) && !f.StartsWith("src/Hadal.Cli/", StringComparison.Ordinal) && f.EndsWith(".cs", StringComparison.Ordinal))
            .Where(f => System.Text.RegularExpressions.Regex.IsMatch(Repository.Read(f), @"\bConsole\.\w"));
        Assert.Empty(wrong);
    }

    private static IEnumerable<string> Projects(string below) =>
        Repository.Files.Where(f => f.StartsWith(below, StringComparison.Ordinal) && f.EndsWith(".csproj", StringComparison.Ordinal));

    private static IEnumerable<string> References(string project) =>
        XDocument.Parse(Repository.Read(project)).Descendants("ProjectReference")
            .Select(r => Path.GetFileNameWithoutExtension(r.Attribute("Include")!.Value.Replace('\\', '/'))!);
}
