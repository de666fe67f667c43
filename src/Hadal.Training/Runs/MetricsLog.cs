using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Training.Runs;

/// <summary>The metrics of a run as lines of JSON. Lines are flushed as they come; a resumed run takes back those after its checkpoint.</summary>
internal sealed class MetricsLog : IDisposable
{
    private readonly StreamWriter writer;

    /// <summary>Opens the log and drops what lies after a step, and half a line that a killed process left.</summary>
    public MetricsLog(string path, int lastStep)
    {
        var kept = new List<string>();
        if (File.Exists(path))
        {
            foreach (var line in File.ReadLines(path))
            {
                if (StepOf(line) is not { } step || step > lastStep)
                    break;
                kept.Add(line);
            }

            File.WriteAllLines(path + ".partial", kept);
            File.Move(path + ".partial", path, overwrite: true);
        }

        writer = new(new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite)) { NewLine = "\n" };
    }

    /// <summary>Writes a line.</summary>
    public void Write(JsonObject line)
    {
        writer.WriteLine(line.ToJsonString());
        writer.Flush();
    }

    /// <summary>The lines of a log, a broken last one left out.</summary>
    public static IEnumerable<JsonObject> Read(string path) =>
        File.Exists(path) ? File.ReadLines(path).Select(Parse).TakeWhile(line => line is not null).OfType<JsonObject>() : [];

    /// <inheritdoc/>
    public void Dispose() => writer.Dispose();

    private static int? StepOf(string line) => Parse(line)?["step"] is JsonValue step && step.TryGetValue<int>(out var number) ? number : null;

    private static JsonObject? Parse(string line)
    {
        try
        {
            return JsonNode.Parse(line) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
