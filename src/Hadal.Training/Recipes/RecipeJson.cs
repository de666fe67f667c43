using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Hadal.Checkpoints.Files;

namespace Hadal.Training.Recipes;

/// <summary>
/// Turns JSON into records strictly: every key must be one of the record's, every value of its kind. The walk goes before the serializer and finds what is
/// wrong with path, expected and found; the serializer then has nothing left to complain about but what the walk does not know.
/// </summary>
internal static class RecipeJson
{
    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false) },
        TypeInfoResolver = new DefaultJsonTypeInfoResolver(),
    };

    /// <summary>Binds an object.</summary>
    /// <param name="file">For errors.</param>
    /// <param name="node">The object; numbers such as 14.8e12 are rewritten in it where whole ones are wanted.</param>
    public static T Bind<T>(string file, JsonObject node)
    {
        Check(file, string.Empty, node, typeof(T), value => throw new InvalidOperationException($"the root was replaced by {value}"));
        try
        {
            return node.Deserialize<T>(Options)!;
        }
        catch (JsonException e)
        {
            throw BadFile.Error(file, BadFile.Quote(e.Message));
        }
    }

    /// <summary>Adds the keys of <paramref name="delta"/> to <paramref name="target"/>, object by object; other values are replaced.</summary>
    public static void Merge(JsonObject target, JsonObject delta)
    {
        foreach (var (key, value) in delta)
        {
            if (value is JsonObject inner && target[key] is JsonObject below)
                Merge(below, inner);
            else
                target[key] = value?.DeepClone();
        }
    }

    private static void Check(string file, string path, JsonNode? node, Type type, Action<JsonNode> replace)
    {
        if (Nullable.GetUnderlyingType(type) is { } underlying)
        {
            if (node is not null)
                Check(file, path, node, underlying, replace);
            return;
        }

        if (node is null && !type.IsValueType)
            return;
        if (type == typeof(JsonObject))
            Require(node is JsonObject, "an object");
        else if (type == typeof(Schedule) && node is JsonValue number && number.GetValueKind() == JsonValueKind.Number)
            replace(new JsonObject { ["stages"] = new JsonArray(new JsonObject { ["value"] = number.DeepClone() }) });
        else if (type == typeof(string))
            Require(node?.GetValueKind() == JsonValueKind.String, "a string");
        else if (type == typeof(bool))
            Require(node?.GetValueKind() is JsonValueKind.True or JsonValueKind.False, "true or false");
        else if (type == typeof(double))
            Require(node?.GetValueKind() == JsonValueKind.Number && node.AsValue().TryGetValue<double>(out var value) && double.IsFinite(value), "a number");
        else if (type == typeof(int) || type == typeof(long))
            CheckInteger(file, path, node, type == typeof(int) ? int.MaxValue : long.MaxValue, replace);
        else if (type.IsEnum)
        {
            var names = Enum.GetNames(type).Select(n => JsonNamingPolicy.SnakeCaseLower.ConvertName(n)).ToList();
            Require(node?.GetValueKind() == JsonValueKind.String && names.Contains(node.GetValue<string>()), $"one of {string.Join(", ", names)}");
        }
        else if (Options.GetTypeInfo(type) is { Kind: JsonTypeInfoKind.Enumerable } list)
        {
            Require(node is JsonArray, "an array");
            var array = (JsonArray)node!;
            for (var i = 0; i < array.Count; i++)
            {
                var at = i;
                Require(array[i] is not null, "no null in the array");
                Check(file, $"{path}[{i}]", array[i], list.ElementType!, made => array[at] = made);
            }
        }
        else
            CheckObject(file, path, node as JsonObject ?? throw Wrong(file, path, type == typeof(Schedule) ? "a number or {\"stages\": [...]}" : "an object", node), type);

        void Require(bool holds, string expected)
        {
            if (!holds)
                throw Wrong(file, path, expected, node);
        }
    }

    private static void CheckObject(string file, string path, JsonObject node, Type type)
    {
        var properties = Options.GetTypeInfo(type).Properties;
        foreach (var (key, value) in node.ToList())
        {
            var below = path.Length == 0 ? key : $"{path}.{key}";
            var property = properties.FirstOrDefault(p => p.Name == key)
                ?? throw BadFile.Error(file, $"{BadFile.Quote(below)}: there is no such key; allowed here: {string.Join(", ", properties.Select(p => p.Name).Order(StringComparer.Ordinal))}");
            Check(file, below, value, property.PropertyType, made => node[key] = made);
        }

        foreach (var property in properties.Where(p => p.IsRequired && node[p.Name] is null))
            throw BadFile.Error(file, $"{(path.Length == 0 ? property.Name : $"{path}.{property.Name}")}: expected this key, found none");
    }

    private static void CheckInteger(string file, string path, JsonNode? node, long most, Action<JsonNode> replace)
    {
        if (node is JsonValue value && value.GetValueKind() == JsonValueKind.Number)
        {
            if (value.TryGetValue<long>(out var whole) && Math.Abs(whole) <= most)
                return;
            if (value.TryGetValue<double>(out var number) && number == Math.Floor(number) && Math.Abs(number) < Math.Min(most, 1L << 53))
            {
                replace(JsonValue.Create((long)number));
                return;
            }
        }

        throw Wrong(file, path, $"a whole number up to {most}", node);
    }

    private static InvalidDataException Wrong(string file, string path, string expected, JsonNode? found) =>
        BadFile.Error(file, $"{BadFile.Quote(path)}: expected {expected}, found {(found is null ? "null" : BadFile.Quote(found.ToJsonString()))}");
}
