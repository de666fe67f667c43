using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Inference.Constraints;

/// <summary>
/// What does not satisfy a schema, as schemas without <c>not</c>: <c>not</c>, <c>if</c> and branches of <c>oneOf</c> that overlap become alternatives that can be
/// followed. One <c>not</c> stays, that of an enumeration, which the pieces of strings and numbers understand.
/// </summary>
/// <param name="resolve">Finds what a reference points to.</param>
internal sealed class SchemaNegation(Func<string, string, JsonElement> resolve)
{
    private const int MostAlternatives = 256;
    private const int MostDepth = 64;

    private static readonly string[] Types = ["string", "number", "boolean", "null", "object", "array"];

    /// <summary>Whether a <c>not</c> only leaves out values.</summary>
    public static bool IsOfValues(JsonElement not) => not.ValueKind == JsonValueKind.Object && not.EnumerateObject().Count() == 1 && not.TryGetProperty("enum", out var values) && values.ValueKind == JsonValueKind.Array;

    /// <summary>Alternatives that together are what does not satisfy a schema; none where everything does.</summary>
    /// <exception cref="ConstraintException">The schema has a keyword whose opposite cannot be followed; it is named.</exception>
    public List<JsonObject> Of(JsonElement schema, string path) => Of(schema, path, 0);

    /// <summary>A schema with <c>if</c>, as its two alternatives.</summary>
    public List<JsonObject> Conditional(JsonElement schema, string path)
    {
        var rest = SchemaMerge.Without(schema, "if", "then", "else");
        JsonNode If() => JsonNode.Parse(schema.GetProperty("if").GetRawText())!;
        var alternatives = new List<JsonObject>();
        foreach (var (name, conditions) in (ValueTuple<string, List<JsonNode>>[])[("then", [If()]), ("else", [.. Of(schema.GetProperty("if"), $"{path}/if")])])
        {
            foreach (var condition in conditions)
            {
                var all = new JsonArray(rest.DeepClone(), condition);
                if (schema.TryGetProperty(name, out var consequence))
                    all.Add(JsonNode.Parse(consequence.GetRawText()));
                alternatives.Add(new JsonObject { ["allOf"] = all });
            }
        }

        return alternatives;
    }

    /// <summary>The branches of <c>oneOf</c>, each without those that may hold with it.</summary>
    /// <param name="branches">The branches.</param>
    /// <param name="path">Where the keyword is.</param>
    /// <param name="areApart">Whether two branches cannot both hold anyway.</param>
    public List<JsonObject> ExactlyOne(JsonElement branches, string path, Func<JsonElement, JsonElement, bool> areApart)
    {
        var list = branches.EnumerateArray().ToList();
        var alternatives = new List<JsonObject>();
        for (var i = 0; i < list.Count; i++)
        {
            List<JsonObject> own = [new JsonObject { ["allOf"] = new JsonArray(JsonNode.Parse(list[i].GetRawText())) }];
            for (var j = 0; j < list.Count; j++)
            {
                if (i == j || areApart(list[i], list[j]))
                    continue;
                try
                {
                    own = Both(own, Of(list[j], $"{path}/{j}"), path);
                }
                catch (ConstraintException e)
                {
                    throw new ConstraintException($"branches {Math.Min(i, j)} and {Math.Max(i, j)} of 'oneOf' may both hold ('anyOf' allows that), and {e.Message}", path);
                }
            }

            alternatives.AddRange(own);
        }

        return alternatives;
    }

    private List<JsonObject> Of(JsonElement schema, string path, int depth)
    {
        if (schema.ValueKind is JsonValueKind.True or JsonValueKind.False)
            return schema.ValueKind == JsonValueKind.True ? [] : [[]];
        if (schema.ValueKind != JsonValueKind.Object)
            throw new ConstraintException("expected a schema: an object, true or false", path);
        if (depth > MostDepth)
            throw new ConstraintException("what is negated refers to itself, which is not supported", path);
        var alternatives = new List<JsonObject>();
        foreach (var keyword in schema.EnumerateObject().Where(k => !JsonSchemaGrammar.OnlyDescribes(k.Name)))
            alternatives.AddRange(Of(keyword.Name, keyword.Value, path, depth));
        return alternatives.Count <= MostAlternatives ? alternatives : throw new ConstraintException($"the opposite of the schema has more than {MostAlternatives} alternatives", path);
    }

    // A keyword does not hold: of the type that it is about, and on the other side.
    private List<JsonObject> Of(string name, JsonElement keyword, string path, int depth)
    {
        var at = $"{path}/{name}";
        switch (name)
        {
            case "$ref":
                return Of(resolve(keyword.GetString() ?? "", path), at, depth + 1);
            case "$defs" or "definitions" or "then" or "else":
                // The latter two belong to 'if', which is refused below.
                return [];
            case "type":
                return OtherTypes(keyword, at);
            case "const":
                return [new() { ["not"] = new JsonObject { ["enum"] = new JsonArray(JsonNode.Parse(keyword.GetRawText())) } }];
            case "enum":
                return [new() { ["not"] = new JsonObject { ["enum"] = JsonNode.Parse(keyword.GetRawText()) } }];
            case "not":
                return [new() { ["allOf"] = new JsonArray(JsonNode.Parse(keyword.GetRawText())) }];
            case "allOf":
                return [.. keyword.EnumerateArray().SelectMany((s, i) => Of(s, $"{at}/{i}", depth + 1))];
            case "anyOf":
                List<JsonObject> none = [[]];
                foreach (var (branch, i) in keyword.EnumerateArray().Select((s, i) => (s, i)))
                    none = Both(none, Of(branch, $"{at}/{i}", depth + 1), at);
                return none;
            case "required":
                return [.. keyword.EnumerateArray().Select(n => new JsonObject { ["type"] = "object", ["properties"] = new JsonObject { [n.GetString() ?? ""] = false } })];
            case "properties":
                return [.. keyword.EnumerateObject().SelectMany(p => Of(p.Value, $"{at}/{p.Name}", depth + 1).Select(wrong => new JsonObject
                {
                    ["type"] = "object", ["properties"] = new JsonObject { [p.Name] = wrong.Count == 0 ? true : wrong }, ["required"] = new JsonArray(p.Name),
                }))];
            case "minimum":
                return [Typed("number", "exclusiveMaximum", keyword)];
            case "maximum":
                return [Typed("number", "exclusiveMinimum", keyword)];
            case "exclusiveMinimum":
                return [Typed("number", "maximum", keyword)];
            case "exclusiveMaximum":
                return [Typed("number", "minimum", keyword)];
            case "minLength" or "minItems" when keyword.TryGetInt32(out var least):
                return least <= 0 ? [] : [Typed(name == "minLength" ? "string" : "array", name == "minLength" ? "maxLength" : "maxItems", least - 1)];
            case "maxLength" or "maxItems" when keyword.TryGetInt32(out var most):
                return [Typed(name == "maxLength" ? "string" : "array", name == "maxLength" ? "minLength" : "minItems", most + 1)];
            case "additionalProperties" or "items" or "uniqueItems" when keyword.ValueKind == (name == "uniqueItems" ? JsonValueKind.False : JsonValueKind.True):
                return [];
            default:
                throw new ConstraintException($"the opposite of '{name}' is not supported", at);
        }
    }

    private static List<JsonObject> OtherTypes(JsonElement type, string path)
    {
        var given = (type.ValueKind == JsonValueKind.Array ? type.EnumerateArray() : (IEnumerable<JsonElement>)[type]).Select(t => t.GetString() ?? "").ToList();
        if (given.Contains("integer") && !given.Contains("number"))
            throw new ConstraintException("the opposite of 'integer' is not supported", path);
        var others = Types.Except(given).ToList();
        return others.Count == 0 ? [] : [new() { ["type"] = new JsonArray([.. others.Select(t => (JsonNode)t)]) }];
    }

    private static JsonObject Typed(string type, string keyword, JsonElement value) => new() { ["type"] = type, [keyword] = JsonNode.Parse(value.GetRawText()) };

    private static JsonObject Typed(string type, string keyword, int value) => new() { ["type"] = type, [keyword] = value };

    private static List<JsonObject> Both(List<JsonObject> some, List<JsonObject> others, string path)
    {
        if ((long)some.Count * others.Count > MostAlternatives)
            throw new ConstraintException(string.Create(CultureInfo.InvariantCulture, $"the schema has more than {MostAlternatives} alternatives"), path);
        return [.. some.SelectMany(a => others.Select(b => new JsonObject { ["allOf"] = new JsonArray(a.DeepClone(), b.DeepClone()) }))];
    }
}
