using System.Text.Json;

namespace Hadal.Checkpoints.Files;

/// <summary>
/// The fields of one JSON object of a file, each read with the type and range it must have. A field that is absent or null takes the fallback; without
/// one that is an error too. Every error names file, field, expected and found.
/// </summary>
/// <param name="file">The file, for messages.</param>
/// <param name="element">The object.</param>
/// <param name="prefix">What stands before the field's name in messages, such as <c>rope_scaling.</c></param>
internal sealed class JsonFields(string file, JsonElement element, string prefix = "")
{
    /// <summary>The file, for messages.</summary>
    public string File => file;

    /// <summary>Whether a field is there and not null.</summary>
    public bool Has(string name) => Find(name) is not null;

    /// <summary>Whether a field is there and is null.</summary>
    public bool IsNull(string name) => element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Null;

    /// <summary>An integer from <paramref name="least"/> to <paramref name="most"/>.</summary>
    public int Int32(string name, int least, int most, int? fallback = null)
    {
        if (Find(name) is not { } value)
            return fallback ?? throw Missing(name, $"an integer from {least} to {most}");
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= least && number <= most
            ? number
            : throw Wrong(name, $"an integer from {least} to {most}", value);
    }

    /// <summary>A finite number from <paramref name="least"/> to <paramref name="most"/>.</summary>
    public double Number(string name, double least, double most, double? fallback = null)
    {
        if (Find(name) is not { } value)
            return fallback ?? throw Missing(name, $"a number from {least} to {most}");
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number >= least && number <= most
            ? number
            : throw Wrong(name, $"a number from {least} to {most}", value);
    }

    /// <summary>A truth value.</summary>
    public bool Boolean(string name, bool fallback)
    {
        if (Find(name) is not { } value)
            return fallback;
        return value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(name, "true or false", value);
    }

    /// <summary>A text, or null when it is absent.</summary>
    public string? Text(string name) => Find(name) is { } value ? TextOf(value) ?? throw Wrong(name, "a string", value) : null;

    /// <summary>An object, or null when it is absent.</summary>
    public JsonFields? Object(string name)
    {
        if (Find(name) is not { } value)
            return null;
        return value.ValueKind == JsonValueKind.Object ? new JsonFields(file, value, $"{prefix}{name}.") : throw Wrong(name, "an object", value);
    }

    /// <summary>The elements of an array, or null when it is absent.</summary>
    public IReadOnlyList<JsonElement>? Array(string name)
    {
        if (Find(name) is not { } value)
            return null;
        return value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : throw Wrong(name, "an array", value);
    }

    /// <summary>The value of a field, or null when it is absent or null.</summary>
    public JsonElement? Find(string name) =>
        element.TryGetProperty(name, out var value) && value.ValueKind is not (JsonValueKind.Null or JsonValueKind.Undefined) ? value : null;

    /// <summary>The text of a string value; null when it is another kind or no well-formed text.</summary>
    public static string? TextOf(JsonElement value)
    {
        try
        {
            return value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>The error for a field with a wrong value.</summary>
    public InvalidDataException Wrong(string name, string expected, JsonElement found) => Wrong(name, expected, Show(found));

    /// <summary>The error for a field with a wrong value.</summary>
    public InvalidDataException Wrong(string name, string expected, string found) =>
        BadFile.Field(file, prefix + name, $"expected {expected}, found {BadFile.Quote(found)}");

    private InvalidDataException Missing(string name, string expected) => BadFile.Field(file, prefix + name, $"expected {expected}, found no such field");

    private static string Show(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "an array",
        _ => value.GetRawText(),
    };
}
