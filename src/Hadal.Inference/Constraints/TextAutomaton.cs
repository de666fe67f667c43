namespace Hadal.Inference.Constraints;

/// <summary>
/// A deterministic automaton over characters, complete: every state has a way for every character. Made from regular expressions, names and lengths, which can
/// then be combined exactly: both, the one without the other.
/// </summary>
internal sealed class TextAutomaton
{
    private const int MostStates = 1 << 15;
    private const int MostPatternStates = 1 << 12;

    // Of each state, what begins at which character and where it leads; the first begins at 0.
    private readonly List<List<(int From, int To)>> rows = [];
    private readonly List<bool> accepts = [];

    private TextAutomaton()
    {
    }

    /// <summary>How many states there are.</summary>
    public int Count => rows.Count;

    /// <summary>The texts of a regular expression.</summary>
    /// <exception cref="ConstraintException">It needs too many states.</exception>
    public static TextAutomaton Of(PatternNode pattern, string path)
    {
        var nfa = new Nfa(path);
        var end = nfa.Add(pattern, nfa.State());
        return Explore(nfa.Close([0]), path, MostPatternStates, new SetComparer(), set => set.Contains(end), set =>
        {
            var edges = set.SelectMany(s => nfa.Edges[s]).ToList();
            return Cuts(edges.SelectMany(e => (int[])[e.Low, e.High + 1])).Select(c => (c, nfa.Close([.. edges.Where(e => c >= e.Low && c <= e.High).Select(e => e.To)])));
        });
    }

    /// <summary>Some texts and no others.</summary>
    public static TextAutomaton Of(IEnumerable<string> texts, string path) =>
        Of(new PatternNode.Choice([.. texts.Select(t => new PatternNode.Sequence([.. t.EnumerateRunes().Select(r => new PatternNode.Set([(r.Value, r.Value)]))]))]), path);

    /// <summary>Texts of so many characters, each one unit of UTF-16, so that whoever counts units and whoever counts characters count the same.</summary>
    public static TextAutomaton OfLength(int min, int? max, string path) =>
        Explore(0, path, MostStates, EqualityComparer<int>.Default, n => n >= min && !(n > max), n => n > max || n < 0 ? [(0, -1)] : [(0, max is null ? Math.Min(n + 1, min) : n + 1), (0x10000, -1)]);

    /// <summary>The texts of both.</summary>
    public TextAutomaton And(TextAutomaton other, string path) => Combine(other, path, static (a, b) => a && b);

    /// <summary>The texts of this one that are not of the other.</summary>
    public TextAutomaton Without(TextAutomaton other, string path) => Combine(other, path, static (a, b) => a && !b);

    /// <summary>Whether there is any text.</summary>
    public bool IsEmpty => !accepts.Contains(true);

    /// <summary>Characters of the shortest text.</summary>
    public int Shortest
    {
        get
        {
            var (seen, work) = (new HashSet<int> { 0 }, new List<int> { 0 });
            for (var length = 0; work.Count > 0; length++)
            {
                if (work.Exists(s => accepts[s]))
                    return length;
                work = [.. work.SelectMany(s => rows[s]).Select(w => w.To).Where(seen.Add)];
            }

            return int.MaxValue;
        }
    }

    /// <summary>Units of UTF-16 of the longest text; the largest number where there is none.</summary>
    public int Longest
    {
        get
        {
            // A state that is come back to before it is finished makes texts of any length.
            var (alive, longest) = (Alive(), new int?[Count]);
            var isOpen = new bool[Count];
            return alive[0] ? From(0) : 0;

            int From(int state)
            {
                if (longest[state] is { } known)
                    return known;
                if (isOpen[state])
                    return int.MaxValue;
                isOpen[state] = true;
                var most = 0;
                for (var i = 0; i < rows[state].Count; i++)
                {
                    var (_, to) = rows[state][i];
                    if (!alive[to])
                        continue;
                    var rest = From(to);
                    var last = i + 1 < rows[state].Count ? rows[state][i + 1].From - 1 : JsonPieces.LastCodePoint;
                    most = Math.Max(most, rest == int.MaxValue ? rest : rest + (last > char.MaxValue ? 2 : 1));
                }

                isOpen[state] = false;
                longest[state] = most;
                return most;
            }
        }
    }

    /// <summary>Whether a text is one of them.</summary>
    public bool Contains(string text)
    {
        var state = 0;
        foreach (var rune in text.EnumerateRunes())
            state = Next(state, rune.Value);
        return accepts[state];
    }

    /// <summary>The insides of the JSON strings that are these texts.</summary>
    /// <param name="grammar">The grammar.</param>
    /// <param name="json">JSON in the same grammar.</param>
    /// <param name="isName">Whether they are names: written without escapes then, so that no other can be the same in disguise.</param>
    public Piece Piece(Grammar grammar, JsonPieces json, bool isName = false)
    {
        var sets = new Dictionary<string, Piece>();
        var alive = Alive();
        return from =>
        {
            var end = grammar.State();
            var states = alive.Select(a => a ? grammar.State() : end).ToList();
            grammar.Join(from, states[0]);
            for (var state = 0; state < Count; state++)
            {
                if (!alive[state])
                    continue;
                if (accepts[state])
                    grammar.Join(states[state], end);
                var row = rows[state];
                foreach (var way in row.Select((w, i) => (w.From, To: w.To, Last: i + 1 < row.Count ? row[i + 1].From - 1 : JsonPieces.LastCodePoint)).Where(w => alive[w.To]).GroupBy(w => w.To))
                {
                    var ranges = way.Select(w => (w.From, w.Last)).ToList();
                    var key = string.Join(',', ranges);
                    if (!sets.TryGetValue(key, out var set))
                        sets.Add(key, set = grammar.Named(grammar.AnyOf([.. ranges.Select(r => isName ? json.Plain(r.From, r.Last) : json.Written(r.From, r.Last))])));
                    grammar.Join(set(states[state]), states[way.Key]);
                }
            }

            return end;
        };
    }

    // Of each state, whether a text can still come of it.
    private bool[] Alive()
    {
        var alive = accepts.ToArray();
        for (var changed = true; changed;)
        {
            changed = false;
            for (var state = Count - 1; state >= 0; state--)
            {
                if (!alive[state] && rows[state].Exists(w => alive[w.To]))
                    alive[state] = changed = true;
            }
        }

        return alive;
    }

    private TextAutomaton Combine(TextAutomaton other, string path, Func<bool, bool, bool> isText) =>
        Explore((0, 0), path, MostStates, EqualityComparer<(int, int)>.Default, pair => isText(accepts[pair.Item1], other.accepts[pair.Item2]), pair =>
            Cuts(rows[pair.Item1].Concat(other.rows[pair.Item2]).Select(w => w.From)).Select(c => (c, (Next(pair.Item1, c), other.Next(pair.Item2, c)))));

    private int Next(int state, int character)
    {
        var row = rows[state];
        var at = row.FindLastIndex(w => w.From <= character);
        return row[at].To;
    }

    private static IEnumerable<int> Cuts(IEnumerable<int> characters) => characters.Append(0).Where(c => c <= JsonPieces.LastCodePoint).Distinct().Order();

    // States are numbered as they are found; the start is 0.
    private static TextAutomaton Explore<T>(T start, string path, int most, IEqualityComparer<T> comparer, Func<T, bool> accepts, Func<T, IEnumerable<(int From, T To)>> ways)
        where T : notnull
    {
        var found = new TextAutomaton();
        var numbers = new Dictionary<T, int>(comparer) { [start] = 0 };
        var work = new Queue<T>([start]);
        while (work.TryDequeue(out var state))
        {
            found.accepts.Add(accepts(state));
            var row = new List<(int From, int To)>();
            foreach (var (from, to) in ways(state))
            {
                if (!numbers.TryGetValue(to, out var number))
                {
                    if (numbers.Count >= most)
                        throw TooLarge(most, path);
                    numbers.Add(to, number = numbers.Count);
                    work.Enqueue(to);
                }

                if (row.Count == 0 || row[^1].To != number)
                    row.Add((from, number));
            }

            found.rows.Add(row);
        }

        return found;
    }

    private sealed class SetComparer : IEqualityComparer<SortedSet<int>>
    {
        public bool Equals(SortedSet<int>? x, SortedSet<int>? y) => x!.SetEquals(y!);

        public int GetHashCode(SortedSet<int> obj) => obj.Aggregate(obj.Count, HashCode.Combine);
    }

    private static ConstraintException TooLarge(int most, string path) => new($"the texts of 'pattern' and what stands beside it need more than {most} states, which is not supported", path);

    private sealed class Nfa(string path)
    {
        private readonly List<List<int>> free = [];

        public List<List<(int Low, int High, int To)>> Edges { get; } = [];

        public int State()
        {
            if (Edges.Count >= MostPatternStates)
                throw TooLarge(MostPatternStates, path);
            Edges.Add([]);
            free.Add([]);
            return Edges.Count - 1;
        }

        // From one state to the one that is given back.
        public int Add(PatternNode node, int from)
        {
            int to;
            switch (node)
            {
                case PatternNode.Set set:
                    to = State();
                    Edges[from].AddRange(set.Ranges.Select(r => (r.Low, r.High, to)));
                    return to;
                case PatternNode.Sequence sequence:
                    return sequence.Nodes.Aggregate(from, (state, part) => Add(part, state));
                case PatternNode.Choice choice:
                    to = State();
                    foreach (var part in choice.Nodes)
                    {
                        var begin = State();
                        free[from].Add(begin);
                        free[Add(part, begin)].Add(to);
                    }

                    return to;
                case PatternNode.Repeat repeat:
                    for (var i = 0; i < repeat.Min; i++)
                        from = Add(repeat.Node, from);
                    to = State();
                    if (repeat.Max is null)
                    {
                        var loop = State();
                        free[from].Add(loop);
                        free[Add(repeat.Node, loop)].Add(loop);
                        free[loop].Add(to);
                        return to;
                    }

                    for (var i = repeat.Min; i < repeat.Max; i++)
                    {
                        free[from].Add(to);
                        var next = State();
                        free[from].Add(next);
                        from = Add(repeat.Node, next);
                    }

                    free[from].Add(to);
                    return to;
                default:
                    throw new InvalidOperationException($"{node}");
            }
        }

        public SortedSet<int> Close(IEnumerable<int> states)
        {
            var closed = new SortedSet<int>();
            var work = new Stack<int>(states);
            while (work.TryPop(out var state))
            {
                if (closed.Add(state))
                    free[state].ForEach(work.Push);
            }

            return closed;
        }
    }
}
