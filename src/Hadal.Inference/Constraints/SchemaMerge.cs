using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Inference.Constraints;

/// <summary>Schemas that hold together, as one schema.</summary>
internal static class SchemaMerge
{
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

    /// <summary>Refuses branches of <c>oneOf</c> of which two may hold at once.</summary>
    public static void RequireApart(JsonElement branches, string path, Func<string, string, JsonElement> resolve)
    {
        if (branches.ValueKind != JsonValueKind.Array)
            throw new ConstraintException("expected an array that is not empty", path);
        var list = branches.EnumerateArray().Select((b, i) => Resolved(b, $"{path}/{i}", resolve)).ToList();
        for (var i = 0; i < list.Count; i++)
        {
            for (var j = i + 1; j < list.Count; j++)
            {
                if (!AreApart(list[i], list[j]))
                    throw new ConstraintException($"branches {i} and {j} may both hold; 'anyOf' allows that", path);
            }
        }
    }

    private static bool AreApart(JsonElement a, JsonElement b)
    {
        if (Values(a) is { } x && Values(b) is { } y)
            return !x.Overlaps(y);
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

    private static JsonObject Without(JsonElement schema, string keyword)
    {
        var copy = (JsonObject)JsonNode.Parse(schema.GetRawText())!;
        copy.Remove(keyword);
        foreach (var name in NotMerged)
            copy.Remove(name);
        return copy;
    }

    private static JsonObject Object(JsonElement schema, string path) => schema.ValueKind switch
    {
        JsonValueKind.True => [],
        JsonValueKind.Object => (JsonObject)JsonNode.Parse(schema.GetRawText())!,
        _ => throw new ConstraintException("expected a schema: an object or true", path),
    };

    private static JsonObject Merge(JsonObject a, JsonObject b, string path)
    {
        if (ClosesWithout(a, b) || ClosesWithout(b, a))
            throw new ConstraintException("'additionalProperties': false beside other properties is not supported", path);
        var merged = (JsonObject)a.DeepClone();
        foreach (var (name, value) in b)
        {
            if (NotMerged.Contains(name))
                continue;
            merged[name] = !merged.TryGetPropertyValue(name, out var mine) || JsonNode.DeepEquals(mine, value) ? value?.DeepClone() : Both(name, mine!, value!, path);
        }

        return merged;
    }

    private static bool ClosesWithout(JsonObject closed, JsonObject other) =>
        closed["additionalProperties"] is JsonValue more && more.GetValueKind() == JsonValueKind.False
        && other["properties"] is JsonObject properties && properties.Any(p => closed["properties"] is not JsonObject mine || !mine.ContainsKey(p.Key));

    private static JsonNode Both(string name, JsonNode a, JsonNode b, string path)
    {
        switch (name)
        {
            case "properties" when a is JsonObject mine && b is JsonObject theirs:
                var properties = (JsonObject)mine.DeepClone();
                foreach (var (key, value) in theirs)
                    properties[key] = properties.TryGetPropertyValue(key, out var own) && !JsonNode.DeepEquals(own, value) ? new JsonObject { ["allOf"] = new JsonArray(own!.DeepClone(), value!.DeepClone()) } : value?.DeepClone();
                return properties;
            case "required" when a is JsonArray mine && b is JsonArray theirs:
                return new JsonArray([.. mine.Concat(theirs).Select(n => n!.GetValue<string>()).Distinct().Select(n => (JsonNode)n)]);
            case "enum" when a is JsonArray mine && b is JsonArray theirs:
                return new JsonArray([.. mine.Where(v => theirs.Any(w => JsonNode.DeepEquals(v, w))).Select(v => v?.DeepClone())]);
            case "type":
                var types = TypeNames(a).Intersect(TypeNames(b)).ToList();
                if (types.Count == 0 && TypeNames(a).Concat(TypeNames(b)).All(t => t is "integer" or "number"))
                    types.Add("integer");
                return types.Count > 0 ? new JsonArray([.. types.Select(t => (JsonNode)t)]) : throw new ConstraintException("no type satisfies all of them", path);
            case "minimum" or "exclusiveMinimum" or "minLength" or "minItems":
                return a.GetValue<double>() >= b.GetValue<double>() ? a.DeepClone() : b.DeepClone();
            case "maximum" or "exclusiveMaximum" or "maxLength" or "maxItems":
                return a.GetValue<double>() <= b.GetValue<double>() ? a.DeepClone() : b.DeepClone();
            default:
                throw new ConstraintException($"two different '{name}' at once are not supported", path);
        }
    }

    private static IEnumerable<string> TypeNames(JsonNode type) => type is JsonArray list ? list.Select(t => t!.GetValue<string>()) : [type.GetValue<string>()];
}
