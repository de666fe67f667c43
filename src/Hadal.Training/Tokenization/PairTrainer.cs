using System.Runtime.InteropServices;

namespace Hadal.Training.Tokenization;

/// <summary>
/// Learns the merges of a byte-pair vocabulary (Sennrich et al. 2016, arXiv:1508.07909): again and again the most frequent pair of neighbouring tokens
/// becomes a token. Counts of pairs are kept up to date where a merge changes words, and a heap holds them with some out of date, which is found out when they
/// come up. Of pairs equally frequent, the one of the lower left token, then of the lower right token, comes first; so the result depends on the
/// counts of words alone.
/// </summary>
internal sealed class PairTrainer
{
    /// <summary>The first token that a merge makes: before it are the 256 bytes.</summary>
    public const int FirstMerged = 256;

    // The words as runs of one array, each with room for its bytes and shrinking in place.
    private readonly int[] symbols;
    private readonly int[] starts;
    private readonly int[] lengths;
    private readonly long[] occurrences;

    private readonly Dictionary<ulong, Pair> pairs = [];
    private readonly PriorityQueue<ulong, (long Count, ulong Key)> queue = new(Comparer<(long Count, ulong Key)>.Create(
        static (a, b) => a.Count != b.Count ? b.Count.CompareTo(a.Count) : a.Key.CompareTo(b.Key)));

    private readonly List<byte[]> tokens = [];
    private readonly Dictionary<string, int> idOfBytes = [];
    private readonly HashSet<ulong> grown = [];

    /// <summary>Takes the words.</summary>
    public PairTrainer(WordCounts words)
    {
        starts = new int[words.Count];
        lengths = new int[words.Count];
        occurrences = new long[words.Count];
        symbols = new int[words.TextLength];
        for (var b = 0; b < FirstMerged; b++)
            AddToken([(byte)b]);
        var at = 0;
        for (var i = 0; i < words.Count; i++)
        {
            var word = words.Word(i);
            (starts[i], lengths[i], occurrences[i]) = (at, word.Length, words.Occurrences(i));
            foreach (var b in word)
                symbols[at++] = b;
            Count(i, symbols.AsSpan(starts[i], lengths[i]), +1, listFor: null);
        }

        foreach (var (key, pair) in pairs)
            queue.Enqueue(key, (pair.Count, key));
    }

    /// <summary>The tokens so far: bytes, then what merges made.</summary>
    public IReadOnlyList<byte[]> Tokens => tokens;

    /// <summary>The merges so far, best first. One of them makes no new token where another made the same bytes.</summary>
    public List<(int Left, int Right)> Merges { get; } = [];

    /// <summary>Merges until there are <paramref name="size"/> tokens, or no pair occurs <paramref name="fewest"/> times.</summary>
    /// <param name="size">Bytes included.</param>
    /// <param name="fewest">The rarest pair that becomes a token.</param>
    /// <param name="progress">Told the part done.</param>
    /// <param name="cancellation">Checked between merges.</param>
    public void Run(int size, long fewest, IProgress<double>? progress, CancellationToken cancellation)
    {
        while (tokens.Count < size && queue.TryDequeue(out var key, out var priority))
        {
            cancellation.ThrowIfCancellationRequested();
            var pair = pairs[key];
            if (pair.Count != priority.Count)
            {
                // Out of date. A count that grew was queued anew then, and comes up before; this one is that or less.
                if (pair.Count > 0 && pair.Count < priority.Count)
                    queue.Enqueue(key, (pair.Count, key));
                continue;
            }

            if (pair.Count < fewest)
                break;
            Merge((int)(key >> 32), (int)(uint)key, pair);
            if (tokens.Count % 64 == 0)
                progress?.Report((double)tokens.Count / size);
        }
    }

    private void Merge(int left, int right, Pair pair)
    {
        var made = AddToken([.. tokens[left], .. tokens[right]]);
        if (!pair.IsMerge)
            Merges.Add((left, right));
        pair.IsMerge = true;
        grown.Clear();
        foreach (var word in pair.Words)
        {
            var run = symbols.AsSpan(starts[word], lengths[word]);
            var (first, last) = Find(run, left, right);
            if (first < 0)
                continue;

            // Only the pairs from the one before the first match to the one after the last can change.
            var from = Math.Max(0, first - 1);
            var rest = run.Length - (last + 2);
            Count(word, run[from..(run.Length - Math.Max(0, rest - 1))], -1, listFor: null);
            lengths[word] = Replace(run, left, right, made);
            run = run[..lengths[word]];
            Count(word, run[from..(run.Length - Math.Max(0, rest - 1))], +1, listFor: made);
        }

        pair.Words = [];
        foreach (var key in grown)
            queue.Enqueue(key, (pairs[key].Count, key));
    }

    /// <summary>Where a pair begins for the first and for the last time; −1 where it is not there.</summary>
    private static (int First, int Last) Find(ReadOnlySpan<int> run, int left, int right)
    {
        var (first, last) = (-1, -1);
        for (var i = 0; i + 1 < run.Length; i++)
        {
            if (run[i] == left && run[i + 1] == right)
                (first, last) = (first < 0 ? i : first, i);
        }

        return (first, last);
    }

    /// <summary>Merges a pair from left to right, in place.</summary>
    /// <returns>The new length.</returns>
    private static int Replace(Span<int> run, int left, int right, int made)
    {
        var to = 0;
        for (var i = 0; i < run.Length; i++)
        {
            if (i + 1 < run.Length && run[i] == left && run[i + 1] == right)
            {
                run[to++] = made;
                i++;
            }
            else
                run[to++] = run[i];
        }

        return to;
    }

    /// <summary>Adds pairs of a word to the counts or takes them away; lists the word under all of them, or only under those with the token just made.</summary>
    private void Count(int word, ReadOnlySpan<int> run, int sign, int? listFor)
    {
        var change = sign * occurrences[word];
        for (var i = 0; i + 1 < run.Length; i++)
        {
            var key = ((ulong)run[i] << 32) | (uint)run[i + 1];
            ref var slot = ref CollectionsMarshal.GetValueRefOrAddDefault(pairs, key, out _);
            var pair = slot ??= new();
            pair.Count += change;
            if (sign < 0)
                continue;
            if (listFor is null)
                pair.List(word);
            else if (run[i] == listFor || run[i + 1] == listFor)
            {
                pair.List(word);
                grown.Add(key);
            }
        }
    }

    private int AddToken(byte[] bytes)
    {
        var key = string.Create(bytes.Length, bytes, static (span, from) =>
        {
            for (var i = 0; i < span.Length; i++)
                span[i] = (char)from[i];
        });
        if (idOfBytes.TryGetValue(key, out var known))
            return known;
        idOfBytes.Add(key, tokens.Count);
        tokens.Add(bytes);
        return tokens.Count - 1;
    }

    /// <summary>A pair of neighbours: how often it occurs, and the words that have held it.</summary>
    private sealed class Pair
    {
        public long Count;
        public List<int> Words = [];

        // It may come up a second time, when another merge makes the bytes of one of its two tokens.
        public bool IsMerge;

        public void List(int word)
        {
            if (Words.Count == 0 || Words[^1] != word)
                Words.Add(word);
        }
    }
}
