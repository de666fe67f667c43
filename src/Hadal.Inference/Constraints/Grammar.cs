using System.Text;

namespace Hadal.Inference.Constraints;

/// <summary>A form that cannot be enforced: a schema that nothing satisfies, that says what cannot be followed a byte at a time, or that is too large.</summary>
/// <param name="message">One sentence.</param>
/// <param name="path">Where in the schema, as a JSON pointer; null for the whole.</param>
public sealed class ConstraintException(string message, string? path = null) : Exception(path is null ? message : $"{message} (at {path})")
{
    /// <summary>Where in the schema, as a JSON pointer.</summary>
    public string? Path { get; } = path;

    /// <summary>Whether it says that nothing satisfies this part: one of several alternatives may then be left out.</summary>
    internal bool IsContradiction { get; private init; }

    /// <summary>Nothing satisfies a part of a schema.</summary>
    internal static ConstraintException Contradiction(string message, string path) => new(message, path) { IsContradiction = true };
}

/// <summary>A piece of a grammar: what leads from one state to another.</summary>
/// <param name="from">State before it.</param>
/// <returns>State after it.</returns>
public delegate int Piece(int from);

/// <summary>
/// A context-free grammar over bytes and control tokens, as a network of states: an edge consumes a byte of a range, consumes a token, consumes nothing, or
/// runs through another rule. Built by putting <see cref="Piece"/>s together, then <see cref="Complete"/>d; immutable from then on.
/// </summary>
public sealed class Grammar
{
    /// <summary>Bytes to the end of a rule that has none.</summary>
    internal const int Unreachable = int.MaxValue / 4;

    private const int MostStates = 1 << 18;
    private const int MostPasses = 1000;

    private readonly List<List<Edge>> edges = [];
    private readonly List<Rule> rules = [];
    private readonly HashSet<int> marks = [];
    private int[] distances = [];
    private int root;

    /// <summary>What an edge does.</summary>
    internal enum Kind
    {
        Byte,
        Token,
        AnyToken,
        Nothing,
        Call,
    }

    /// <summary>Control tokens that some edge names; <see cref="AnyToken"/> leaves them out.</summary>
    internal IReadOnlySet<int> Marks => marks;

    /// <summary>Whether some edge consumes control tokens.</summary>
    internal bool UsesTokens { get; private set; }

    /// <summary>First state of the rule that everything is.</summary>
    internal int Start => rules[root].Start;

    /// <summary>Consumes nothing.</summary>
    public static Piece Nothing => static from => from;

    /// <summary>Consumes one byte of a range.</summary>
    public Piece Byte(byte low, byte high) => from => To(from, Kind.Byte, low, high);

    /// <summary>Consumes a text in UTF-8.</summary>
    public Piece Text(string text) => from =>
    {
        foreach (var b in Encoding.UTF8.GetBytes(text))
            from = To(from, Kind.Byte, b, b);
        return from;
    };

    /// <summary>Consumes a control token.</summary>
    public Piece Token(int id)
    {
        marks.Add(id);
        UsesTokens = true;
        return from => To(from, Kind.Token, id, id);
    }

    /// <summary>Consumes any control token that no other piece names.</summary>
    public Piece AnyToken()
    {
        UsesTokens = true;
        return from => To(from, Kind.AnyToken, 0, 0);
    }

    /// <summary>One piece after the other.</summary>
    public static Piece Sequence(params Piece[] pieces) => from =>
    {
        foreach (var piece in pieces)
            from = piece(from);
        return from;
    };

    /// <summary>One of several pieces.</summary>
    public Piece AnyOf(params IEnumerable<Piece> pieces) => from =>
    {
        var end = State();
        foreach (var piece in pieces)
        {
            // Each begins at a state of its own, so that a loop inside one does not reach the others.
            var begin = State();
            Add(from, new Edge(Kind.Nothing, 0, 0, begin));
            Add(piece(begin), new Edge(Kind.Nothing, 0, 0, end));
        }

        return end;
    };

    /// <summary>A piece or nothing.</summary>
    public Piece Optional(Piece piece) => AnyOf(piece, Nothing);

    /// <summary>A piece some number of times.</summary>
    /// <param name="piece">What.</param>
    /// <param name="min">At least.</param>
    /// <param name="max">At most; null without limit.</param>
    public Piece Repeat(Piece piece, int min, int? max) => from =>
    {
        for (var i = 0; i < min; i++)
            from = piece(from);
        var end = State();
        if (max is null)
        {
            var loop = State();
            Add(from, new Edge(Kind.Nothing, 0, 0, loop));
            Add(piece(loop), new Edge(Kind.Nothing, 0, 0, loop));
            Add(loop, new Edge(Kind.Nothing, 0, 0, end));
            return end;
        }

        for (var i = min; i < max; i++)
        {
            Add(from, new Edge(Kind.Nothing, 0, 0, end));
            var next = State();
            Add(from, new Edge(Kind.Nothing, 0, 0, next));
            from = piece(next);
        }

        Add(from, new Edge(Kind.Nothing, 0, 0, end));
        return end;
    };

    /// <summary>Joins two states by nothing, for shapes that the other pieces cannot make.</summary>
    public void Join(int from, int to) => Add(from, new Edge(Kind.Nothing, 0, 0, to));

    /// <summary>A new state.</summary>
    public int State()
    {
        if (edges.Count >= MostStates)
            throw new ConstraintException($"the schema needs a grammar of more than {MostStates} states");
        edges.Add([]);
        return edges.Count - 1;
    }

    /// <summary>Declares a rule, which may be called before it is defined.</summary>
    public int Declare()
    {
        rules.Add(new Rule(State(), State()));
        return rules.Count - 1;
    }

    /// <summary>Says what a rule is.</summary>
    public void Define(int rule, Piece body) => Add(body(rules[rule].Start), new Edge(Kind.Nothing, 0, 0, rules[rule].End));

    /// <summary>Runs through a rule.</summary>
    public Piece Call(int rule) => from =>
    {
        var to = State();
        Add(from, new Edge(Kind.Call, rule, rule, to));
        return to;
    };

    /// <summary>Declares and defines a rule.</summary>
    public Piece Named(Piece body)
    {
        var rule = Declare();
        Define(rule, body);
        return Call(rule);
    }

    /// <summary>Ends the building: everything is this piece.</summary>
    /// <exception cref="ConstraintException">Nothing satisfies it, or a rule begins with itself.</exception>
    public Grammar Complete(Piece everything)
    {
        root = Declare();
        Define(root, everything);
        Measure();
        if (distances[rules[root].Start] >= Unreachable)
            throw new ConstraintException("nothing satisfies the schema");
        RefuseLeftRecursion();
        return this;
    }

    internal IReadOnlyList<Edge> Edges(int state) => edges[state];

    internal Rule RuleOf(int rule) => rules[rule];

    /// <summary>Whether a rule ends at a state.</summary>
    internal bool IsEnd(int state) => edges[state].Count == 0 && distances[state] == 0;

    /// <summary>Fewest bytes (a control token counts as one) from a state to the end of its rule.</summary>
    internal int Distance(int state) => distances[state];

    private int To(int from, Kind kind, int low, int high)
    {
        var to = State();
        Add(from, new Edge(kind, low, high, to));
        return to;
    }

    private void Add(int from, Edge edge) => edges[from].Add(edge);

    private void Measure()
    {
        distances = new int[edges.Count];
        Array.Fill(distances, Unreachable);
        foreach (var rule in rules)
            distances[rule.End] = 0;
        var changed = true;
        for (var pass = 0; changed; pass++)
        {
            if (pass > MostPasses)
                throw new ConstraintException("the schema is nested too deeply");
            changed = false;
            for (var state = edges.Count - 1; state >= 0; state--)
            {
                foreach (var edge in edges[state])
                {
                    var cost = edge.Kind switch { Kind.Nothing => 0, Kind.Call => distances[rules[edge.Low].Start], _ => 1 };
                    var distance = Math.Min(Unreachable, cost + distances[edge.To]);
                    if (distance >= distances[state])
                        continue;
                    distances[state] = distance;
                    changed = true;
                }
            }
        }
    }

    // A rule that runs through itself before it has consumed anything would be run through for ever.
    private void RefuseLeftRecursion()
    {
        var heads = rules.Select(rule => Heads(rule.Start)).ToArray();
        var state = new int[rules.Count];
        for (var i = 0; i < rules.Count; i++)
            Visit(i, 0);

        void Visit(int rule, int depth)
        {
            if (state[rule] == 2)
                return;
            if (state[rule] == 1)
                throw new ConstraintException("the schema refers to itself with nothing in between");
            if (depth > MostPasses)
                throw new ConstraintException("the schema is nested too deeply");
            state[rule] = 1;
            foreach (var head in heads[rule])
                Visit(head, depth + 1);
            state[rule] = 2;
        }
    }

    private HashSet<int> Heads(int start)
    {
        var (heads, seen, work) = (new HashSet<int>(), new HashSet<int> { start }, new Stack<int>([start]));
        while (work.TryPop(out var state))
        {
            foreach (var edge in edges[state])
            {
                if (edge.Kind == Kind.Call)
                    heads.Add(edge.Low);
                var isFree = edge.Kind == Kind.Nothing || (edge.Kind == Kind.Call && distances[rules[edge.Low].Start] == 0);
                if (isFree && seen.Add(edge.To))
                    work.Push(edge.To);
            }
        }

        return heads;
    }

    /// <summary>An edge of the network.</summary>
    /// <param name="Kind">What it does.</param>
    /// <param name="Low">Lowest byte, token, or rule.</param>
    /// <param name="High">Highest byte.</param>
    /// <param name="To">Where it leads.</param>
    internal readonly record struct Edge(Kind Kind, int Low, int High, int To);

    /// <summary>A rule's first and last state; nothing leads on from the last.</summary>
    internal readonly record struct Rule(int Start, int End);
}
