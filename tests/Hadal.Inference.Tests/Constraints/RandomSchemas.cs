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

    private JsonObject Value(int depth) => random.Next(depth > 0 ? 12 : 8) switch
    {
        0 => Text(),
        1 => Integer(),
        2 => Number(),
        3 => new JsonObject { ["type"] = "boolean" },
        4 => new JsonObject { ["enum"] = new JsonArray("a", "ab", "\"quoted\" \\ line\nbreak", 7, null, true) },
        5 => new JsonObject { ["const"] = new JsonObject { ["k"] = new JsonArray(1, "北京") } },
        6 => new JsonObject { ["type"] = new JsonArray("string", "null"), ["maxLength"] = 3 },
        7 => new JsonObject { ["type"] = "string", ["format"] = Pick("date", "date-time", "time", "uuid", "ipv4", "email") },
        8 or 9 => Object(depth - 1),
        10 => Array(depth - 1),
        _ => Choice(depth - 1),
    };

    private JsonObject Text() => random.Next(4) switch
    {
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
