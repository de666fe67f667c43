using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// Turns pieces into ids, and remembers those of short pieces: a text is mostly words that came before. One thread at a time; the
/// <see cref="Tokenizer"/> keeps a few and lends them out. Its memory is bounded: the cache has a largest size, long buffers are let go.
/// </summary>
internal sealed class PieceEncoder : PieceSink
{
    /// <summary>A key is 15 bytes and a length.</summary>
    private const int LongestCached = 15;
    private const int FirstCacheSlots = 1 << 8;
    private const int MostCacheSlots = 1 << 16;
    private const int MostKeptBytes = 1 << 20;

    private readonly PairMerges merges;
    private readonly Vocabulary? wholePieces;
    private CacheSlot[] cache = new CacheSlot[FirstCacheSlots];
    private int misses;
    private int[] ids = new int[256];
    private int count;

    /// <param name="merges">The merges.</param>
    /// <param name="wholePieces">Where pieces that are tokens become them without merging (<c>ignore_merges</c>), by spelling; null where not.</param>
    public PieceEncoder(PairMerges merges, Vocabulary? wholePieces) => (this.merges, this.wholePieces) = (merges, wholePieces);

    /// <summary>The ids so far.</summary>
    public ReadOnlySpan<int> Ids => ids.AsSpan(0, count);

    /// <summary>Room for text in UTF-8.</summary>
    public byte[] Buffer { get; private set; } = new byte[1 << 10];

    /// <summary>Makes <see cref="Buffer"/> at least so long.</summary>
    public void Reserve(int length)
    {
        if (Buffer.Length < length)
            Buffer = new byte[(int)Math.Max(length, Math.Min(2L * Buffer.Length, MostKeptBytes))];
    }

    /// <summary>Forgets ids and overlong buffers, but not the cache.</summary>
    public void Reset()
    {
        count = 0;
        if (Buffer.Length > MostKeptBytes)
            Buffer = new byte[1 << 10];
        if (ids.Length > MostKeptBytes / sizeof(int))
            ids = new int[256];
        if (Ends.Capacity > MostKeptBytes / sizeof(int))
            (Ends.Capacity, NextEnds.Capacity) = ClearLists();
    }

    /// <summary>Adds one id as it is.</summary>
    public void AddId(int id)
    {
        if (count == ids.Length)
            Grow(1);
        ids[count++] = id;
    }

    /// <inheritdoc/>
    public override void Add(ReadOnlySpan<byte> text, int start, int end)
    {
        var length = end - start;
        if (length > LongestCached)
        {
            Encode(text[start..end]);
            return;
        }

        ulong low, high;
        if (text.Length - start >= 16)
        {
            low = MemoryMarshal.Read<ulong>(text[start..]);
            high = MemoryMarshal.Read<ulong>(text[(start + 8)..]);
        }
        else
        {
            Span<byte> key = stackalloc byte[16];
            text[start..end].CopyTo(key);
            low = MemoryMarshal.Read<ulong>(key);
            high = MemoryMarshal.Read<ulong>(key[8..]);
        }

        // The key: the piece's bytes, zeros, its length in the last byte.
        if (length < 8)
            (low, high) = (low & ((1UL << (8 * length)) - 1), 0);
        else
            high &= (1UL << (8 * (length - 8))) - 1;
        high |= (ulong)length << 56;

        // A piece is in one of two neighbouring slots.
        var home = Home(low, high);
        ref var slot = ref cache[home];
        if (slot.Low != low || slot.High != high)
            slot = ref cache[home + 1];
        if (slot.Low == low && slot.High == high)
        {
            if (count + 3 > ids.Length)
                Grow(3);
            var to = ids.AsSpan(count, 3);
            (to[0], to[1], to[2]) = (slot.Id0, slot.Id1, slot.Id2);
            count += slot.Count;
            return;
        }

        var before = count;
        Encode(text[start..end]);
        var made = ids.AsSpan(before..count);
        if (made.Length <= 3)
        {
            if (++misses > cache.Length && cache.Length < MostCacheSlots)
            {
                // Small texts need little; a long one soon has it all.
                (cache, misses) = (new CacheSlot[cache.Length * 16], 0);
                home = Home(low, high);
            }

            cache[home + 1] = cache[home];
            slot = ref cache[home];
            slot.Low = low;
            slot.High = high;
            slot.Count = made.Length;
            slot.Id0 = made[0];
            slot.Id1 = made.Length > 1 ? made[1] : 0;
            slot.Id2 = made.Length > 2 ? made[2] : 0;
        }
    }

    private void Encode(ReadOnlySpan<byte> piece)
    {
        if (wholePieces is not null && wholePieces.Find(Encoding.UTF8.GetBytes(ByteAlphabet.Spell(piece))) is >= 0 and var whole)
        {
            AddId(whole);
            return;
        }

        if (piece.Length > ids.Length - count)
            Grow(piece.Length);
        count += merges.Encode(piece, ids.AsSpan(count, piece.Length));
    }

    private void Grow(int room) => Array.Resize(ref ids, (int)Math.Min(Array.MaxLength, Math.Max((long)count + room, 2L * ids.Length)));

    private (int Ends, int NextEnds) ClearLists()
    {
        Ends.Clear();
        NextEnds.Clear();
        return (0, 0);
    }

    private int Home(ulong low, ulong high)
    {
        var hash = (low ^ BitOperations.RotateLeft(high, 23)) * 0x9E3779B97F4A7C15;
        return (int)(hash >> 40) & (cache.Length - 2);
    }

    private struct CacheSlot
    {
        public ulong Low;
        public ulong High;
        public int Id0;
        public int Id1;
        public int Id2;
        public int Count;
    }
}
