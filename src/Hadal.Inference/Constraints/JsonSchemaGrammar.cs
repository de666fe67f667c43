using System.Text.Json;

namespace Hadal.Inference.Constraints;

/// <summary>
/// JSON Schema as a grammar: what it lets through is JSON that satisfies the schema. Properties come in the schema's order, as OpenAI has it. What cannot be
/// followed a byte at a time is refused by name, never ignored; what only describes (title, description, default, examples, $comment) is ignored.
/// </summary>
/// <remarks>Keywords: those of drafts 6 to 2020-12 named in <see cref="Known"/>; a property's name decides nothing, so no keyword that tests names is among them.</remarks>
internal sealed class JsonSchemaGrammar
{
    private const int MostRefs = 1000;
    private const int MostRepeats = 4096;

    private static readonly HashSet<string> Known =
    [
        "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions",
        "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "additionalItems",
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

    private JsonSchemaGrammar(Grammar grammar, JsonPieces json, JsonElement root)
    {
        this.grammar = grammar;
        this.json = json;
        this.root = root;
    }

    /// <summary>The piece of a schema.</summary>
    /// <param name="grammar">The grammar it is to be part of.</param>
    /// <param name="json">JSON in the same grammar.</param>
    /// <param name="schema">An object, or true.</param>
    /// <exception cref="ConstraintException">It cannot be enforced; the message says which keyword, and where.</exception>
    public static Piece Of(Grammar grammar, JsonPieces json, JsonElement schema) => new JsonSchemaGrammar(grammar, json, schema).Schema(schema, "#");

    private Piece Schema(JsonElement schema, string path)
    {
        if (schema.ValueKind == JsonValueKind.True)
            return json.Value;
        if (schema.ValueKind != JsonValueKind.Object)
            throw new ConstraintException("expected a schema: an object or true", path);
        foreach (var keyword in schema.EnumerateObject())
        {
            if (!Known.Contains(keyword.Name) && !Describing.Contains(keyword.Name) && !keyword.Name.StartsWith("x-", StringComparison.Ordinal))
                throw new ConstraintException($"the keyword '{keyword.Name}' is not supported", path);
        }

        if (Get(schema, "$ref") is { } reference)
        {
            Refuse(schema, path, "$ref", Known.Where(k => k is not ("$ref" or "$defs" or "definitions")));
            return Reference(reference, path);
        }

        if (Get(schema, "const") is { } constant)
            return json.Constant(constant);
        if (Get(schema, "enum") is { } values)
            return Enumerated(schema, values, $"{path}/enum");
        if (Get(schema, "allOf") is { } all)
            return Schema(SchemaMerge.AllOf(schema, all, path, Resolve), path);
        if (Get(schema, "anyOf") is { } any)
            return Choices(schema, any, "anyOf", path);
        if (Get(schema, "oneOf") is { } one)
        {
            SchemaMerge.RequireApart(one, $"{path}/oneOf", Resolve);
            return Choices(schema, one, "oneOf", path);
        }

        return Types(schema, path);
    }

    private Piece Enumerated(JsonElement schema, JsonElement values, string path)
    {
        // A type beside an enumeration leaves those of its values that are of the type.
        string[] types = Get(schema, "type") switch
        {
            { ValueKind: JsonValueKind.String } type => [type.GetString()!],
            { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(t => t.GetString() ?? "")],
            _ => [],
        };
        var left = NotEmpty(values, path).Where(v => types.Length == 0 || types.Contains(SchemaMerge.TypeOf(v)) || (SchemaMerge.TypeOf(v) == "integer" && types.Contains("number"))).ToList();
        return left.Count > 0 ? grammar.AnyOf([.. left.Select(json.Constant)]) : throw new ConstraintException("no value is of the type", path);
    }

    private Piece Choices(JsonElement schema, JsonElement choices, string keyword, string path)
    {
        // What stands beside anyOf holds for each of its branches.
        var branches = NotEmpty(choices, $"{path}/{keyword}").Select((c, i) => Schema(SchemaMerge.Beside(schema, c, keyword, $"{path}/{keyword}/{i}", Resolve), $"{path}/{keyword}/{i}"));
        return grammar.AnyOf([.. branches]);
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
        return types.Length == 0 ? json.Value : grammar.AnyOf([.. types.Distinct().Select(t => Typed(t, schema, path))]);
    }

    // A schema without a type allows every other type, too; one that names properties is meant to be an object.
    private static string[] Implied(JsonElement schema) =>
        Has(schema, "properties", "required", "additionalProperties") ? ["object"]
        : Has(schema, "items", "prefixItems", "minItems", "maxItems") ? ["array"]
        : Has(schema, "minLength", "maxLength", "pattern", "format") ? ["string"]
        : Has(schema, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") ? ["number"]
        : [];

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
        if (min is null && max is null && above is null && below is null)
            return whole ? json.Integer : json.Number;
        var openMin = above is not null && (min is null || above >= min);
        var openMax = below is not null && (max is null || below <= max);
        var low = openMin ? above!.Value : min ?? double.NegativeInfinity;
        var high = openMax ? below!.Value : max ?? double.PositiveInfinity;
        if (!whole)
            return JsonNumberRange.Decimals(grammar, low, high, openMin, openMax, path);
        return JsonNumberRange.Integers(grammar, openMin && low == Math.Floor(low) ? low + 1 : low, openMax && high == Math.Floor(high) ? high - 1 : high, path);
    }

    private Piece Array(JsonElement schema, string path)
    {
        var min = Count(schema, "minItems", path) ?? 0;
        var max = Count(schema, "maxItems", path);
        if (min > MostRepeats || max > MostRepeats)
            throw new ConstraintException($"at most {MostRepeats} elements can be counted", path);
        if (max < min)
            throw new ConstraintException("maxItems is below minItems", path);
        var first = Get(schema, "prefixItems") is { } prefix ? Elements(prefix).Select((s, i) => grammar.Named(Schema(s, $"{path}/prefixItems/{i}"))).ToArray() : [];
        var items = Get(schema, "items");
        var rest = items is { ValueKind: JsonValueKind.False } ? null
            : items is { ValueKind: not JsonValueKind.True } given ? grammar.Named(Schema(given, $"{path}/items")) : json.Value;
        if (rest is null)
            max = Math.Min(max ?? first.Length, first.Length);
        if (max < min)
            throw new ConstraintException("there are fewer kinds of elements than minItems", path);
        return from =>
        {
            // State i is behind i elements.
            var end = grammar.State();
            var at = Grammar.Sequence(grammar.Text("["), json.Space)(from);
            var counted = Math.Max(Math.Max(first.Length, min), max ?? 0);
            if (max is { } most)
                counted = Math.Min(counted, most);
            for (var i = 0; i <= counted; i++)
            {
                if (i >= min)
                    grammar.Join(i == 0 ? at : json.Space(at), end);
                if (i < counted)
                    at = Element(i, i < first.Length ? first[i] : rest!)(at);
            }

            if (max is null)
            {
                // Any number more.
                var loop = Element(counted, rest!)(at);
                grammar.Join(json.Space(loop), end);
                grammar.Join(Grammar.Sequence(json.Comma, rest!)(loop), loop);
            }

            return grammar.Text("]")(end);
        };

        Piece Element(int index, Piece element) => index == 0 ? element : Grammar.Sequence(json.Comma, element);
    }

    private Piece Object(JsonElement schema, string path)
    {
        var properties = Get(schema, "properties") is { } p ? Members(p, $"{path}/properties") : [];
        var required = Get(schema, "required") is { } r ? Elements(r).Select(e => e.GetString() ?? "").ToHashSet(StringComparer.Ordinal) : [];
        var more = Get(schema, "additionalProperties");
        var others = more is { ValueKind: JsonValueKind.False } ? null
            : more is { ValueKind: JsonValueKind.Object } given ? grammar.Named(Schema(given, $"{path}/additionalProperties")) : json.Value;
        var members = new List<(Piece Member, bool Required)>();
        foreach (var (name, value) in properties)
        {
            // A property that nothing satisfies may only be absent.
            if (value.ValueKind == JsonValueKind.False && !required.Contains(name))
                continue;
            members.Add((Grammar.Sequence(json.Constant(name), json.Colon, grammar.Named(Schema(value, $"{path}/properties/{name}"))), required.Contains(name)));
        }

        foreach (var name in required.Where(n => !properties.Exists(q => q.Name == n)))
            members.Add((Grammar.Sequence(json.Constant(name), json.Colon, others ?? throw new ConstraintException($"'{name}' is required, but not allowed", path)), true));
        var taken = properties.Select(q => q.Name).Concat(required).ToHashSet(StringComparer.Ordinal);

        // A schema that says nothing of additional properties allows them; a model that is free to invent some would, so those that were named are all there are.
        var other = others is null || (more is null && properties.Count > 0) ? null : Grammar.Sequence(json.OtherName(taken), json.Colon, others);
        return from =>
        {
            // Two rows of states: nothing written yet, and something written, after which a comma is due.
            var none = (int?)Grammar.Sequence(grammar.Text("{"), json.Space)(from);
            int? some = null;
            foreach (var (member, isRequired) in members)
            {
                var after = grammar.State();
                if (none is { } n)
                    grammar.Join(member(n), after);
                if (some is { } s)
                {
                    grammar.Join(Grammar.Sequence(json.Comma, member)(s), after);
                    if (!isRequired)
                        grammar.Join(s, after);
                }

                none = isRequired ? null : none;
                some = after;
            }

            var end = grammar.State();
            if (other is not null)
            {
                var loop = grammar.State();
                if (none is { } n)
                    grammar.Join(other(n), loop);
                if (some is { } s)
                    grammar.Join(s, loop);
                grammar.Join(Grammar.Sequence(json.Comma, other)(loop), loop);
                some = loop;
            }

            if (none is { } empty)
                grammar.Join(empty, end);
            if (some is { } last)
                grammar.Join(json.Space(last), end);
            return grammar.Text("}")(end);
        };
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
