using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Hadal.Evaluation.Data;

/// <summary>
/// The folder that a task reads its data from. Remembers every file that was read with its hash: a score belongs to these bytes. What is wrong with an item
/// is an error, or with <see cref="Collect"/> a note.
/// </summary>
public sealed class TaskData
{
    private readonly string given;
    private readonly string root;
    private readonly string prefix = string.Empty;
    private readonly SortedDictionary<string, string> hashes = new(StringComparer.Ordinal);

    /// <summary>A data folder.</summary>
    /// <param name="root">The folder that holds one folder for each benchmark, the benchmark's own folder, or for texts a single file.</param>
    /// <param name="folder">The benchmark's folder below it.</param>
    /// <exception cref="DirectoryNotFoundException">There is nothing.</exception>
    public TaskData(string root, string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(root);
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (!Directory.Exists(root) && !File.Exists(root))
            throw new DirectoryNotFoundException($"{root}: expected a folder of benchmarks, found nothing");
        var below = Path.Combine(root, folder);
        IsOwnFolder = Directory.Exists(below);
        given = root;
        this.root = IsOwnFolder ? below : root;
    }

    private TaskData(TaskData owner, string folder)
    {
        given = owner.given;
        root = Path.Combine(owner.given, folder);
        prefix = $"{folder}/";
        hashes = owner.hashes;
        Collect = owner.Collect;
        Problems = owner.Problems;
        Notes = owner.Notes;
    }

    /// <summary>Whether the benchmark has a folder of its own below the data folder.</summary>
    public bool IsOwnFolder { get; }

    /// <summary>Whether errors in items are collected instead of thrown.</summary>
    public bool Collect { get; init; }

    /// <summary>What was wrong, where errors are collected.</summary>
    public List<string> Problems { get; } = [];

    /// <summary>What a reader of the scores has to know about this data: a split that is missing, items left out.</summary>
    public List<string> Notes { get; } = [];

    /// <summary>SHA-256 of each file that was read, by its path below the folder.</summary>
    public IReadOnlyDictionary<string, string> Hashes => hashes;

    /// <summary>Paths below the folder that match one of the patterns, the first pattern that matches anything counting alone; in order of name.</summary>
    /// <param name="patterns">Paths with <c>*</c> in the file's name, in folders given as they are.</param>
    public IReadOnlyList<string> Find(params string[] patterns)
    {
        ArgumentNullException.ThrowIfNull(patterns);
        if (File.Exists(root))
            return [string.Empty];
        foreach (var pattern in patterns)
        {
            var folder = Path.Combine(root, Path.GetDirectoryName(pattern) ?? string.Empty);
            if (!Directory.Exists(folder))
                continue;
            var found = Directory.GetFiles(folder, Path.GetFileName(pattern)).Select(f => Path.GetRelativePath(root, f).Replace('\\', '/')).Order(StringComparer.Ordinal).ToList();
            if (found.Count > 0)
                return found;
        }

        return [];
    }

    /// <summary>As <see cref="Find"/>, for data that a task cannot do without.</summary>
    /// <exception cref="FileNotFoundException">Nothing matches.</exception>
    public IReadOnlyList<string> Require(params string[] patterns) =>
        Find(patterns) is { Count: > 0 } found ? found : throw new FileNotFoundException($"{root}: expected {string.Join(" or ", patterns)}, found no such file");

    /// <summary>Another benchmark's folder beside this one, whose examples are used too; null where it is not there.</summary>
    public TaskData? Sibling(string folder) => IsOwnFolder && Directory.Exists(Path.Combine(given, folder)) ? new TaskData(this, folder) : null;

    /// <summary>A whole file, as text.</summary>
    /// <exception cref="InvalidDataException">It is not UTF-8.</exception>
    public string ReadText(string file)
    {
        var bytes = File.ReadAllBytes(Full(file));
        hashes[Name(file)] = Convert.ToHexStringLower(SHA256.HashData(bytes));
        var content = bytes.AsSpan();
        if (content.StartsWith("\uFEFF"u8))
            content = content[3..];
        if (!System.Text.Unicode.Utf8.IsValid(content))
            throw new InvalidDataException($"{Shown(file)}: expected UTF-8");
        return Encoding.UTF8.GetString(content);
    }

    /// <summary>Rows of a file; its name says in which format: .jsonl, .json, .csv, .parquet. A tab-separated file has to be read with <see cref="Csv"/>.</summary>
    public IReadOnlyList<DataRow> Rows(string file)
    {
        switch (Path.GetExtension(Full(file)))
        {
            case ".json":
                // Several benchmarks call a file of JSON lines .json.
                var text = ReadText(file);
                return text.AsSpan().TrimStart() is ['[', ..] || text.TrimEnd().IndexOf('\n', StringComparison.Ordinal) is var end && end > 0 && text[..end].TrimEnd() == "{"
                    ? Guarded(() => DataFiles.JsonArray(Shown(file), text))
                    : Lines(file, text);
            case ".csv":
                return Csv(file);
            case ".parquet":
                hashes[Name(file)] = Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Full(file))));
                return Guarded(() => ParquetRows.Read(Full(file), Shown(file)));
            default:
                return Lines(file, ReadText(file));
        }
    }

    /// <summary>Any JSON.</summary>
    public JsonElement Json(string file) => DataFiles.Json(Shown(file), ReadText(file));

    /// <summary>Delimited values, with these names or those of the first record.</summary>
    public IReadOnlyList<DataRow> Csv(string file, char delimiter = ',', IReadOnlyList<string>? header = null) =>
        Guarded(() => DataFiles.Csv(Shown(file), ReadText(file), delimiter, header));

    /// <summary>Turns rows into items. An item that is wrong is an error, or a problem noted and left out.</summary>
    public List<T> Items<T>(IEnumerable<DataRow> rows, Func<DataRow, T> read)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(read);
        var items = new List<T>();
        foreach (var row in rows)
        {
            try
            {
                items.Add(read(row));
            }
            catch (InvalidDataException e) when (Collect)
            {
                Problems.Add(e.Message);
            }
        }

        return items;
    }

    /// <summary>The path for messages.</summary>
    public string Shown(string file) => Full(file);

    // Line by line, so that one bad line does not hide the others.
    private List<DataRow> Lines(string file, string text)
    {
        if (!Collect)
            return [.. DataFiles.JsonLines(Shown(file), text)];
        var rows = new List<DataRow>();
        var number = 0;
        foreach (var line in text.Split('\n').Where(l => !string.IsNullOrWhiteSpace(l)))
        {
            number++;
            rows.AddRange(Guarded(() => DataFiles.JsonLines(Shown(file), line)).Select(r => r with { Number = number }));
        }

        return rows;
    }

    private List<DataRow> Guarded(Func<IEnumerable<DataRow>> read)
    {
        try
        {
            return [.. read()];
        }
        catch (InvalidDataException e) when (Collect)
        {
            Problems.Add(e.Message);
            return [];
        }
    }

    private string Full(string file) => file.Length == 0 ? root : Path.Combine(root, file);

    private string Name(string file) => prefix + (file.Length == 0 ? Path.GetFileName(root) : file);
}
