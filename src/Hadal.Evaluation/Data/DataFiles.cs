using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Evaluation.Data;

/// <summary>The formats in which benchmarks are published, each read as rows of named fields.</summary>
internal static class DataFiles
{
    internal static readonly JsonDocumentOptions Lenient = new() { MaxDepth = 64, AllowDuplicateProperties = true };

    /// <summary>A file of JSON objects, one a line. Empty lines count for nothing.</summary>
    /// <exception cref="InvalidDataException">A line is no JSON object.</exception>
    public static IEnumerable<DataRow> JsonLines(string name, string text)
    {
        var number = 0;
        foreach (var line in text.Split('\n'))
        {
            if (string.IsNullOrWhiteSpace(line))
                continue;
            number++;
            yield return DataRow.Parse(name, number, line);
        }
    }

    /// <summary>The objects of a JSON array; an object counts as an array of one.</summary>
    /// <exception cref="InvalidDataException">The file is something else.</exception>
    public static IEnumerable<DataRow> JsonArray(string name, string text)
    {
        var root = Json(name, text);
        if (root.ValueKind == JsonValueKind.Object)
            return [new DataRow(name, 1, root)];
        if (root.ValueKind != JsonValueKind.Array)
            throw new InvalidDataException($"{name}: expected a JSON array of objects, found {root.ValueKind}");
        return root.EnumerateArray().Select((e, i) => new DataRow(name, i + 1, e));
    }

    /// <summary>Any JSON.</summary>
    /// <exception cref="InvalidDataException">It is not.</exception>
    public static JsonElement Json(string name, string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text, Lenient);
            return document.RootElement.Clone();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            throw new InvalidDataException($"{name}: expected JSON, found: {FirstLine(e.Message)}", e);
        }
    }

    /// <summary>Comma-separated values (RFC 4180) with fields named by <paramref name="header"/>, or by the first record where that is null.</summary>
    /// <exception cref="InvalidDataException">A quote is not closed, or a record has fewer fields than names.</exception>
    public static IEnumerable<DataRow> Csv(string name, string text, char delimiter = ',', IReadOnlyList<string>? header = null)
    {
        var records = Records(name, text, delimiter).ToList();
        var first = 0;
        if (header is null)
        {
            header = records.Count > 0 ? records[0] : [];
            first = 1;
        }

        for (var r = first; r < records.Count; r++)
        {
            var number = r - first + 1;
            if (records[r].Count < header.Count(h => h.Length > 0))
                throw new InvalidDataException($"{name}: item {number}: expected {header.Count} fields, found {records[r].Count}");
            var fields = new JsonObject();
            for (var f = 0; f < header.Count && f < records[r].Count; f++)
                fields[header[f]] = records[r][f];
            yield return new DataRow(name, number, JsonSerializer.SerializeToElement(fields));
        }
    }

    /// <summary>Splits comma-separated values into records.</summary>
    public static IEnumerable<List<string>> Records(string name, string text, char delimiter)
    {
        var record = new List<string>();
        var field = new StringBuilder();
        var (quoted, wasQuoted) = (false, false);
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (quoted)
            {
                if (c != '"')
                    field.Append(c);
                else if (i + 1 < text.Length && text[i + 1] == '"')
                    field.Append(text[i++]);
                else
                    quoted = false;
            }
            else if (c == '"' && field.Length == 0 && !wasQuoted)
            {
                (quoted, wasQuoted) = (true, true);
            }
            else if (c == delimiter || c == '\n')
            {
                record.Add(field.ToString());
                field.Clear();
                wasQuoted = false;
                if (c == '\n')
                {
                    if (record is not [""])
                        yield return record;
                    record = [];
                }
            }
            else if (c != '\r' || i + 1 >= text.Length || text[i + 1] != '\n')
            {
                field.Append(c);
            }
        }

        if (quoted)
            throw new InvalidDataException($"{name}: a quote is opened and never closed");
        if (field.Length == 0 && record.Count == 0)
            yield break;
        record.Add(field.ToString());
        yield return record;
    }

    internal static string FirstLine(string message) => message.Split('\n')[0].TrimEnd('\r');
}
