using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// The merges of a byte-pair vocabulary: which two tokens become which third, and how early. Merging takes the pair of lowest rank in the whole
/// piece, the leftmost of equals, until no pair merges (Sennrich et al. 2016, arXiv:1508.07909; Hugging Face tokenizers models/bpe/word.rs
/// gives the same). Immutable.
/// </summary>
internal sealed class PairMerges
{
    /// <summary>No such merge; greater than every merge.</summary>
    private const ulong None = ulong.MaxValue;

    /// <summary>Up to this many symbols, scanning for the best pair is faster than a heap.</summary>
    private const int LongestScan = 64;

    /// <summary>Differs from process to process, so that no file can be made whose pairs all collide.</summary>
    private static readonly ulong Seed = (uint)string.GetHashCode("merges", StringComparison.Ordinal) * 0x9E3779B97F4A7C15UL;

    private readonly Slot[] slots;

    // Two bits of 2^20 and more for each merge: most pairs asked for are none, and this says so out of the processor's cache.
    private readonly ulong[] filter;
    private readonly int[] pairs;
    private readonly int[] byteTokens;

    // What two bytes become: the first step of every piece.
    private readonly ulong[] bytePairs = new ulong[1 << 16];

    /// <summary>Takes the merges by rank.</summary>
    /// <param name="pairs">Left and right token of merge 0, of merge 1, …</param>
    /// <param name="results">What they become. Of two merges of one pair the later counts.</param>
    /// <param name="byteTokens">Token of each byte, −1 only for bytes that UTF-8 never has.</param>
    public PairMerges(int[] pairs, ReadOnlySpan<int> results, int[] byteTokens)
    {
        this.pairs = pairs;
        this.byteTokens = byteTokens;
        slots = new Slot[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(2, checked(results.Length * 2)))];
        Array.Fill(slots, new Slot(0, None));
        filter = new ulong[Math.Max(16, slots.Length / 16)];
        for (var rank = 0; rank < results.Length; rank++)
        {
            var key = Key(pairs[2 * rank], pairs[(2 * rank) + 1]);
            var hash = Hash(key);
            filter[FilterWord(hash)] |= FilterBits(hash);
            var at = Home(hash);
            while (slots[at].Merge != None && slots[at].Key != key)
                at = (at + 1) & (slots.Length - 1);
            slots[at] = new(key, ((ulong)rank << 32) | (uint)results[rank]);
        }

        for (var pair = 0; pair < bytePairs.Length; pair++)
            bytePairs[pair] = Find(byteTokens[pair >> 8], byteTokens[pair & 0xFF]);
    }

    /// <summary>How many merges there are.</summary>
    public int Count => pairs.Length / 2;

    /// <summary>The two tokens of a merge.</summary>
    public (int Left, int Right) this[int rank] => (pairs[2 * rank], pairs[(2 * rank) + 1]);

    /// <summary>Turns a piece into tokens; how many.</summary>
    /// <param name="piece">Bytes.</param>
    /// <param name="symbols">Takes the tokens; as long as the piece.</param>
    public int Encode(ReadOnlySpan<byte> piece, Span<int> symbols)
    {
        for (var i = 0; i < piece.Length; i++)
            symbols[i] = byteTokens[piece[i]];
        return piece.Length < 2 ? piece.Length : piece.Length <= LongestScan ? MergeByScan(piece, symbols) : MergeByHeap(symbols);
    }

    private int MergeByScan(ReadOnlySpan<byte> piece, Span<int> symbols)
    {
        // merges[i] is what symbol i and the one after it become: rank in the high half, so that the least is the best. Symbols that are gone
        // keep their place; next and previous skip them.
        var count = piece.Length;
        Span<ulong> merges = stackalloc ulong[LongestScan];
        Span<byte> next = stackalloc byte[LongestScan];
        Span<byte> previous = stackalloc byte[LongestScan];
        merges = merges[..count];
        for (var i = 0; i + 1 < count; i++)
        {
            merges[i] = bytePairs[(piece[i] << 8) | piece[i + 1]];
            next[i] = (byte)(i + 1);
            previous[i + 1] = (byte)i;
        }

        merges[^1] = None;
        next[count - 1] = (byte)count;
        while (true)
        {
            var best = 0;
            var least = merges[0];
            for (var i = 1; i < merges.Length; i++)
            {
                if (merges[i] < least)
                    (best, least) = (i, merges[i]);
            }

            if (least == None)
                break;
            symbols[best] = (int)(uint)least;
            var gone = next[best];
            var after = next[gone];
            next[best] = after;
            merges[gone] = None;
            merges[best] = None;
            if (after < count)
            {
                previous[after] = (byte)best;
                merges[best] = Find(symbols[best], symbols[after]);
            }

            if (best > 0)
                merges[previous[best]] = Find(symbols[previous[best]], symbols[best]);
        }

        var left = 0;
        for (int i = 0; i < count; i = next[i])
            symbols[left++] = symbols[i];
        return left;
    }

    /// <summary>O(n log n), for pieces that only a machine writes: a megabyte of one letter.</summary>
    private int MergeByHeap(Span<int> symbols)
    {
        var count = symbols.Length;
        var rented = ArrayPool<int>.Shared.Rent(checked(2 * count));
        var rentedMerges = ArrayPool<ulong>.Shared.Rent(count);
        try
        {
            var next = rented.AsSpan(0, count);
            var previous = rented.AsSpan(count, count);
            var merges = rentedMerges.AsSpan(0, count);
            var queue = new PriorityQueue<int, ulong>(count);
            for (var i = 0; i < count; i++)
            {
                next[i] = i + 1;
                previous[i] = i - 1;
                merges[i] = i + 1 < count ? Find(symbols[i], symbols[i + 1]) : None;
                if (merges[i] != None)
                    queue.Enqueue(i, Priority(merges[i], i));
            }

            while (queue.TryDequeue(out var at, out var priority))
            {
                // Out of date: one of the two has merged with a neighbour since.
                if (merges[at] == None || Priority(merges[at], at) != priority)
                    continue;
                symbols[at] = (int)(uint)merges[at];
                var gone = next[at];
                merges[gone] = None;
                next[at] = next[gone];
                if (next[at] < count)
                    previous[next[at]] = at;
                Renew(symbols, next, merges, queue, at);
                if (previous[at] >= 0)
                    Renew(symbols, next, merges, queue, previous[at]);
            }

            var left = 0;
            for (var i = 0; i < count; i = next[i])
                symbols[left++] = symbols[i];
            return left;
        }
        finally
        {
            ArrayPool<int>.Shared.Return(rented);
            ArrayPool<ulong>.Shared.Return(rentedMerges);
        }
    }

    private void Renew(Span<int> symbols, Span<int> next, Span<ulong> merges, PriorityQueue<int, ulong> queue, int at)
    {
        merges[at] = next[at] < symbols.Length ? Find(symbols[at], symbols[next[at]]) : None;
        if (merges[at] != None)
            queue.Enqueue(at, Priority(merges[at], at));
    }

    private static ulong Priority(ulong merge, int at) => (merge & 0xFFFFFFFF00000000) | (uint)at;

    private ulong Find(int left, int right)
    {
        var key = Key(left, right);
        var hash = Hash(key);
        var bits = FilterBits(hash);
        if ((filter[FilterWord(hash)] & bits) != bits)
            return None;
        for (var at = Home(hash); ; at = (at + 1) & (slots.Length - 1))
        {
            ref var slot = ref slots[at];
            if (slot.Merge == None || slot.Key == key)
                return slot.Merge;
        }
    }

    private static ulong Hash(ulong key) => Math.BigMul(key ^ Seed, 0x9E3779B97F4A7C15, out var low) ^ low;

    private int Home(ulong hash) => (int)hash & (slots.Length - 1);

    private int FilterWord(ulong hash) => (int)(hash >> 32) & (filter.Length - 1);

    private static ulong FilterBits(ulong hash) => (1UL << (int)(hash >> 52)) | (1UL << (int)(hash >> 58));

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    [StructLayout(LayoutKind.Auto)]
    private readonly struct Slot(ulong key, ulong merge)
    {
        public readonly ulong Key = key;
        public readonly ulong Merge = merge;
    }
}
