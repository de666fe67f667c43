using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Inference.Constraints;

/// <summary>Schemas that hold together, as one schema.</summary>
internal static class SchemaMerge
{
    private const int MostAlternatives = 256;

    private static readonly string[] NotMerged = ["$defs", "definitions", "title", "description", "default", "examples", "$schema", "$id", "$comment"];

    /// <summary>A schema with <c>allOf</c>, as one without.</summary>
    public static JsonElement AllOf(JsonElement schema, JsonElement all, string path, Func<string, string, JsonElement> resolve)
    {
        if (all.ValueKind != JsonValueKind.Array || all.GetArrayLength() == 0)
            throw new ConstraintException("expected an array that is not empty", $"{path}/allOf");
        var merged = Without(schema, "allOf");
        foreach (var part in all.EnumerateArray())
            merged = merged.Count == 0 ? Object(Resolved(part, path, resolve), path) : Merge(merged, Object(Resolved(part, path, resolve), path), $"{path}/allOf");
        return JsonSerializer.SerializeToElement(merged);
    }

    /// <summary>A branch of <c>anyOf</c> or <c>oneOf</c> with what stands beside the keyword.</summary>
    public static JsonElement Beside(JsonElement schema, JsonElement branch, string keyword, string path, Func<string, string, JsonElement> resolve)
    {
        var beside = Without(schema, keyword);
        if (beside.Count == 0)
            return branch;
        return JsonSerializer.SerializeToElement(Merge(beside, Object(Resolved(branch, path, resolve), path), path));
    }

    /// <summary>Whether two schemas are known never to hold at once.</summary>
    public static bool AreApart(JsonElement a, JsonElement b, string path, Func<string, string, JsonElement> resolve)
    {
        (a, b) = (Resolved(a, path, resolve), Resolved(b, path, resolve));
        var match = new SchemaMatch(resolve);
        foreach (var (values, other) in ((JsonElement, JsonElement)[])[(a, b), (b, a)])
        {
            if (Enumeration(values) is { } named)
                return named.All(v => !match.Holds(other, v, path) || !match.Holds(values, v, path));
        }

        return AreApart(a, b);
    }

    /// <summary>The values that a schema names; null where it names none.</summary>
    public static List<JsonElement>? Enumeration(JsonElement schema) =>
        schema.ValueKind != JsonValueKind.Object ? null
        : schema.TryGetProperty("const", out var constant) ? [constant]
        : schema.TryGetProperty("enum", out var values) && values.ValueKind == JsonValueKind.Array ? [.. values.EnumerateArray()]
        : null;

    /// <summary>The values that a schema's <c>not</c> leaves out.</summary>
    public static IEnumerable<JsonElement> Excluded(JsonElement schema) =>
        schema.TryGetProperty("not", out var not) && SchemaNegation.IsOfValues(not) ? not.EnumerateObject().SelectMany(k => k.Value.EnumerateArray()) : [];

    /// <summary>Whether a value is of a type, as schemas call it: 1.0 is an integer, and every integer a number.</summary>
    public static bool IsOfType(JsonElement value, string type) => TypeOf(value) == type || (type == "number" && value.ValueKind == JsonValueKind.Number);

    private static bool AreApart(JsonElement a, JsonElement b)
    {
        var (types, others) = (Types(a), Types(b));
        if (types.Count > 0 && others.Count > 0 && !types.Overlaps(others) && !(types.Contains("number") && others.Contains("integer")) && !(types.Contains("integer") && others.Contains("number")))
            return true;
        if (!types.SetEquals(["object"]) || !others.SetEquals(["object"]))
            return false;
        var (mine, theirs) = (Properties(a), Properties(b));
        var (needed, neededThere) = (Required(a), Required(b));
        if (needed.Any(n => neededThere.Contains(n) && mine.TryGetValue(n, out var p) && theirs.TryGetValue(n, out var q) && Values(p) is { } v && Values(q) is { } w && !v.Overlaps(w)))
            return true;

        // What is written for the one lacks something that the other requires, and the other way round.
        return neededThere.Any(n => !mine.ContainsKey(n)) && needed.Any(n => !theirs.ContainsKey(n)) && IsClosed(a) && IsClosed(b);
    }

    private static bool IsClosed(JsonElement schema) => schema.TryGetProperty("additionalProperties", out var more) ? more.ValueKind == JsonValueKind.False : Properties(schema).Count > 0;

    private static HashSet<string>? Values(JsonElement schema) =>
        schema.ValueKind != JsonValueKind.Object ? null
        : schema.TryGetProperty("const", out var constant) ? [constant.GetRawText()]
        : schema.TryGetProperty("enum", out var values) && values.ValueKind == JsonValueKind.Array ? [.. values.EnumerateArray().Select(v => v.GetRawText())]
        : null;

    private static HashSet<string> Types(JsonElement schema) =>
        schema.ValueKind != JsonValueKind.Object ? []
        : schema.TryGetProperty("type", out var type) ? type.ValueKind == JsonValueKind.Array ? [.. type.EnumerateArray().Select(t => t.GetString() ?? "")] : [type.GetString() ?? ""]
        : schema.TryGetProperty("const", out var constant) ? [TypeOf(constant)]
        : schema.TryGetProperty("properties", out _) ? ["object"] : [];

    /// <summary>The type of a value, as schemas call it.</summary>
    public static string TypeOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "object",
        JsonValueKind.Array => "array",
        JsonValueKind.String => "string",
        JsonValueKind.Number => value.TryGetDouble(out var number) && number == Math.Floor(number) ? "integer" : "number",
        JsonValueKind.True or JsonValueKind.False => "boolean",
        _ => "null",
    };

    private static Dictionary<string, JsonElement> Properties(JsonElement schema) =>
        schema.TryGetProperty("properties", out var map) && map.ValueKind == JsonValueKind.Object ? map.EnumerateObject().ToDictionary(m => m.Name, m => m.Value) : [];

    private static HashSet<string> Required(JsonElement schema) =>
        schema.TryGetProperty("required", out var names) && names.ValueKind == JsonValueKind.Array ? [.. names.EnumerateArray().Select(n => n.GetString() ?? "")] : [];

    private static JsonElement Resolved(JsonElement schema, string path, Func<string, string, JsonElement> resolve)
    {
        for (var hops = 0; schema.ValueKind == JsonValueKind.Object && schema.TryGetProperty("$ref", out var reference); hops++)
            schema = hops < 32 ? resolve(reference.GetString() ?? "", path) : throw new ConstraintException("the references go in a circle", path);
        return schema;
    }

    /// <summary>A copy without some keywords, and without what only describes.</summary>
    public static JsonObject Without(JsonElement schema, params ReadOnlySpan<string> keywords)
    {
        var copy = (JsonObject)JsonNode.Parse(schema.GetRawText())!;
        foreach (var keyword in keywords)
            copy.Remove(keyword);
        foreach (var name in NotMerged)
            copy.Remove(name);
        return copy;
    }

    private static JsonObject Object(JsonElement schema, string path) => schema.ValueKind switch
    {
        JsonValueKind.True => [],
        JsonValueKind.False => throw ConstraintException.Contradiction("nothing satisfies the schema", path),
        JsonValueKind.Object => (JsonObject)JsonNode.Parse(schema.GetRawText())!,
        _ => throw new ConstraintException("expected a schema: an object or true", path),
    };

    private static JsonObject Merge(JsonObject a, JsonObject b, string path)
    {
        (a, b) = (WithOthers(a, b, path), WithOthers(b, a, path));
        var merged = (JsonObject)a.DeepClone();
        foreach (var (name, value) in b)
        {
            if (NotMerged.Contains(name))
                continue;
            merged[name] = !merged.TryGetPropertyValue(name, out var mine) || JsonNode.DeepEquals(mine, value) ? value?.DeepClone() : Both(name, mine!, value!, path);
        }

        return merged;
    }

    // What one schema says of properties that it does not name holds for those that the other names.
    private static JsonObject WithOthers(JsonObject schema, JsonObject other, string path)
    {
        if (other["properties"] is not JsonObject named || schema["additionalProperties"] is not { } more || more.GetValueKind() == JsonValueKind.True)
            return schema;
        var copy = (JsonObject)schema.DeepClone();
        var properties = (copy["properties"] ??= new JsonObject()).AsObject();
        var patterns = schema["patternProperties"] is JsonObject map ? map.Select(p => TextAutomaton.Of(JsonPattern.Parse(p.Key, path), path)).ToList() : [];
        foreach (var name in named.Select(p => p.Key).Where(n => !properties.ContainsKey(n) && !patterns.Exists(p => p.Contains(n))))
            properties[name] = more.DeepClone();
        return copy;
    }

    private static JsonNode Both(string name, JsonNode a, JsonNode b, string path)
    {
        switch (name)
        {
            case "properties" or "patternProperties" when a is JsonObject mine && b is JsonObject theirs:
                var properties = (JsonObject)mine.DeepClone();
                foreach (var (key, value) in theirs)
                    properties[key] = properties.TryGetPropertyValue(key, out var own) ? All(own!, value!) : value?.DeepClone();
                return properties;
            case "required" when a is JsonArray mine && b is JsonArray theirs:
                return new JsonArray([.. mine.Concat(theirs).Select(n => n!.GetValue<string>()).Distinct().Select(n => (JsonNode)n)]);
            case "enum" when a is JsonArray mine && b is JsonArray theirs:
                var common = mine.Where(v => theirs.Any(w => JsonNode.DeepEquals(v, w))).Select(v => v?.DeepClone()).ToArray();
                return common.Length > 0 ? new JsonArray(common) : throw ConstraintException.Contradiction("no value is in both enumerations", path);
            case "const":
                throw ConstraintException.Contradiction("nothing is two values at once", path);
            case "not":
                return IsOfValues(a) && IsOfValues(b) ? new JsonObject { ["enum"] = new JsonArray([.. a["enum"]!.AsArray().Concat(b["enum"]!.AsArray()).Select(v => v?.DeepClone())]) }
                    : new JsonObject { ["anyOf"] = new JsonArray(a.DeepClone(), b.DeepClone()) };
            case "anyOf" when a is JsonArray mine && b is JsonArray theirs:
                if (mine.Count * theirs.Count > MostAlternatives)
                    throw new ConstraintException($"the schema has more than {MostAlternatives} alternatives", path);
                return new JsonArray([.. mine.SelectMany(x => theirs.Select(y => All(x!, y!)))]);
            case "items":
                return All(a, b);
            case "uniqueItems":
                return a.GetValueKind() == JsonValueKind.True ? a.DeepClone() : b.DeepClone();
            case "additionalProperties" when a.GetValueKind() == JsonValueKind.False || b.GetValueKind() == JsonValueKind.False:
                return false;
            case "additionalProperties":
                return All(a, b);
            case "multipleOf" when a is JsonValue x && b is JsonValue y && x.TryGetValue<decimal>(out var mine) && y.TryGetValue<decimal>(out var theirs) && mine > 0 && theirs > 0:
                return Multiple(mine, theirs) is { } multiple ? multiple : throw new ConstraintException("two such different 'multipleOf' at once are not supported", path);
            case "type":
                var types = TypeNames(a).Intersect(TypeNames(b)).ToList();
                if ((TypeNames(a).Contains("integer") && TypeNames(b).Contains("number")) || (TypeNames(a).Contains("number") && TypeNames(b).Contains("integer")))
                    types = [.. types.Union(["integer"])];
                return types.Count > 0 ? new JsonArray([.. types.Select(t => (JsonNode)t)]) : throw ConstraintException.Contradiction("no type satisfies all of them", path);
            case "minimum" or "exclusiveMinimum" or "minLength" or "minItems":
                return a.GetValue<double>() >= b.GetValue<double>() ? a.DeepClone() : b.DeepClone();
            case "maximum" or "exclusiveMaximum" or "maxLength" or "maxItems":
                return a.GetValue<double>() <= b.GetValue<double>() ? a.DeepClone() : b.DeepClone();
            default:
                throw new ConstraintException($"two different '{name}' at once are not supported", path);
        }
    }

    // Both of two schemas; false where either is.
    private static JsonNode All(JsonNode a, JsonNode b) =>
        a.GetValueKind() == JsonValueKind.False || b.GetValueKind() == JsonValueKind.False ? false
        : a.GetValueKind() == JsonValueKind.True || JsonNode.DeepEquals(a, b) ? b.DeepClone()
        : b.GetValueKind() == JsonValueKind.True ? a.DeepClone()
        : new JsonObject { ["allOf"] = new JsonArray(a.DeepClone(), b.DeepClone()) };

    private static bool IsOfValues(JsonNode not) => not is JsonObject { Count: 1 } map && map["enum"] is JsonArray;

    // The least number that is a multiple of both.
    private static decimal? Multiple(decimal a, decimal b)
    {
        for (var times = 1; times <= 4096; times++)
        {
            if (a * times % b == 0)
                return a * times;
        }

        return null;
    }

    private static IEnumerable<string> TypeNames(JsonNode type) => type is JsonArray list ? list.Select(t => t!.GetValue<string>()) : [type.GetValue<string>()];
}
