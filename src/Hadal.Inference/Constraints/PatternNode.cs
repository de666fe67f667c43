namespace Hadal.Inference.Constraints;

/// <summary>A regular expression as a tree over characters (code points).</summary>
internal abstract record PatternNode
{
    /// <summary>Any text.</summary>
    public static PatternNode Anything { get; } = new Repeat(new Set([(0, JsonPieces.LastCodePoint)]), 0, null);

    /// <summary>The insides of the JSON strings that are texts of the expression.</summary>
    /// <param name="grammar">The grammar.</param>
    /// <param name="json">JSON in the same grammar.</param>
    public Piece Piece(Grammar grammar, JsonPieces json)
    {
        // A set that comes several times is one rule.
        var sets = new Dictionary<string, Piece>();
        return Of(this);

        Piece Of(PatternNode node) => node switch
        {
            Repeat { Min: 0, Max: null, Node: Set { Ranges: [(0, JsonPieces.LastCodePoint)] } } => grammar.Repeat(json.Character, 0, null),
            Sequence sequence => Grammar.Sequence([.. sequence.Nodes.Select(Of)]),
            Choice choice => grammar.AnyOf([.. choice.Nodes.Select(Of)]),
            Repeat repeat => grammar.Repeat(grammar.Named(Of(repeat.Node)), repeat.Min, repeat.Max),
            Set set => sets.TryGetValue(Key(set), out var known) ? known : sets[Key(set)] = grammar.Named(grammar.AnyOf([.. set.Ranges.Select(r => json.Written(r.Low, r.High))])),
            _ => throw new InvalidOperationException($"{node}"),
        };

        static string Key(Set set) => string.Join(',', set.Ranges);
    }

    /// <summary>One character of some ranges.</summary>
    public sealed record Set(IReadOnlyList<(int Low, int High)> Ranges) : PatternNode;

    /// <summary>One after the other.</summary>
    public sealed record Sequence(IReadOnlyList<PatternNode> Nodes) : PatternNode;

    /// <summary>One of several.</summary>
    public sealed record Choice(IReadOnlyList<PatternNode> Nodes) : PatternNode;

    /// <summary>Some number of times; without limit where <paramref name="Max"/> is null.</summary>
    public sealed record Repeat(PatternNode Node, int Min, int? Max) : PatternNode;
}
