using System.Runtime.InteropServices;

namespace Hadal.Inference.Constraints;

/// <summary>
/// Follows a grammar a byte at a time. All ways in which what came so far can be read are kept together as one place, and places and the ways between them
/// are remembered, so that what was once followed costs a table look-up. For one thread.
/// </summary>
/// <remarks>
/// A way of reading is a state of the grammar and a stack of the states to return to. Stacks share their lower parts and equal stacks are one, so that a
/// place is a sorted list of pairs of numbers: subset construction, done as far as it is used, of a pushdown automaton.
/// </remarks>
internal sealed class GrammarAutomaton
{
    /// <summary>No way goes on.</summary>
    public const int Dead = -1;

    private const int Unknown = -2;
    private const int MostWays = 1 << 16;
    private const int MostPlaces = 1 << 13;

    private readonly Grammar grammar;
    private readonly List<Place> places = [];
    private readonly Dictionary<long[], int> byWays = new(new SameWays());
    private readonly List<(int Return, int Below, int Distance)> stacks = [];
    private readonly Dictionary<(int Return, int Below), int> byStack = [];
    private readonly HashSet<long> seen = [];
    private readonly Stack<(int State, int Stack)> work = [];

    /// <summary>Begins at the grammar's start.</summary>
    public GrammarAutomaton(Grammar grammar)
    {
        this.grammar = grammar;
        Begin();
        Visit(grammar.Start, 0);
        Start = Close();
    }

    /// <summary>The place before anything has come.</summary>
    public int Start { get; private set; }

    /// <summary>How many places are remembered.</summary>
    public int Count => places.Count;

    /// <summary>Whether there are so many places that <see cref="Forget"/> should be called.</summary>
    public bool IsFull => places.Count > MostPlaces;

    /// <summary>Whether what came so far is complete.</summary>
    public bool Accepts(int place) => places[place].Accepts;

    /// <summary>Whether anything may follow.</summary>
    public bool Continues(int place) => places[place].Ways.Length > 0;

    /// <summary>Fewest bytes to a complete text.</summary>
    public int Distance(int place) => places[place].Distance;

    /// <summary>The place after a byte.</summary>
    public int Next(int place, byte value)
    {
        var row = places[place].Next ??= NewRow();
        var next = row[value];
        return next != Unknown ? next : row[value] = Follow(place, value, isToken: false);
    }

    /// <summary>The place after a control token.</summary>
    public int NextToken(int place, int token) => Follow(place, token, isToken: true);

    /// <summary>Drops everything but one place.</summary>
    /// <returns>Its number from now on.</returns>
    public int Forget(int place)
    {
        var ways = places[place].Ways;
        var accepts = places[place].Accepts;
        var old = stacks.ToArray();
        Begin();
        var kept = new long[ways.Length];
        for (var i = 0; i < ways.Length; i++)
            kept[i] = Way((int)(ways[i] >> 32), Copy((int)ways[i]));
        Array.Sort(kept);
        Start = Place_(kept, accepts);
        return Start;

        int Copy(int stack)
        {
            var path = new Stack<int>();
            for (; stack != 0; stack = old[stack].Below)
                path.Push(old[stack].Return);
            var below = 0;
            foreach (var state in path)
                below = Push(state, below);
            return below;
        }
    }

    private static int[] NewRow()
    {
        var row = new int[256];
        Array.Fill(row, Unknown);
        return row;
    }

    private static long Way(int state, int stack) => ((long)state << 32) | (uint)stack;

    private void Begin()
    {
        places.Clear();
        byWays.Clear();
        stacks.Clear();
        byStack.Clear();
        stacks.Add((-1, -1, 0));
    }

    private int Follow(int place, int value, bool isToken)
    {
        seen.Clear();
        foreach (var way in places[place].Ways)
        {
            foreach (var edge in grammar.Edges((int)(way >> 32)))
            {
                var consumes = edge.Kind switch
                {
                    Grammar.Kind.Byte => !isToken && value >= edge.Low && value <= edge.High,
                    Grammar.Kind.Token => isToken && value == edge.Low,
                    Grammar.Kind.AnyToken => isToken && !grammar.Marks.Contains(value),
                    _ => false,
                };
                if (consumes)
                    Visit(edge.To, (int)way);
            }
        }

        return Close();
    }

    private void Visit(int state, int stack)
    {
        // What cannot be completed is no way.
        if (grammar.Distance(state) < Grammar.Unreachable && seen.Add(Way(state, stack)))
            work.Push((state, stack));
        if (seen.Count > MostWays)
            throw new ConstraintException("the schema is too ambiguous to be followed");
    }

    // Everything that is reached from what is in work without consuming anything, as a place.
    private int Close()
    {
        var accepts = false;
        var ways = new List<long>();
        while (work.TryPop(out var way))
        {
            var (state, stack) = way;
            if (grammar.IsEnd(state))
            {
                if (stack == 0)
                    accepts = true;
                else
                    Visit(stacks[stack].Return, stacks[stack].Below);
                continue;
            }

            var consumes = false;
            foreach (var edge in grammar.Edges(state))
            {
                if (edge.Kind == Grammar.Kind.Nothing)
                    Visit(edge.To, stack);
                else if (edge.Kind == Grammar.Kind.Call && grammar.Distance(edge.To) < Grammar.Unreachable)
                    Visit(grammar.RuleOf(edge.Low).Start, Push(edge.To, stack));
                else if (edge.Kind != Grammar.Kind.Call)
                    consumes = true;
            }

            if (consumes)
                ways.Add(Way(state, stack));
        }

        if (ways.Count == 0 && !accepts)
            return Dead;
        ways.Sort();
        return Place_([.. CollectionsMarshal.AsSpan(ways)], accepts);
    }

    private int Push(int state, int below)
    {
        if (byStack.TryGetValue((state, below), out var known))
            return known;
        stacks.Add((state, below, Math.Min(Grammar.Unreachable, grammar.Distance(state) + stacks[below].Distance)));
        byStack.Add((state, below), stacks.Count - 1);
        return stacks.Count - 1;
    }

    private int Place_(long[] ways, bool accepts)
    {
        // The end of the text is a way, too: two places that differ in it are two.
        long[] key = accepts ? [.. ways, -1] : ways;
        if (byWays.TryGetValue(key, out var known))
            return known;
        var distance = accepts ? 0 : Grammar.Unreachable;
        foreach (var way in ways)
            distance = Math.Min(distance, grammar.Distance((int)(way >> 32)) + stacks[(int)way].Distance);
        places.Add(new Place(ways, accepts, distance));
        byWays.Add(key, places.Count - 1);
        return places.Count - 1;
    }

    private sealed class Place(long[] ways, bool accepts, int distance)
    {
        public long[] Ways { get; } = ways;

        public bool Accepts { get; } = accepts;

        public int Distance { get; } = distance;

        public int[]? Next { get; set; }
    }

    private sealed class SameWays : IEqualityComparer<long[]>
    {
        public bool Equals(long[]? x, long[]? y) => x.AsSpan().SequenceEqual(y);

        public int GetHashCode(long[] obj)
        {
            var hash = default(HashCode);
            hash.AddBytes(MemoryMarshal.AsBytes(obj.AsSpan()));
            return hash.ToHashCode();
        }
    }
}
