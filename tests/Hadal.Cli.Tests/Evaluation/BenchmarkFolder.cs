using System.Globalization;
using System.Text.Json;

namespace Hadal.Cli.Tests.Evaluation;

/// <summary>A folder of benchmarks with made-up items: options to choose from (CCPM), answers to write (NaturalQuestions), and texts.</summary>
internal sealed class BenchmarkFolder : IDisposable
{
    private readonly DirectoryInfo root = Directory.CreateTempSubdirectory("hadal-");

    /// <param name="lines">Questions of CCPM.</param>
    public BenchmarkFolder(int lines)
    {
        Write("ccpm/valid.jsonl", Enumerable.Range(0, lines).Select(i => JsonSerializer.Serialize(new { translation = $"sea {i}", choices = (string[])[$"a{i}", $"bb{i}", "ccc", "d"], answer = i % 4 })));
        Write("nq_open/NQ-open.dev.jsonl", Enumerable.Range(0, 8).Select(i => JsonSerializer.Serialize(new { question = $"which trench is number {i}", answer = (string[])[i.ToString(CultureInfo.InvariantCulture)] })));
        Write("texts.jsonl", ["{\"text\": \"The deep sea is dark.\"}", "{\"text\": \"深海\"}"]);
    }

    /// <summary>The folder.</summary>
    public string Path => root.FullName;

    /// <summary>The file of texts.</summary>
    public string Texts => In("texts.jsonl");

    /// <summary>A path below the folder.</summary>
    public string In(string name) => System.IO.Path.Combine(root.FullName, name);

    /// <summary>Writes a file of lines.</summary>
    public void Write(string name, IEnumerable<string> lines)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(In(name))!);
        File.WriteAllLines(In(name), lines);
    }

    public void Dispose() => root.Delete(recursive: true);
}
