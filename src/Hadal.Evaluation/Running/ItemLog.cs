using System.Text;
using System.Text.Json;

namespace Hadal.Evaluation.Running;

/// <summary>
/// The items of one task as they are done: a file of JSON lines whose first says to which setting and model they belong. An interrupted run is taken up where
/// the file ends; half a line, as a crash leaves it, counts for nothing.
/// </summary>
internal sealed class ItemLog : IDisposable
{
    private readonly FileStream? stream;

    private ItemLog(FileStream? stream, Dictionary<string, ItemResult> done)
    {
        this.stream = stream;
        Done = done;
    }

    /// <summary>Items that an earlier run has done, by id.</summary>
    public Dictionary<string, ItemResult> Done { get; }

    /// <summary>Opens or begins the log of a task.</summary>
    /// <param name="folder">The output folder; null keeps nothing.</param>
    /// <param name="task">The task's name.</param>
    /// <param name="key">Hash of setting and model.</param>
    /// <exception cref="InvalidDataException">The file belongs to another setting or model.</exception>
    public static ItemLog Open(string? folder, string task, string key)
    {
        if (folder is null)
            return new ItemLog(null, []);
        Directory.CreateDirectory(Path.Combine(folder, "items"));
        var path = Path.Combine(folder, "items", $"{task}.jsonl");
        var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        try
        {
            return new ItemLog(file, file.Length == 0 ? Begin(file, key) : Resume(file, path, key));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The items of a task that another run has done, or null.</summary>
    public static IReadOnlyList<ItemResult>? Read(string folder, string task)
    {
        var path = Path.Combine(folder, "items", $"{task}.jsonl");
        return File.Exists(path) ? [.. File.ReadLines(path).Skip(1).Select(l => JsonSerializer.Deserialize<ItemResult>(l, RunResults.JsonLine)!)] : null;
    }

    /// <summary>Adds items that were done, and makes sure of them.</summary>
    public void Add(IEnumerable<ItemResult> items)
    {
        if (stream is null)
            return;
        foreach (var item in items)
            Write(stream, item);
        stream.Flush();
    }

    /// <inheritdoc/>
    public void Dispose() => stream?.Dispose();

    private static Dictionary<string, ItemResult> Begin(FileStream stream, string key)
    {
        Write(stream, new Heading(key));
        stream.Flush();
        return [];
    }

    private static Dictionary<string, ItemResult> Resume(FileStream stream, string path, string key)
    {
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        var whole = bytes.AsSpan(0, bytes.AsSpan().LastIndexOf((byte)'\n') + 1);
        var lines = Encoding.UTF8.GetString(whole).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (lines.Length == 0)
        {
            stream.SetLength(0);
            return Begin(stream, key);
        }

        try
        {
            if (JsonSerializer.Deserialize<Heading>(lines[0], RunResults.JsonLine)?.Key != key)
                throw new InvalidDataException($"{path}: holds results of another setting or model");
            var done = lines.Skip(1).Select(l => JsonSerializer.Deserialize<ItemResult>(l, RunResults.JsonLine)!).ToList();
            stream.SetLength(whole.Length);
            stream.Position = whole.Length;
            return done.DistinctBy(i => i.Id).ToDictionary(i => i.Id);
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{path}: expected results of an earlier run, found: {e.Message.Split('\n')[0]}", e);
        }
    }

    private static void Write<T>(FileStream stream, T value)
    {
        stream.Write(JsonSerializer.SerializeToUtf8Bytes(value, RunResults.JsonLine));
        stream.WriteByte((byte)'\n');
    }

    private sealed record Heading(string Key);
}
