using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Inference.Constraints;

/// <summary>
/// JSON Schema as a grammar: what it lets through is JSON that satisfies the schema. Properties come in the schema's order, as OpenAI has it. What cannot be
/// followed a byte at a time is refused by name, never ignored; what only describes (title, description, default, examples, $comment) is ignored.
/// </summary>
/// <remarks>Keywords: those of drafts 6 to 2020-12 named in <see cref="Known"/>.</remarks>
internal sealed partial class JsonSchemaGrammar
{
    private const int MostRefs = 1000;

    private static readonly HashSet<string> Known =
    [
        "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions",
        "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "additionalItems", "multipleOf", "uniqueItems", "not",
        "patternProperties", "if", "then", "else",
    ];

    private static readonly HashSet<string> Describing =
    [
        "title", "description", "default", "examples", "example", "$comment", "$schema", "$id", "$anchor", "id", "deprecated", "readOnly", "writeOnly", "nullable", "strict", "name", "contentMediaType",
        "contentEncoding",
    ];

    private readonly Grammar grammar;
    private readonly JsonPieces json;
    private readonly JsonElement root;
    private readonly Dictionary<string, Piece> references = [];
    private readonly HashSet<string> followed = [];
    private readonly SchemaNegation negation;

    private JsonSchemaGrammar(Grammar grammar, JsonPieces json, JsonElement root)
    {
        this.grammar = grammar;
        this.json = json;
        this.root = root;
        negation = new SchemaNegation(Resolve);
    }

    /// <summary>The piece of a schema.</summary>
    /// <param name="grammar">The grammar it is to be part of.</param>
    /// <param name="json">JSON in the same grammar.</param>
    /// <param name="schema">An object, or true.</param>
    /// <exception cref="ConstraintException">It cannot be enforced; the message says which keyword, and where.</exception>
    public static Piece Of(Grammar grammar, JsonPieces json, JsonElement schema)
    {
        // First as it is written: what is worked out of it later has other places.
        var made = new JsonSchemaGrammar(grammar, json, schema);
        made.CheckKeywords(schema, "#");
        return made.Schema(schema, "#");
    }

    /// <summary>Whether a keyword says nothing about what satisfies a schema.</summary>
    internal static bool OnlyDescribes(string keyword) => Describing.Contains(keyword) || keyword.StartsWith("x-", StringComparison.Ordinal);

    private void CheckKeywords(JsonElement schema, string path)
    {
        if (schema.ValueKind != JsonValueKind.Object)
            return;
        RequireKnown(schema, path);
        foreach (var keyword in schema.EnumerateObject())
        {
            var (at, value) = ($"{path}/{keyword.Name}", keyword.Value);
            switch (keyword.Name)
            {
                case "properties" or "patternProperties" when value.ValueKind == JsonValueKind.Object:
                    foreach (var member in value.EnumerateObject())
                        CheckKeywords(member.Value, $"{at}/{member.Name}");
                    break;
                case "anyOf" or "oneOf" or "allOf" or "prefixItems":
                    foreach (var (part, i) in Elements(value).Select((p, i) => (p, i)))
                        CheckKeywords(part, $"{at}/{i}");
                    break;
                case "items" or "additionalProperties" or "not" or "if" or "then" or "else":
                    CheckKeywords(value, at);
                    break;
                case "$ref" when value.GetString() is { } pointer && followed.Add(pointer):
                    CheckKeywords(Resolve(pointer, path), pointer);
                    break;
                default:
                    break;
            }
        }
    }

    private static void RequireKnown(JsonElement schema, string path)
    {
        foreach (var keyword in schema.EnumerateObject())
        {
            if (!Known.Contains(keyword.Name) && !OnlyDescribes(keyword.Name))
                throw new ConstraintException($"the keyword '{keyword.Name}' is not supported", path);
            if (Expected(keyword.Name, keyword.Value) is { } expected)
                throw new ConstraintException($"expected '{keyword.Name}' to be {expected}", path);
        }
    }

    // What the value of a keyword should be; null where it is.
    private static string? Expected(string keyword, JsonElement value)
    {
        static bool IsText(JsonElement text) => text.ValueKind == JsonValueKind.String;
        var (isRight, what) = keyword switch
        {
            "$ref" or "pattern" => (IsText(value), "a string"),
            "type" => (IsText(value) || (value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(IsText)), "a string or an array of strings"),
            "required" => (value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(IsText), "an array of strings"),
            "enum" or "anyOf" or "oneOf" or "allOf" or "prefixItems" => (value.ValueKind == JsonValueKind.Array, "an array"),
            "properties" or "patternProperties" or "$defs" or "definitions" => (value.ValueKind == JsonValueKind.Object, "an object"),
            "items" or "additionalProperties" or "not" or "if" or "then" or "else" => (value.ValueKind is JsonValueKind.Object or JsonValueKind.True or JsonValueKind.False, "a schema: an object, true or false"),
            "minimum" or "maximum" or "exclusiveMinimum" or "exclusiveMaximum" or "multipleOf" => (value.ValueKind == JsonValueKind.Number, "a number"),
            "minLength" or "maxLength" or "minItems" or "maxItems" => (value.ValueKind == JsonValueKind.Number, "a whole number"),
            "uniqueItems" => (value.ValueKind is JsonValueKind.True or JsonValueKind.False, "true or false"),
            _ => (true, ""),
        };
        return isRight ? null : what;
    }

    private Piece Schema(JsonElement schema, string path)
    {
        if (schema.ValueKind == JsonValueKind.True)
            return json.Value;
        if (schema.ValueKind == JsonValueKind.False)
            throw ConstraintException.Contradiction("nothing satisfies the schema", path);
        if (schema.ValueKind != JsonValueKind.Object)
            throw new ConstraintException("expected a schema: an object or true", path);
        RequireKnown(schema, path);
        if (Get(schema, "$ref") is { } reference)
        {
            Refuse(schema, path, "$ref", Known.Where(k => k is not ("$ref" or "$defs" or "definitions")));
            return Reference(reference, path);
        }

        if (Has(schema, "const", "enum"))
            return Enumerated(schema, path);
        if (Get(schema, "allOf") is { } all)
            return Schema(SchemaMerge.AllOf(schema, all, path, Resolve), path);
        if (Get(schema, "if") is not null)
            return Alternatives(negation.Conditional(schema, path), path);
        if (Get(schema, "not") is { } not && !SchemaNegation.IsOfValues(not))
            return Choices(schema, negation.Of(not, $"{path}/not"), "not", path);
        if (Get(schema, "oneOf") is { } one)
        {
            bool AreApart(JsonElement a, JsonElement b) => SchemaMerge.AreApart(a, b, $"{path}/oneOf", Resolve);
            var branches = NotEmpty(one, $"{path}/oneOf");
            return branches.Where((b, i) => branches.Take(i).Any(other => !AreApart(b, other))).Any()
                ? Choices(schema, negation.ExactlyOne(one, $"{path}/oneOf", AreApart), "oneOf", path)
                : Choices(schema, one, "oneOf", path);
        }

        return Get(schema, "anyOf") is { } any ? Choices(schema, any, "anyOf", path) : Types(schema, path);
    }

    // The values that are named, as far as they satisfy whatever else is said.
    private Piece Enumerated(JsonElement schema, string path)
    {
        if (Get(schema, "enum") is { } values)
            NotEmpty(values, $"{path}/enum");
        var match = new SchemaMatch(Resolve);
        var left = SchemaMerge.Enumeration(schema)!.Where(v => match.Holds(schema, v, path)).ToList();
        return left.Count > 0 ? grammar.AnyOf([.. left.Select(json.Constant)]) : throw ConstraintException.Contradiction("no value that is named satisfies the rest", path);
    }

    private Piece Choices(JsonElement schema, JsonElement choices, string keyword, string path)
    {
        // What stands beside anyOf holds for each of its branches.
        var branches = NotEmpty(choices, $"{path}/{keyword}").Select((c, i) => Schema(SchemaMerge.Beside(schema, c, keyword, $"{path}/{keyword}/{i}", Resolve), $"{path}/{keyword}/{i}"));
        return grammar.AnyOf([.. branches]);
    }

    private Piece Choices(JsonElement schema, List<JsonObject> alternatives, string keyword, string path)
    {
        var rest = SchemaMerge.Without(schema, keyword);
        return Alternatives(alternatives.Select(a => new JsonObject { ["allOf"] = new JsonArray(rest.DeepClone(), a.DeepClone()) }), $"{path}/{keyword}");
    }

    // Alternatives that were worked out: those that contradict themselves are none.
    private Piece Alternatives(IEnumerable<JsonObject> alternatives, string path)
    {
        var pieces = new List<Piece>();
        foreach (var alternative in alternatives)
        {
            try
            {
                pieces.Add(Schema(JsonSerializer.SerializeToElement(alternative), path));
            }
            catch (ConstraintException e) when (e.IsContradiction)
            {
                // Nothing is written for this one.
            }
        }

        return pieces.Count > 0 ? grammar.AnyOf(pieces) : throw ConstraintException.Contradiction("nothing satisfies the schema", path);
    }

    private Piece Types(JsonElement schema, string path)
    {
        var type = Get(schema, "type");
        string[] types = type switch
        {
            { ValueKind: JsonValueKind.String } => [type.Value.GetString()!],
            { ValueKind: JsonValueKind.Array } => [.. NotEmpty(type.Value, $"{path}/type").Select(t => t.GetString() ?? "")],
            null => Implied(schema),
            _ => throw new ConstraintException("expected 'type' to be a string or an array of them", path),
        };
        if (Get(schema, "nullable") is { ValueKind: JsonValueKind.True })
            types = [.. types, "null"];
        if (types.Length == 0 && SchemaMerge.Excluded(schema).Any())
            types = ["string", "number", "boolean", "null", "object", "array"];
        var left = types.Distinct().Select(t => (Type: t, Piece: Left(t, schema, path))).Where(t => t.Piece is not null).ToList();
        return types.Length == 0 ? json.Value : left.Count > 0 ? grammar.AnyOf([.. left.Select(t => t.Piece!)]) : throw ConstraintException.Contradiction("no type is left", path);
    }

    // A schema without a type allows every other type, too; one that names properties is meant to be an object.
    private static string[] Implied(JsonElement schema) =>
        Has(schema, "properties", "required", "additionalProperties", "patternProperties") ? ["object"]
        : Has(schema, "items", "prefixItems", "minItems", "maxItems", "uniqueItems") ? ["array"]
        : Has(schema, "minLength", "maxLength", "pattern", "format") ? ["string"]
        : Has(schema, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf") ? ["number"]
        : [];

    // A type without the values of it that 'not' leaves out; null where none is left.
    private Piece? Left(string type, JsonElement schema, string path)
    {
        var excluded = SchemaMerge.Excluded(schema).Where(v => SchemaMerge.IsOfType(v, type)).ToList();
        return type switch
        {
            "object" or "array" when excluded.Count > 0 => throw new ConstraintException($"'not' of an {type} is not supported", path),
            "null" when excluded.Count > 0 => null,
            "boolean" when excluded.Count > 0 => excluded.DistinctBy(v => v.ValueKind).Count() == 2 ? null : grammar.Text(excluded[0].ValueKind == JsonValueKind.True ? "false" : "true"),
            _ => Typed(type, schema, path),
        };
    }

    private Piece Typed(string type, JsonElement schema, string path) => type switch
    {
        "object" => Object(schema, path),
        "array" => Array(schema, path),
        "string" => JsonStringPieces.Of(grammar, json, schema, path),
        "integer" => Number(schema, path, whole: true),
        "number" => Number(schema, path, whole: false),
        "boolean" => json.Boolean,
        "null" => json.Null,
        _ => throw new ConstraintException($"there is no type '{type}'", path),
    };

    private Piece Number(JsonElement schema, string path, bool whole)
    {
        var (min, max) = (Bound(schema, "minimum", path), Bound(schema, "maximum", path));
        var (above, below) = (Bound(schema, "exclusiveMinimum", path), Bound(schema, "exclusiveMaximum", path));
        var excluded = SchemaMerge.Excluded(schema).Where(v => v.ValueKind == JsonValueKind.Number).Select(v => v.GetDouble()).ToList();
        if (min is null && max is null && above is null && below is null && excluded.Count == 0 && !Has(schema, "multipleOf"))
            return whole ? json.Integer : json.Number;
        var openMin = above is not null && (min is null || above >= min);
        var openMax = below is not null && (max is null || below <= max);
        var low = openMin ? above!.Value : min ?? double.NegativeInfinity;
        var high = openMax ? below!.Value : max ?? double.PositiveInfinity;
        return JsonNumberRange.Except(excluded, (low, high, openMin, openMax), Between, grammar, path);

        Piece Between(double from, double to, bool openFrom, bool openTo) =>
            Get(schema, "multipleOf") is { } multiple ? JsonMultiples.Of(grammar, multiple, from, to, openFrom, openTo, whole, path)
            : !whole ? JsonNumberRange.Decimals(grammar, from, to, openFrom, openTo, path)
            : JsonNumberRange.Integers(grammar, openFrom && from == Math.Floor(from) ? from + 1 : from, openTo && to == Math.Floor(to) ? to - 1 : to, path);
    }

    private Piece Reference(JsonElement reference, string path)
    {
        var pointer = reference.GetString() ?? "";
        if (references.TryGetValue(pointer, out var known))
            return known;
        if (references.Count > MostRefs)
            throw new ConstraintException($"there are more than {MostRefs} references", path);

        // Entered before it is followed: it may refer to itself.
        var rule = grammar.Declare();
        var call = references[pointer] = grammar.Call(rule);
        grammar.Define(rule, Schema(Resolve(pointer, path), pointer));
        return call;
    }

    private JsonElement Resolve(string pointer, string path)
    {
        if (pointer != "#" && !pointer.StartsWith("#/", StringComparison.Ordinal))
            throw new ConstraintException($"the reference '{pointer}' leads out of the schema", path);
        var at = root;
        foreach (var part in pointer.Split('/').Skip(1))
        {
            var name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            at = at.ValueKind == JsonValueKind.Object && at.TryGetProperty(name, out var next) ? next
                : at.ValueKind == JsonValueKind.Array && int.TryParse(name, out var index) && index >= 0 && index < at.GetArrayLength() ? at[index]
                : throw new ConstraintException($"the reference '{pointer}' leads nowhere", path);
        }

        return at;
    }

    private static void Refuse(JsonElement schema, string path, string keyword, IEnumerable<string> others)
    {
        foreach (var other in others)
        {
            if (schema.TryGetProperty(other, out _))
                throw new ConstraintException($"'{other}' beside '{keyword}' is not supported", path);
        }
    }

    private static JsonElement? Get(JsonElement schema, string name) => schema.TryGetProperty(name, out var value) ? value : null;

    private static bool Has(JsonElement schema, params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (schema.TryGetProperty(name, out _))
                return true;
        }

        return false;
    }

    private static IEnumerable<JsonElement> Elements(JsonElement array) => array.ValueKind == JsonValueKind.Array ? array.EnumerateArray() : [];

    private static List<JsonElement> NotEmpty(JsonElement array, string path) =>
        Elements(array).ToList() is { Count: > 0 } list ? list : throw new ConstraintException("expected an array that is not empty", path);

    private static List<(string Name, JsonElement Value)> Members(JsonElement map, string path) =>
        map.ValueKind == JsonValueKind.Object ? [.. map.EnumerateObject().Select(m => (m.Name, m.Value))] : throw new ConstraintException("expected an object", path);

    private static double? Bound(JsonElement schema, string name, string path) => Get(schema, name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Number } value when value.TryGetDouble(out var bound) && Math.Abs(bound) < 1e27 => bound,
        _ => throw new ConstraintException($"expected '{name}' to be a number", path),
    };

    private static int? Count(JsonElement schema, string name, string path) => Get(schema, name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Number } value when value.TryGetInt32(out var count) && count >= 0 => count,
        _ => throw new ConstraintException($"expected '{name}' to be a whole number", path),
    };
}
