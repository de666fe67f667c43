using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Hadal.Checkpoints.Files;
using Hadal.Training.Data;

namespace Hadal.Training.Runs;

/// <summary>Where a run stands, <c>training-state.json</c> of a checkpoint.</summary>
public sealed record RunState
{
    /// <summary>Steps done.</summary>
    public required int Step { get; init; }

    /// <summary>Tokens consumed.</summary>
    public required long Tokens { get; init; }

    /// <summary>Seconds of work so far, over all sessions.</summary>
    public required double Seconds { get; init; }

    /// <summary>Where the next batch begins.</summary>
    public required BatchPosition Data { get; init; }

    /// <summary>Of the tensors in training-state.safetensors, one after the other; empty while they are not written.</summary>
    public string TensorsSha256 { get; init; } = string.Empty;
}

/// <summary>The folder of a run: what lies where.</summary>
/// <remarks>
/// <c>recipe.json</c>, <c>tokenizer/</c>, <c>metrics.jsonl</c>, <c>checkpoints/step-00000200/</c> (a model folder with the training state in it), <c>plots/</c>, and when the run is
/// over <c>model/</c>.
/// </remarks>
public sealed class RunFolder
{
    private const string StateFile = "training-state.json";
    private const string TensorFile = "training-state.safetensors";
    private const string Partial = ".partial";
    private const string StepPrefix = "step-";
    private const int LargestState = 1 << 20;

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true,
    };

    /// <summary>Names a folder; nothing is made.</summary>
    public RunFolder(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        Path = path;
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The recipe with nothing left to look up.</summary>
    public string Recipe => In("recipe.json");

    /// <summary>The run's own copy of its tokenizer.</summary>
    public string Tokenizer => In("tokenizer");

    /// <summary>One line of JSON for each step, each validation and each evaluation.</summary>
    public string Metrics => In("metrics.jsonl");

    /// <summary>Pictures of the metrics.</summary>
    public string Plots => In("plots");

    /// <summary>What was made up for the run.</summary>
    public string Made => In("made");

    /// <summary>What the evaluation of a checkpoint leaves.</summary>
    public string Evaluation(int step) => System.IO.Path.Combine(In("evaluations"), System.IO.Path.GetFileName(Checkpoint(step)));

    /// <summary>The finished model.</summary>
    public string Model => In("model");

    private string Checkpoints => In("checkpoints");

    /// <summary>The place of a checkpoint.</summary>
    public string Checkpoint(int step) => System.IO.Path.Combine(Checkpoints, string.Create(CultureInfo.InvariantCulture, $"{StepPrefix}{step:D8}"));

    /// <summary>The whole checkpoints, newest first.</summary>
    public IReadOnlyList<(int Step, string Path)> Whole()
    {
        if (!Directory.Exists(Checkpoints))
            return [];
        var found =
            from folder in Directory.EnumerateDirectories(Checkpoints)
            let name = System.IO.Path.GetFileName(folder)
            where name.StartsWith(StepPrefix, StringComparison.Ordinal) && File.Exists(System.IO.Path.Combine(folder, StateFile))
            let step = int.TryParse(name.AsSpan(StepPrefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : -1
            where step >= 0
            orderby step descending
            select (step, folder);
        return [.. found];
    }

    /// <summary>Removes what a process left behind that died while it wrote.</summary>
    public void RemovePartial()
    {
        if (!Directory.Exists(Checkpoints))
            return;
        foreach (var folder in Directory.EnumerateDirectories(Checkpoints, $"*{Partial}"))
            Directory.Delete(folder, recursive: true);
    }

    /// <summary>Makes an empty folder beside the place of a checkpoint.</summary>
    internal string Beside(int step)
    {
        var path = Checkpoint(step) + Partial;
        if (Directory.Exists(path))
            Directory.Delete(path, recursive: true);
        Directory.CreateDirectory(path);
        return path;
    }

    /// <summary>Gives a checkpoint its name, and removes all but the newest.</summary>
    internal void Complete(int step, string beside, int keep)
    {
        var path = Checkpoint(step);
        if (Directory.Exists(path))
            Directory.Delete(path, recursive: true);
        Directory.Move(beside, path);
        foreach (var (old, folder) in Whole().Where(c => c.Step <= step).Skip(keep))
        {
            // Under another name first: a folder half deleted must not look like a checkpoint.
            var going = Checkpoint(old) + Partial;
            Directory.Move(folder, going);
            Directory.Delete(going, recursive: true);
        }
    }

    internal static string TensorsOf(string checkpoint) => System.IO.Path.Combine(checkpoint, TensorFile);

    internal static void WriteState(string checkpoint, RunState state)
    {
        using var stream = new FileStream(System.IO.Path.Combine(checkpoint, StateFile), FileMode.Create);
        JsonSerializer.Serialize(stream, state, Json);
        stream.Flush(flushToDisk: true);
    }

    /// <summary>Reads the state of a checkpoint.</summary>
    /// <exception cref="InvalidDataException">It is damaged.</exception>
    public static RunState ReadState(string checkpoint)
    {
        var path = System.IO.Path.Combine(checkpoint, StateFile);
        try
        {
            return JsonSerializer.Deserialize<RunState>(JsonFile.ReadBytes(path, LargestState), Json) ?? throw BadFile.Error(path, "expected an object, found null");
        }
        catch (JsonException e)
        {
            throw BadFile.Error(path, BadFile.Quote(e.Message));
        }
    }

    private string In(string name) => System.IO.Path.Combine(Path, name);
}
