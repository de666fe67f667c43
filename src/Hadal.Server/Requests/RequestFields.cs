using System.Globalization;
using System.Text.Json;

namespace Hadal.Server.Requests;

/// <summary>
/// The fields of one JSON object of a request. What is there is checked as it is read, and what is wrong is said with the field's path; null counts as
/// absent, and fields that nobody reads are ignored, as OpenAI does both.
/// </summary>
/// <param name="element">A JSON object.</param>
/// <param name="path">Its path in the request; empty for the request itself.</param>
internal readonly struct RequestFields(JsonElement element, string path = "")
{
    /// <summary>The object as it came.</summary>
    public JsonElement Element => element;

    /// <summary>The path of a field.</summary>
    public string PathOf(string name) => path.Length == 0 ? name : $"{path}.{name}";

    /// <summary>A field as it came; null where it is absent.</summary>
    public JsonElement? Get(string name) => element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>Whether a field is there.</summary>
    public bool Has(string name) => Get(name) is not null;

    /// <summary>A string.</summary>
    public string? Text(string name, int maxLength = int.MaxValue)
    {
        if (Get(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.String)
            throw WrongType(PathOf(name), "a string", value);
        return TextOf(value, PathOf(name), maxLength);
    }

    /// <summary>A string that has to be there.</summary>
    public string RequiredText(string name, int maxLength = int.MaxValue) => Text(name, maxLength) ?? throw Missing(name);

    /// <summary>A number.</summary>
    public double? Number(string name, double min = double.MinValue, double max = double.MaxValue)
    {
        if (Get(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Number)
            throw WrongType(PathOf(name), "a decimal", value);
        var number = value.TryGetDouble(out var d) && double.IsFinite(d) ? d : throw WrongType(PathOf(name), "a finite decimal", value);
        return number < min ? throw OutOfRange(PathOf(name), "decimal", "below minimum value", "decimal_below_min_value", $">= {Show(min)}", Show(number))
            : number > max ? throw OutOfRange(PathOf(name), "decimal", "above maximum value", "decimal_above_max_value", $"<= {Show(max)}", Show(number))
            : number;
    }

    /// <summary>A whole number.</summary>
    public long? Integer(string name, long min = long.MinValue, long max = long.MaxValue)
    {
        if (Get(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Number)
            throw WrongType(PathOf(name), "an integer", value);
        long number;
        if (!value.TryGetInt64(out number))
        {
            // 16.0 is whole; 1e30 is out of every range.
            if (!value.TryGetDouble(out var d) || d != Math.Floor(d) || Math.Abs(d) > long.MaxValue / 2)
                throw WrongType(PathOf(name), "an integer", value);
            number = (long)d;
        }

        return number < min ? throw OutOfRange(PathOf(name), "integer", "below minimum value", "integer_below_min_value", $">= {min}", $"{number}")
            : number > max ? throw OutOfRange(PathOf(name), "integer", "above maximum value", "integer_above_max_value", $"<= {max}", $"{number}")
            : number;
    }

    /// <summary>True or false.</summary>
    public bool? Flag(string name) => Get(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } value => throw WrongType(PathOf(name), "a boolean", value),
    };

    /// <summary>An object.</summary>
    public RequestFields? Object(string name) => Get(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Object } value => new RequestFields(value, PathOf(name)),
        { } value => throw WrongType(PathOf(name), "an object", value),
    };

    /// <summary>An object that has to be there.</summary>
    public RequestFields RequiredObject(string name) => Object(name) ?? throw Missing(name);

    /// <summary>The elements of an array, each with its path.</summary>
    public IReadOnlyList<(JsonElement Value, string Path)>? Array(string name, int maxLength = int.MaxValue)
    {
        if (Get(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Array)
            throw WrongType(PathOf(name), "an array", value);
        return Elements(value, PathOf(name), maxLength);
    }

    /// <summary>The objects of an array.</summary>
    public IReadOnlyList<RequestFields> Objects(string name, int maxLength = int.MaxValue) =>
        [.. (Array(name, maxLength) ?? []).Select(e => Of(e.Value, e.Path))];

    /// <summary>One of a few words.</summary>
    public string? OneOf(string name, params ReadOnlySpan<string> words)
    {
        if (Text(name) is not { } text)
            return null;
        return words.Contains(text) ? text : throw NoSuchValue(PathOf(name), text, words);
    }

    /// <summary>An element of an array as an object.</summary>
    public static RequestFields Of(JsonElement value, string path) =>
        value.ValueKind == JsonValueKind.Object ? new RequestFields(value, path) : throw WrongType(path, "an object", value);

    /// <summary>The elements of an array, each with its path.</summary>
    public static IReadOnlyList<(JsonElement Value, string Path)> Elements(JsonElement array, string path, int maxLength)
    {
        var length = array.GetArrayLength();
        if (length > maxLength)
            throw new RequestRejectedException($"Invalid '{path}': array too long. Expected an array with maximum length {maxLength}, but got an array with length {length} instead.", path, "array_above_max_length");
        var list = new List<(JsonElement, string)>(length);
        foreach (var value in array.EnumerateArray())
            list.Add((value, $"{path}[{list.Count}]"));
        return list;
    }

    /// <summary>The text of a JSON string; half a surrogate pair is refused here rather than turned into something else later.</summary>
    public static string TextOf(JsonElement value, string path, int maxLength = int.MaxValue)
    {
        string text;
        try
        {
            text = value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new RequestRejectedException($"Invalid '{path}': expected well-formed Unicode text.", path, "invalid_value");
        }

        return text.Length <= maxLength ? text
            : throw new RequestRejectedException($"Invalid '{path}': string too long. Expected a string with maximum length {maxLength}, but got a string with length {text.Length} instead.", path, "string_above_max_length");
    }

    /// <summary>A field that has to be there is not.</summary>
    public RequestRejectedException Missing(string name) => new($"Missing required parameter: '{PathOf(name)}'.", PathOf(name), "missing_required_parameter");

    /// <summary>A field of a wrong type.</summary>
    public static RequestRejectedException WrongType(string path, string expected, JsonElement found) =>
        new($"Invalid type for '{path}': expected {expected}, but got {Kind(found)} instead.", path, "invalid_type");

    /// <summary>A field with a word that is none of those known.</summary>
    public static RequestRejectedException NoSuchValue(string path, string found, params ReadOnlySpan<string> words) =>
        new($"Invalid value: '{Cut(found)}'. Supported values are: {string.Join(", ", words.ToArray().Select(w => $"'{w}'"))}.", path, "invalid_value");

    private static RequestRejectedException OutOfRange(string path, string kind, string what, string code, string expected, string found) =>
        new($"Invalid '{path}': {kind} {what}. Expected a value {expected}, but got {found} instead.", path, code);

    private static string Show(double number) => number.ToString("R", CultureInfo.InvariantCulture);

    private static string Cut(string text) => text.Length <= 64 ? text : $"{text[..64]}…";

    private static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => "a string",
        JsonValueKind.Number when value.TryGetInt64(out _) => "an integer",
        JsonValueKind.Number => "a decimal",
        JsonValueKind.True or JsonValueKind.False => "a boolean",
        JsonValueKind.Array => "an array",
        JsonValueKind.Object => "an object",
        _ => "null",
    };
}
