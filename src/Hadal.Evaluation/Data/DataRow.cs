using System.Globalization;
using System.Text.Json;

namespace Hadal.Evaluation.Data;

/// <summary>
/// One item of a data file, whatever the file's format. Fields are read with the type they must have; every error names file, item, field, expected and found.
/// </summary>
/// <param name="File">The file, for messages.</param>
/// <param name="Number">1-based number of the item in the file.</param>
/// <param name="Element">An object.</param>
public sealed record DataRow(string File, int Number, JsonElement Element)
{
    private const int LongestQuote = 60;

    /// <summary>Reads a line of a file of JSON lines.</summary>
    /// <exception cref="InvalidDataException">It is no JSON object.</exception>
    public static DataRow Parse(string file, int number, string line)
    {
        try
        {
            using var document = JsonDocument.Parse(line, DataFiles.Lenient);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new DataRow(file, number, document.RootElement.Clone())
                : throw new InvalidDataException($"{file}: item {number}: expected a JSON object, found {document.RootElement.ValueKind}");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            throw new InvalidDataException($"{file}: item {number}: expected a JSON object, found: {DataFiles.FirstLine(e.Message)}", e);
        }
    }

    /// <summary>Whether one of these fields is there and not null.</summary>
    public bool Has(params string[] names) => Find(names) is not null;

    /// <summary>A text. Numbers are given as they are written.</summary>
    /// <param name="names">Names that the field may have; the first that is there counts.</param>
    public string Text(params string[] names) => Find(names) is { } value ? Text(value) ?? throw Wrong(names[0], "a text", value) : throw Missing(names);

    /// <summary>A text, or null where none of the fields is there.</summary>
    public string? TextOrNull(params string[] names) => Find(names) is { } value ? Text(value) ?? throw Wrong(names[0], "a text", value) : null;

    /// <summary>A whole number from <paramref name="least"/> to <paramref name="most"/>; may be written as a text.</summary>
    public int Integer(string name, int least, int most)
    {
        var value = Find(name) ?? throw Missing(name);
        return Text(value) is { } text && int.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most
            ? number
            : throw Wrong(name, $"a whole number from {least} to {most}", value);
    }

    /// <summary>The texts of an array.</summary>
    /// <param name="name">Field.</param>
    /// <param name="least">Fewest there may be.</param>
    public IReadOnlyList<string> Texts(string name, int least = 1)
    {
        var value = Find(name) ?? throw Missing(name);
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() < least)
            throw Wrong(name, $"an array of at least {least} texts", value);
        return [.. value.EnumerateArray().Select(e => Text(e) ?? throw Wrong(name, "an array of texts", e))];
    }

    /// <summary>The objects of an array.</summary>
    public IReadOnlyList<DataRow> Rows(string name)
    {
        var value = Find(name) ?? throw Missing(name);
        return value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(e => e.ValueKind == JsonValueKind.Object)
            ? [.. value.EnumerateArray().Select(e => new DataRow(File, Number, e))]
            : throw Wrong(name, "an array of objects", value);
    }

    /// <summary>An object.</summary>
    public DataRow Row(string name)
    {
        var value = Find(name) ?? throw Missing(name);
        return value.ValueKind == JsonValueKind.Object ? new DataRow(File, Number, value) : throw Wrong(name, "an object", value);
    }

    /// <summary>A letter of an option, A for 0, or its number.</summary>
    /// <param name="name">Field.</param>
    /// <param name="options">How many options there are.</param>
    public int Option(string name, int options)
    {
        var text = Text(name).Trim();
        var index = text is [>= 'A' and <= 'Z' or >= 'a' and <= 'z'] ? char.ToUpperInvariant(text[0]) - 'A'
            : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : -1;
        return index >= 0 && index < options ? index : throw Wrong(name, $"one of {options} options, by letter or number", Find(name)!.Value);
    }

    /// <summary>The error for what is wrong with this item.</summary>
    public InvalidDataException Error(string what) => new($"{File}: item {Number}: {what}");

    /// <summary>The error for a field with a wrong value.</summary>
    public InvalidDataException Wrong(string name, string expected, JsonElement found) => Error($"'{name}': expected {expected}, found {Quote(found)}");

    private static string Quote(JsonElement value)
    {
        var raw = value.GetRawText().ReplaceLineEndings(" ");
        return raw.Length <= LongestQuote ? raw : $"{raw[..LongestQuote]}…";
    }

    private static string? Text(JsonElement value)
    {
        try
        {
            return value.ValueKind switch
            {
                JsonValueKind.String => value.GetString(),
                JsonValueKind.Number => value.GetRawText(),
                _ => null,
            };
        }
        catch (InvalidOperationException)
        {
            // A text with half a surrogate pair.
            return null;
        }
    }

    private InvalidDataException Missing(params string[] names) => Error($"expected a field '{string.Join("' or '", names)}', found {Fields()}");

    private string Fields() => Element.ValueKind == JsonValueKind.Object ? string.Join(", ", Element.EnumerateObject().Take(12).Select(p => p.Name)) : Element.ValueKind.ToString();

    private JsonElement? Find(params string[] names)
    {
        foreach (var name in names)
        {
            if (Element.ValueKind == JsonValueKind.Object && Element.TryGetProperty(name, out var value) && value.ValueKind is not (JsonValueKind.Null or JsonValueKind.Undefined))
                return value;
        }

        return null;
    }
}
