using System.Text.Json;

namespace Hadal.Inference.Constraints;

/// <content>Arrays and objects.</content>
internal sealed partial class JsonSchemaGrammar
{
    private const int MostRepeats = 4096;
    private const int MostUnique = 10;
    private const int MostPatterns = 4;

    private Piece Array(JsonElement schema, string path)
    {
        var min = Count(schema, "minItems", path) ?? 0;
        var max = Count(schema, "maxItems", path);
        if (min > MostRepeats || max > MostRepeats)
            throw new ConstraintException($"at most {MostRepeats} elements can be counted", path);
        if (max < min)
            throw ConstraintException.Contradiction("maxItems is below minItems", path);
        var first = Get(schema, "prefixItems") is { } prefix ? Elements(prefix).Select((s, i) => grammar.Named(Schema(s, $"{path}/prefixItems/{i}"))).ToArray() : [];
        var items = Get(schema, "items");
        var rest = items is { ValueKind: JsonValueKind.False } ? null
            : items is { ValueKind: not JsonValueKind.True } given ? grammar.Named(Schema(given, $"{path}/items")) : json.Value;
        if (rest is null)
            max = Math.Min(max ?? first.Length, first.Length);
        if (max < min)
            throw ConstraintException.Contradiction("there are fewer kinds of elements than minItems", path);
        if (Get(schema, "uniqueItems") is { ValueKind: JsonValueKind.True } && !(max <= 1))
            return Unique(first.Length > 0 ? null : items, min, max, path);
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

    // Elements that all differ: a state for each set of values that have come. Only where the values are few and named.
    private Piece Unique(JsonElement? items, int min, int? max, string path)
    {
        var values = items is { ValueKind: JsonValueKind.Object } schema ? Values(Get(schema, "$ref") is { } reference ? Resolve(reference.GetString() ?? "", path) : schema) : null;
        if (values is null || values.Count > MostUnique)
            throw new ConstraintException($"'uniqueItems' is not supported but for at most {MostUnique} values that 'items' names (enum, const, boolean)", path);
        var most = Math.Min(max ?? values.Count, values.Count);
        if (most < min)
            throw ConstraintException.Contradiction("there are fewer different elements than minItems", path);
        var (plain, behind) = (values.ConvertAll(v => grammar.Named(json.Constant(v))), values.ConvertAll(v => grammar.Named(Grammar.Sequence(json.Comma, json.Constant(v)))));
        return from =>
        {
            var end = grammar.State();
            var states = new int[1 << values.Count];
            states[0] = Grammar.Sequence(grammar.Text("["), json.Space)(from);
            for (var set = 1; set < states.Length; set++)
                states[set] = grammar.State();
            for (var set = 0; set < states.Length; set++)
            {
                var count = System.Numerics.BitOperations.PopCount((uint)set);
                if (count >= min && count <= most)
                    grammar.Join(set == 0 ? states[0] : json.Space(states[set]), end);
                for (var i = 0; i < values.Count && count < most; i++)
                {
                    if ((set & (1 << i)) == 0)
                        grammar.Join((set == 0 ? plain : behind)[i](states[set]), states[set | (1 << i)]);
                }
            }

            return grammar.Text("]")(end);
        };

        List<JsonElement>? Values(JsonElement of)
        {
            var named = SchemaMerge.Enumeration(of) ?? (Get(of, "type") is { ValueKind: JsonValueKind.String } type && type.GetString() == "boolean" ? [JsonSerializer.SerializeToElement(true), JsonSerializer.SerializeToElement(false)] : null);
            var match = new SchemaMatch(Resolve);
            return named is null ? null : [.. named.Where((v, i) => match.Holds(of, v, path) && !named.Take(i).Any(w => JsonElement.DeepEquals(v, w)))];
        }
    }

    private Piece Object(JsonElement schema, string path)
    {
        var properties = Get(schema, "properties") is { } p ? Members(p, $"{path}/properties") : [];
        var required = Get(schema, "required") is { } r ? Elements(r).Select(e => e.GetString() ?? "").ToHashSet(StringComparer.Ordinal) : [];
        var more = Get(schema, "additionalProperties");
        var others = more is { ValueKind: JsonValueKind.False } ? null
            : more is { ValueKind: JsonValueKind.Object } given ? grammar.Named(Schema(given, $"{path}/additionalProperties")) : json.Value;
        var patterns = Get(schema, "patternProperties") is { } map ? Patterns(Members(map, $"{path}/patternProperties"), path) : [];
        var members = new List<(Piece Member, bool Required)>();
        foreach (var (name, own) in properties)
        {
            // A pattern that finds a property's name holds for it, too.
            var value = With(own, patterns.Where(p => p.Names.Contains(name)).Select(p => p.Schema), path);

            // A property that nothing satisfies may only be absent.
            if (value.ValueKind == JsonValueKind.False && !required.Contains(name))
                continue;
            members.Add((Grammar.Sequence(json.Constant(name), json.Colon, grammar.Named(Schema(value, $"{path}/properties/{name}"))), required.Contains(name)));
        }

        foreach (var name in required.Where(n => !properties.Exists(q => q.Name == n)))
        {
            var found = patterns.Where(p => p.Names.Contains(name)).Select(p => p.Schema).ToList();
            var value = found.Count > 0 ? grammar.Named(Schema(With(found[0], found.Skip(1), path), $"{path}/patternProperties")) : others;
            members.Add((Grammar.Sequence(json.Constant(name), json.Colon, value ?? throw ConstraintException.Contradiction($"'{name}' is required, but not allowed", path)), true));
        }

        var taken = properties.Select(q => q.Name).Concat(required).ToHashSet(StringComparer.Ordinal);

        // A schema that says nothing of additional properties allows them; a model that is free to invent some would, so those that were named are all there are.
        var other = patterns.Count > 0 ? Matching(patterns, taken, more is null ? null : others, path)
            : others is null || (more is null && properties.Count > 0) ? null : Grammar.Sequence(json.OtherName(taken), json.Colon, others);
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

    private static List<(TextAutomaton Names, JsonElement Schema)> Patterns(List<(string Pattern, JsonElement Schema)> map, string path) =>
        map.Count <= MostPatterns ? map.ConvertAll(p => (TextAutomaton.Of(JsonPattern.Parse(p.Pattern, $"{path}/patternProperties"), $"{path}/patternProperties"), p.Schema))
        : throw new ConstraintException($"'patternProperties' with more than {MostPatterns} patterns is not supported", path);

    private JsonElement With(JsonElement schema, IEnumerable<JsonElement> others, string path)
    {
        var all = others.Prepend(schema).ToList();
        return all.Count == 1 ? schema
            : all.Exists(s => s.ValueKind == JsonValueKind.False) ? JsonSerializer.SerializeToElement(false)
            : JsonSerializer.SerializeToElement(new Dictionary<string, List<JsonElement>> { ["allOf"] = all });
    }

    // Members that are not named: for each set of patterns the names that those find and no other, and the names that none finds.
    private Piece? Matching(List<(TextAutomaton Names, JsonElement Schema)> patterns, HashSet<string> taken, Piece? others, string path)
    {
        var at = $"{path}/patternProperties";
        var free = TextAutomaton.Of(PatternNode.Anything, at).Without(TextAutomaton.Of(taken, at), at);
        var members = new List<Piece>();
        for (var set = 0; set < 1 << patterns.Count; set++)
        {
            var found = patterns.Where((_, i) => (set & (1 << i)) != 0).Select(p => p.Schema).ToList();
            if (set == 0 && others is null)
                continue;
            var names = patterns.Select((p, i) => (p.Names, IsIn: (set & (1 << i)) != 0)).Aggregate(free, (all, p) => p.IsIn ? all.And(p.Names, at) : all.Without(p.Names, at));
            if (names.IsEmpty || (found.Count > 0 && With(found[0], found.Skip(1), at).ValueKind == JsonValueKind.False))
                continue;
            try
            {
                var value = set == 0 ? others! : grammar.Named(Schema(With(found[0], found.Skip(1), at), at));
                members.Add(Grammar.Sequence(grammar.Text("\""), names.Piece(grammar, json, isName: true), grammar.Text("\""), json.Colon, value));
            }
            catch (ConstraintException e) when (e.IsContradiction)
            {
                // No member has such a name.
            }
        }

        return members.Count == 0 ? null : grammar.Named(grammar.AnyOf(members));
    }
}
