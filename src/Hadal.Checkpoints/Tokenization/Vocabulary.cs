using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>The byte-pair tokens: spelling, bytes and id, found by either. Immutable once built.</summary>
internal sealed class Vocabulary
{
    /// <summary>Above every vocabulary in use; bounds what a hostile file can make us allocate.</summary>
    public const int MostIds = 1 << 22;

    private static readonly ulong Seed = (uint)string.GetHashCode("vocabulary", StringComparison.Ordinal) * 0x9E3779B97F4A7C15UL;

    // Spellings one after the other in the order they came; where each starts and which id it has.
    private byte[] spellings = new byte[1 << 16];
    private int[] starts = new int[1 << 12];
    private int[] ids = new int[1 << 12];
    private int[] slots = new int[1 << 13];
    private int count;

    // By id: index of the entry or −1; and the bytes that it stands for.
    private int[] entryOfId = [];
    private byte[] bytes = [];
    private int[] byteStarts = [];

    /// <summary>How many tokens there are.</summary>
    public int Count => count;

    /// <summary>One more than the highest id.</summary>
    public int Size { get; private set; }

    /// <summary>Adds a token. Every token is added before <see cref="Complete"/>.</summary>
    /// <returns>False if there is a token of that spelling.</returns>
    public bool TryAdd(ReadOnlySpan<byte> spelling, int id)
    {
        if (2 * (count + 1) > slots.Length)
            Rehash();
        var slot = Slot(spelling);
        if (slots[slot] != 0)
            return false;
        if (count + 1 >= starts.Length)
        {
            Array.Resize(ref starts, 2 * starts.Length);
            Array.Resize(ref ids, 2 * ids.Length);
        }

        var end = checked(starts[count] + spelling.Length);
        if (end > spellings.Length)
            Array.Resize(ref spellings, (int)Math.Min(Array.MaxLength, Math.Max(2L * spellings.Length, end)));
        spelling.CopyTo(spellings.AsSpan(starts[count]));
        ids[count] = id;
        count++;
        starts[count] = end;
        slots[slot] = count;
        Size = Math.Max(Size, id + 1);
        return true;
    }

    /// <summary>Indexes the tokens by id and works out their bytes.</summary>
    /// <returns>An id that two tokens have, or −1.</returns>
    public int Complete()
    {
        entryOfId = new int[Size];
        Array.Fill(entryOfId, -1);
        for (var i = 0; i < count; i++)
        {
            if (entryOfId[ids[i]] >= 0)
                return ids[i];
            entryOfId[ids[i]] = i;
        }

        bytes = new byte[starts[count]];
        byteStarts = new int[Size + 1];
        for (var id = 0; id < Size; id++)
        {
            var spelling = Spelling(id);
            var room = bytes.AsSpan(byteStarts[id]);
            var length = ByteAlphabet.Read(spelling, room);
            if (length < 0)
            {
                spelling.CopyTo(room);
                length = spelling.Length;
            }

            byteStarts[id + 1] = byteStarts[id] + length;
        }

        Array.Resize(ref bytes, byteStarts[Size]);
        return -1;
    }

    /// <summary>The id of a token by its spelling in UTF-8; −1 if there is none.</summary>
    public int Find(ReadOnlySpan<byte> spelling)
    {
        var entry = slots[Slot(spelling)];
        return entry == 0 ? -1 : ids[entry - 1];
    }

    /// <summary>The spelling of a token in UTF-8; empty if no token has the id.</summary>
    public ReadOnlySpan<byte> Spelling(int id) =>
        (uint)id < (uint)entryOfId.Length && entryOfId[id] is >= 0 and var entry ? spellings.AsSpan(starts[entry]..starts[entry + 1]) : default;

    /// <summary>Whether some token has the id.</summary>
    public bool Contains(int id) => (uint)id < (uint)entryOfId.Length && entryOfId[id] >= 0;

    /// <summary>The bytes that a token stands for; empty if no token has the id.</summary>
    public ReadOnlySpan<byte> Bytes(int id) => (uint)id < (uint)Size ? bytes.AsSpan(byteStarts[id]..byteStarts[id + 1]) : default;

    /// <summary>The token of each single byte; −1 where there is none.</summary>
    public int[] ByteTokens()
    {
        var tokens = new int[256];
        Span<byte> spelling = stackalloc byte[2];
        for (var b = 0; b < 256; b++)
        {
            var c = ByteAlphabet.Spell((byte)b);
            tokens[b] = Find(spelling[..Encoding.UTF8.GetBytes([c], spelling)]);
        }

        return tokens;
    }

    private int Slot(ReadOnlySpan<byte> spelling)
    {
        var at = (int)Hash(spelling) & (slots.Length - 1);
        while (slots[at] != 0 && !spellings.AsSpan(starts[slots[at] - 1]..starts[slots[at]]).SequenceEqual(spelling))
            at = (at + 1) & (slots.Length - 1);
        return at;
    }

    private void Rehash()
    {
        slots = new int[2 * slots.Length];
        for (var i = 0; i < count; i++)
            slots[Slot(spellings.AsSpan(starts[i]..starts[i + 1]))] = i + 1;
    }

    private static uint Hash(ReadOnlySpan<byte> text)
    {
        var hash = Seed ^ (ulong)text.Length;
        for (; text.Length >= sizeof(ulong); text = text[sizeof(ulong)..])
            hash = Mix(hash ^ MemoryMarshal.Read<ulong>(text));
        ulong rest = 0;
        for (var i = 0; i < text.Length; i++)
            rest |= (ulong)text[i] << (8 * i);
        hash = Mix(hash ^ rest);
        return (uint)(hash ^ (hash >> 32));
    }

    private static ulong Mix(ulong value) => BitOperations.RotateLeft(Math.BigMul(value, 0x9E3779B97F4A7C15, out var low) ^ low, 29);
}
