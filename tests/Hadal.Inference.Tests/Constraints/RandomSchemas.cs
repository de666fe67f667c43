using System.Text.Json.Nodes;

namespace Hadal.Inference.Tests.Constraints;

/// <summary>Random schemas that something satisfies, of every keyword that is supported.</summary>
internal sealed class RandomSchemas(int seed)
{
    private readonly Random random = new(seed);

    public JsonObject Next()
    {
        var schema = Object(3);
        if (random.Next(4) == 0)
        {
            // A list that goes on in itself.
            schema["definitions"] = new JsonObject { ["node"] = new JsonObject { ["type"] = "object", ["properties"] = new JsonObject { ["v"] = Value(0), ["next"] = new JsonObject { ["anyOf"] = new JsonArray(new JsonObject { ["type"] = "null" }, new JsonObject { ["$ref"] = "#/definitions/node" }) } }, ["required"] = new JsonArray("v", "next"), ["additionalProperties"] = false } };
            ((JsonObject)schema["properties"]!)["list"] = new JsonObject { ["$ref"] = "#/definitions/node" };
        }

        return schema;
    }

    /// <summary>The same schema in the keywords that the validator knows: if as alternatives, const as an enumeration.</summary>
    public static string ForValidator(string schema)
    {
        return Of(JsonNode.Parse(schema))!.ToJsonString();

        static JsonNode? Of(JsonNode? node)
        {
            if (node is JsonArray array)
                return new JsonArray([.. array.Select(Of)]);
            if (node is not JsonObject map)
                return node?.DeepClone();
            var copy = new JsonObject(map.Where(m => m.Key is not ("if" or "then" or "else")).Select(m => KeyValuePair.Create(m.Key, m.Key is "enum" or "const" ? m.Value?.DeepClone() : Of(m.Value))));
            if (copy.Remove("const", out var constant))
                copy["enum"] = new JsonArray(constant?.DeepClone());
            if (map["if"] is { } condition)
            {
                copy["anyOf"] = new JsonArray(
                    new JsonObject { ["allOf"] = new JsonArray(Of(condition), Of(map["then"])) },
                    new JsonObject { ["allOf"] = new JsonArray(new JsonObject { ["not"] = Of(condition) }, Of(map["else"])) });
            }

            return copy;
        }
    }

    private JsonObject Value(int depth) => random.Next(depth > 0 ? 15 : 11) switch
    {
        8 => Multiple(),
        9 => Without(),
        10 => new JsonObject { ["type"] = "array", ["items"] = new JsonObject { ["enum"] = new JsonArray("a", "b", 3, null, true) }, ["uniqueItems"] = true, ["minItems"] = random.Next(0, 4) },
        0 => Text(),
        1 => Integer(),
        2 => Number(),
        3 => new JsonObject { ["type"] = "boolean" },
        4 => new JsonObject { ["enum"] = new JsonArray("a", "ab", "\"quoted\" \\ line\nbreak", 7, null, true) },
        5 => new JsonObject { ["const"] = new JsonObject { ["k"] = new JsonArray(1, "北京") } },
        6 => new JsonObject { ["type"] = new JsonArray("string", "null"), ["maxLength"] = 3 },
        7 => new JsonObject { ["type"] = "string", ["format"] = Pick("date", "date-time", "time", "uuid", "ipv4", "email") },
        11 or 12 => Object(depth - 1),
        13 => Array(depth - 1),
        _ => Choice(depth - 1),
    };

    private JsonObject Multiple()
    {
        var schema = random.Next(2) == 0
            ? new JsonObject { ["type"] = "integer", ["multipleOf"] = random.Next(2, 50) }
            : new JsonObject { ["type"] = "number", ["multipleOf"] = JsonNode.Parse(Pick("0.5", "0.25", "0.1", "2.5", "0.01", "3")) };
        var low = random.Next(-300, 300);
        if (random.Next(2) == 0)
            schema[Pick("minimum", "exclusiveMinimum")] = low;
        if (random.Next(2) == 0)
            schema[Pick("maximum", "exclusiveMaximum")] = low + random.Next(60, 500);
        return schema;
    }

    private JsonObject Without() => random.Next(6) switch
    {
        0 => new JsonObject { ["type"] = "string", ["maxLength"] = 1, ["not"] = new JsonObject { ["enum"] = new JsonArray("", "a", "北") } },
        1 => new JsonObject { ["type"] = "integer", ["minimum"] = 3, ["maximum"] = 7, ["not"] = new JsonObject { ["const"] = random.Next(0, 9) } },
        2 => new JsonObject { ["type"] = new JsonArray("string", "integer", "null"), ["not"] = new JsonObject { ["type"] = Pick("string", "null") } },
        3 => new JsonObject
        {
            ["type"] = "object", ["properties"] = new JsonObject { ["a"] = Integer(), ["b"] = new JsonObject { ["type"] = "boolean" } },
            ["not"] = new JsonObject { ["required"] = new JsonArray("a", "b") }, ["additionalProperties"] = random.Next(2) == 0,
        },
        4 => new JsonObject { ["type"] = "integer", ["oneOf"] = new JsonArray(new JsonObject { ["minimum"] = random.Next(-5, 5) }, new JsonObject { ["maximum"] = random.Next(0, 10) }) },
        _ => new JsonObject
        {
            ["type"] = "object", ["properties"] = new JsonObject { ["kind"] = new JsonObject { ["enum"] = new JsonArray("x", "y", "z") }, ["n"] = Integer(), ["t"] = Text() }, ["required"] = new JsonArray("kind"),
            ["if"] = new JsonObject { ["properties"] = new JsonObject { ["kind"] = new JsonObject { ["const"] = "x" } } }, ["then"] = new JsonObject { ["required"] = new JsonArray("n") },
            ["else"] = new JsonObject { ["required"] = new JsonArray("t") }, ["additionalProperties"] = false,
        },
    };

    private JsonObject Text() => random.Next(5) switch
    {
        3 => new JsonObject { ["type"] = "string", ["pattern"] = Pick("^[a-z ]+$", "x", "^(ab|c)*$"), ["minLength"] = 2, ["maxLength"] = random.Next(2, 9) },
        0 => new JsonObject { ["type"] = "string" },
        1 => new JsonObject { ["type"] = "string", ["maxLength"] = random.Next(0, 20) },
        2 => new JsonObject { ["type"] = "string", ["minLength"] = 2, ["maxLength"] = random.Next(2, 9) },
        _ => new JsonObject { ["type"] = "string", ["pattern"] = Pick("^[a-z]{2,5}$", "^(foo|ba[rz])-\\d+$", "^\\+?[0-9]{3}( [0-9]{2})*$", "x[^a-z\"]y", "^[\\w.]+\\\\\"$", "^(?:[A-Z][a-z]*\\s?)+$") },
    };

    private JsonObject Integer()
    {
        var schema = new JsonObject { ["type"] = "integer" };
        var low = random.Next(-2000, 2000);
        if (random.Next(2) == 0)
            schema[Pick("minimum", "exclusiveMinimum")] = low;
        if (random.Next(2) == 0)
            schema[Pick("maximum", "exclusiveMaximum")] = low + random.Next(2, 3000);
        return schema;
    }

    private JsonObject Number()
    {
        var schema = new JsonObject { ["type"] = "number" };
        var low = Math.Round((random.NextDouble() * 20) - 10, random.Next(0, 4));
        if (random.Next(2) == 0)
            schema[Pick("minimum", "exclusiveMinimum")] = low;
        if (random.Next(2) == 0)
            schema[Pick("maximum", "exclusiveMaximum")] = low + Math.Round(0.001 + (random.NextDouble() * 3), 3);
        return schema;
    }

    private JsonObject Object(int depth)
    {
        var properties = new JsonObject();
        var required = new JsonArray();
        for (var i = random.Next(0, 5); i > 0; i--)
        {
            var name = Pick("a", "ab", "b", "name", "北", "with \"quotes\"", "x/y") + random.Next(3);
            if (properties.ContainsKey(name))
                continue;
            properties[name] = Value(depth);
            if (random.Next(2) == 0)
                required.Add(name);
        }

        var schema = new JsonObject { ["type"] = "object", ["properties"] = properties, ["required"] = required };
        if (random.Next(3) > 0)
            schema["additionalProperties"] = random.Next(3) switch { 0 => true, 1 => Value(0), _ => false };
        if (random.Next(4) == 0)
            schema["patternProperties"] = new JsonObject { ["^p_[a-z]{1,3}$"] = Value(0), ["_b"] = new JsonObject() };
        return schema;
    }

    private JsonObject Array(int depth)
    {
        var schema = new JsonObject { ["type"] = "array", ["items"] = Value(depth) };
        var low = random.Next(0, 3);
        if (random.Next(2) == 0)
            schema["minItems"] = low;
        if (random.Next(2) == 0)
            schema["maxItems"] = low + random.Next(0, 3);
        return schema;
    }

    private JsonObject Choice(int depth) => random.Next(3) switch
    {
        0 => new JsonObject { ["anyOf"] = new JsonArray(Value(depth), Value(depth)) },
        1 => new JsonObject { ["oneOf"] = new JsonArray(Integer(), Text(), new JsonObject { ["type"] = "object", ["properties"] = new JsonObject { ["k"] = new JsonObject { ["const"] = 1 } }, ["required"] = new JsonArray("k") }) },
        _ => new JsonObject { ["allOf"] = new JsonArray(new JsonObject { ["type"] = "object", ["properties"] = new JsonObject { ["p"] = Value(0) }, ["required"] = new JsonArray("p") }, new JsonObject { ["properties"] = new JsonObject { ["q"] = Value(0) } }) },
    };

    private string Pick(params string[] words) => words[random.Next(words.Length)];
}
