using System.Runtime.InteropServices;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Tokenization;

/// <summary>
/// How often each piece of the pre-tokenizer occurs, in a hash table whose keys lie one after the other. Entries keep the order in which they came.
/// </summary>
internal sealed class WordCounts : PieceSink
{
    /// <summary>Longer pieces are counted in parts of this many bytes: only a machine writes them, and merges inside the parts are what matters.</summary>
    public const int LongestWord = 512;

    private byte[] text = new byte[1 << 16];
    private Entry[] entries = new Entry[1 << 12];
    private int[] slots = new int[1 << 13];
    private int textLength;

    /// <summary>Different words.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes of them.</summary>
    public long TextLength => textLength;

    /// <summary>The bytes of a word.</summary>
    public ReadOnlySpan<byte> Word(int index) => text.AsSpan(entries[index].Start, entries[index].Length);

    /// <summary>How often it occurs.</summary>
    public long Occurrences(int index) => entries[index].Occurrences;

    /// <inheritdoc/>
    public override void Add(ReadOnlySpan<byte> text, int start, int end)
    {
        while (end - start > LongestWord)
        {
            // Not in the middle of a character.
            var cut = start + LongestWord;
            while ((text[cut] & 0xC0) == 0x80)
                cut--;
            Add(text[start..cut], 1);
            start = cut;
        }

        Add(text[start..end], 1);
    }

    /// <summary>Adds occurrences of one word.</summary>
    public void Add(ReadOnlySpan<byte> word, long occurrences)
    {
        var hash = Hash(word);
        for (var at = (int)hash & (slots.Length - 1); ; at = (at + 1) & (slots.Length - 1))
        {
            var index = slots[at] - 1;
            if (index < 0)
            {
                Insert(word, hash, occurrences, at);
                return;
            }

            ref var entry = ref entries[index];
            if (entry.Hash == hash && text.AsSpan(entry.Start, entry.Length).SequenceEqual(word))
            {
                entry.Occurrences += occurrences;
                return;
            }
        }
    }

    /// <summary>Adds all words of another table.</summary>
    public void Add(WordCounts other)
    {
        for (var i = 0; i < other.Count; i++)
            Add(other.Word(i), other.Occurrences(i));
    }

    /// <summary>The table without words that occur at most <paramref name="rare"/> times.</summary>
    public WordCounts Without(long rare)
    {
        var kept = new WordCounts();
        for (var i = 0; i < Count; i++)
        {
            if (entries[i].Occurrences > rare)
                kept.Add(Word(i), entries[i].Occurrences);
        }

        return kept;
    }

    private void Insert(ReadOnlySpan<byte> word, uint hash, long occurrences, int at)
    {
        if (textLength + word.Length > text.Length)
            Array.Resize(ref text, (int)Math.Min(Array.MaxLength, Math.Max(2L * text.Length, textLength + word.Length)));
        if (Count == entries.Length)
            Array.Resize(ref entries, 2 * entries.Length);
        word.CopyTo(text.AsSpan(textLength));
        entries[Count] = new() { Hash = hash, Start = textLength, Length = word.Length, Occurrences = occurrences };
        textLength += word.Length;
        slots[at] = ++Count;
        if (2 * Count > slots.Length)
            Rehash();
    }

    private void Rehash()
    {
        slots = new int[2 * slots.Length];
        for (var i = 0; i < Count; i++)
        {
            var at = (int)entries[i].Hash & (slots.Length - 1);
            while (slots[at] != 0)
                at = (at + 1) & (slots.Length - 1);
            slots[at] = i + 1;
        }
    }

    private static uint Hash(ReadOnlySpan<byte> word)
    {
        var hash = new HashCode();
        hash.AddBytes(word);
        return (uint)hash.ToHashCode();
    }

    [StructLayout(LayoutKind.Auto)]
    private struct Entry
    {
        public uint Hash;
        public int Start;
        public int Length;
        public long Occurrences;
    }
}
