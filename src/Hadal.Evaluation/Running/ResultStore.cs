using System.Text.Json;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Reports;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Running;

/// <summary>The output folder: results.json, report.md, report.html, and items/TASK.jsonl. Tasks that were run into it before stay, if the model is the same.</summary>
public sealed class ResultStore
{
    private const string FileName = "results.json";

    private readonly string? folder;
    private readonly Dictionary<string, TaskResult> earlier = [];
    private readonly Dictionary<string, IReadOnlyList<ItemResult>> items = [];

    /// <summary>Opens an output folder, or none.</summary>
    /// <exception cref="InvalidDataException">It holds results of another model.</exception>
    internal ResultStore(string? folder, ModelIdentity model)
    {
        this.folder = folder;
        if (folder is null || !File.Exists(Path.Combine(folder, FileName)))
            return;
        var before = Read(folder);
        if (before.Model.Hash != model.Hash)
            throw new InvalidDataException($"{Path.Combine(folder, FileName)}: holds results of another model, {before.Model.Name}");
        earlier = before.Tasks.ToDictionary(t => t.Task);
    }

    /// <summary>Reads the results in an output folder.</summary>
    /// <param name="path">The folder, or its results.json.</param>
    /// <exception cref="InvalidDataException">The file is something else.</exception>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    public static RunResults Read(string path)
    {
        var file = Directory.Exists(path) ? Path.Combine(path, FileName) : path;
        if (!File.Exists(file))
            throw new FileNotFoundException($"{file}: expected results of 'hadal eval', found no such file");
        try
        {
            return JsonSerializer.Deserialize<RunResults>(File.ReadAllBytes(file), RunResults.Json) ?? throw new InvalidDataException($"{file}: expected results, found null");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{file}: expected results of 'hadal eval', found: {e.Message.Split('\n')[0]}", e);
        }
    }

    /// <summary>Takes a task's result and items, for the reports.</summary>
    internal void Add(TaskResult result, IReadOnlyList<ItemResult> results)
    {
        earlier[result.Task] = result;
        items[result.Task] = results;
    }

    /// <summary>Writes everything.</summary>
    internal void Write(RunResults results)
    {
        if (folder is null)
            return;
        Directory.CreateDirectory(folder);
        var all = results with { Tasks = [.. Benchmarks.All.Select(b => earlier.GetValueOrDefault(b.Info.Name)).OfType<TaskResult>()] };
        Replace(FileName, JsonSerializer.Serialize(all, RunResults.Json) + "\n");
        Replace("report.md", MarkdownReport.Of(all));
        Replace("report.html", HtmlReport.Of(all, task => items.GetValueOrDefault(task) ?? ItemLog.Read(folder, task)));
    }

    private void Replace(string name, string text)
    {
        var path = Path.Combine(folder!, name);
        File.WriteAllText(path + ".partial", text);
        File.Move(path + ".partial", path, overwrite: true);
    }
}
