using System.Text.Json;

namespace Hadal.Inference.Constraints;

/// <summary>Whether a value that is there satisfies a schema (JSON Schema 2020-12): for schemas that name their values, whatever else they say.</summary>
/// <param name="resolve">Finds what a reference points to.</param>
internal sealed class SchemaMatch(Func<string, string, JsonElement> resolve)
{
    private const int MostDepth = 200;

    private int depth;

    /// <summary>Decides.</summary>
    /// <exception cref="ConstraintException">The schema has a keyword that is not supported; it is named.</exception>
    public bool Holds(JsonElement schema, JsonElement value, string path)
    {
        if (schema.ValueKind is JsonValueKind.True or JsonValueKind.False)
            return schema.ValueKind == JsonValueKind.True;
        if (schema.ValueKind != JsonValueKind.Object)
            throw new ConstraintException("expected a schema: an object, true or false", path);
        if (++depth > MostDepth)
            throw new ConstraintException("the references go in a circle", path);
        try
        {
            var isThen = schema.TryGetProperty("if", out var condition) ? Holds(condition, value, $"{path}/if") : (bool?)null;
            return schema.EnumerateObject().All(k => Keyword(schema, k.Name, k.Value, value, isThen, path));
        }
        finally
        {
            depth--;
        }
    }

    private bool Keyword(JsonElement schema, string name, JsonElement keyword, JsonElement value, bool? isThen, string path)
    {
        var at = $"{path}/{name}";
        switch (name)
        {
            case "$ref":
                return Holds(resolve(keyword.GetString() ?? "", path), value, at);
            case "const":
                return JsonElement.DeepEquals(keyword, value);
            case "enum":
                return Elements(keyword).Any(v => JsonElement.DeepEquals(v, value));
            case "type":
                return (keyword.ValueKind == JsonValueKind.Array ? Elements(keyword) : [keyword]).Any(t => SchemaMerge.IsOfType(value, t.GetString() ?? ""))
                    || (value.ValueKind == JsonValueKind.Null && schema.TryGetProperty("nullable", out var nullable) && nullable.ValueKind == JsonValueKind.True);
            case "anyOf":
                return Elements(keyword).Any(s => Holds(s, value, at));
            case "oneOf":
                return Elements(keyword).Count(s => Holds(s, value, at)) == 1;
            case "allOf":
                return Elements(keyword).All(s => Holds(s, value, at));
            case "not":
                return !Holds(keyword, value, at);
            case "if":
                return true;
            case "then":
                return isThen is not true || Holds(keyword, value, at);
            case "else":
                return isThen is not false || Holds(keyword, value, at);
            case "minimum" or "maximum" or "exclusiveMinimum" or "exclusiveMaximum" or "multipleOf":
                return value.ValueKind != JsonValueKind.Number || Compares(name, keyword, value, at);
            case "minLength" or "maxLength":
                return value.ValueKind != JsonValueKind.String || Counts(name == "minLength", keyword, value.GetString()!.EnumerateRunes().Count(), at);
            case "pattern":
                return value.ValueKind != JsonValueKind.String || Pattern(keyword, at).Contains(value.GetString()!);
            case "minItems" or "maxItems":
                return value.ValueKind != JsonValueKind.Array || Counts(name == "minItems", keyword, value.GetArrayLength(), at);
            case "uniqueItems":
                return value.ValueKind != JsonValueKind.Array || keyword.ValueKind != JsonValueKind.True || !Elements(value).Where((v, i) => Elements(value).Take(i).Any(w => JsonElement.DeepEquals(v, w))).Any();
            case "prefixItems":
                return value.ValueKind != JsonValueKind.Array || Elements(keyword).Zip(Elements(value)).All(p => Holds(p.First, p.Second, at));
            case "items":
                return value.ValueKind != JsonValueKind.Array || Elements(value).Skip(schema.TryGetProperty("prefixItems", out var prefix) ? prefix.GetArrayLength() : 0).All(v => Holds(keyword, v, at));
            case "required":
                return value.ValueKind != JsonValueKind.Object || Elements(keyword).All(n => value.TryGetProperty(n.GetString() ?? "", out _));
            case "properties":
                return value.ValueKind != JsonValueKind.Object || keyword.EnumerateObject().All(p => !value.TryGetProperty(p.Name, out var member) || Holds(p.Value, member, at));
            case "patternProperties":
                return value.ValueKind != JsonValueKind.Object || keyword.EnumerateObject().All(p => value.EnumerateObject().All(m => !Pattern(p.Name, at).Contains(m.Name) || Holds(p.Value, m.Value, at)));
            case "additionalProperties":
                return value.ValueKind != JsonValueKind.Object || value.EnumerateObject().All(m => IsNamed(schema, m.Name, path) || Holds(keyword, m.Value, at));
            default:
                return JsonSchemaGrammar.OnlyDescribes(name) || name is "$defs" or "definitions" or "format" or "additionalItems" ? true : throw new ConstraintException($"the keyword '{name}' is not supported", path);
        }
    }

    private static bool IsNamed(JsonElement schema, string name, string path) =>
        (schema.TryGetProperty("properties", out var properties) && properties.TryGetProperty(name, out _))
        || (schema.TryGetProperty("patternProperties", out var patterns) && patterns.EnumerateObject().Any(p => Pattern(p.Name, path).Contains(name)));

    private static bool Compares(string name, JsonElement keyword, JsonElement value, string path)
    {
        if (keyword.ValueKind != JsonValueKind.Number || !keyword.TryGetDecimal(out var bound) || !value.TryGetDecimal(out var number))
            throw new ConstraintException($"expected '{name}' and what it is compared with to be numbers of at most 28 digits", path);
        return name switch
        {
            "minimum" => number >= bound,
            "maximum" => number <= bound,
            "exclusiveMinimum" => number > bound,
            "exclusiveMaximum" => number < bound,
            _ => bound > 0 && number % bound == 0,
        };
    }

    private static bool Counts(bool isMinimum, JsonElement keyword, int count, string path)
    {
        if (keyword.ValueKind != JsonValueKind.Number || !keyword.TryGetInt64(out var bound))
            throw new ConstraintException("expected a whole number", path);
        return isMinimum ? count >= bound : count <= bound;
    }

    private static TextAutomaton Pattern(JsonElement pattern, string path) => Pattern(pattern.GetString() ?? "", path);

    private static TextAutomaton Pattern(string pattern, string path) => TextAutomaton.Of(JsonPattern.Parse(pattern, path), path);

    private static IEnumerable<JsonElement> Elements(JsonElement array) => array.ValueKind == JsonValueKind.Array ? array.EnumerateArray() : [];
}
