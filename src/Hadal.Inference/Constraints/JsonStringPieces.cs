using System.Text.Json;

namespace Hadal.Inference.Constraints;

/// <summary>Strings of a schema: by length, pattern or format.</summary>
internal static class JsonStringPieces
{
    private const int MostLength = 16384;

    // Narrower than the formats' standards, so that every validator agrees. A format not named here only describes, as JSON Schema has it by default.
    private static readonly Dictionary<string, string> Formats = new()
    {
        ["date"] = "^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$",
        ["time"] = "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        ["date-time"] = "^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        ["duration"] = "^P([0-9]{1,3}D|T[0-9]{1,3}H|T[0-9]{1,3}M|T[0-9]{1,3}S)$",
        ["uuid"] = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        ["ipv4"] = "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$",
        ["email"] = "^[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}@[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}\\.[a-z]{2,6}$",
        ["hostname"] = "^[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,4}$",
        ["uri"] = "^https?://[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){1,4}(/[A-Za-z0-9._~-]{0,40}){0,8}$",
    };

    /// <summary>The strings that a schema allows.</summary>
    public static Piece Of(Grammar grammar, JsonPieces json, JsonElement schema, string path)
    {
        var min = Length(schema, "minLength", path) ?? 0;
        var max = Length(schema, "maxLength", path);
        if (max < min)
            throw ConstraintException.Contradiction("maxLength is below minLength", path);
        var excluded = SchemaMerge.Excluded(schema).Where(v => v.ValueKind == JsonValueKind.String).Select(v => v.GetString()!).ToList();
        var pattern = schema.TryGetProperty("pattern", out var p) ? p.GetString() : null;
        if (pattern is null && schema.TryGetProperty("format", out var f) && f.ValueKind == JsonValueKind.String)
            pattern = Formats.GetValueOrDefault(f.GetString()!);
        if (pattern is null && excluded.Count == 0)
        {
            return min == 0 && max is null ? json.String
                : Grammar.Sequence(grammar.Text("\""), grammar.Repeat(json.CountedCharacter, min, max), grammar.Text("\""));
        }

        var node = pattern is null ? PatternNode.Anything : JsonPattern.Parse(pattern, path);
        if (min == 0 && max is null && excluded.Count == 0)
            return Grammar.Sequence(grammar.Text("\""), node.Piece(grammar, json), grammar.Text("\""));

        // Texts that satisfy several conditions at once.
        var texts = TextAutomaton.Of(node, path);
        if (texts.Shortest < min || texts.Longest > (max ?? int.MaxValue))
            texts = texts.And(TextAutomaton.OfLength(min, max, path), path);
        if (excluded.Count > 0)
            texts = texts.Without(TextAutomaton.Of(excluded, path), path);
        return texts.IsEmpty ? throw ConstraintException.Contradiction("no string satisfies 'pattern' and what stands beside it", path)
            : Grammar.Sequence(grammar.Text("\""), texts.Piece(grammar, json), grammar.Text("\""));
    }

    private static int? Length(JsonElement schema, string name, string path)
    {
        if (!schema.TryGetProperty(name, out var value))
            return null;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetInt32(out var length) || length < 0)
            throw new ConstraintException($"expected '{name}' to be a whole number", path);
        return length <= MostLength ? length : name == "maxLength" ? null : throw new ConstraintException($"'{name}' above {MostLength} is not supported", path);
    }
}
