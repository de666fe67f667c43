using Hadal.Checkpoints.Tokenization;

namespace Hadal.Inference.Constraints;

/// <summary>The tokens of a vocabulary in the order of their bytes, so that tokens that begin alike are followed together. Immutable; one for each tokenizer.</summary>
public sealed class TokenTable
{
    private readonly byte[] bytes;
    private readonly int[] starts;
    private readonly int[] ids;
    private readonly int[] shared;

    /// <summary>Sorts a vocabulary.</summary>
    public TokenTable(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        Tokenizer = tokenizer;
        var texts = new List<(byte[] Bytes, int Id)>(tokenizer.VocabSize);
        var controls = new List<int>();
        for (var id = 0; id < tokenizer.VocabSize; id++)
        {
            if (tokenizer.IsControl(id))
                controls.Add(id);
            else if (tokenizer.DecodeBytes(id) is { Length: > 0 } text)
                texts.Add((text.ToArray(), id));
        }

        texts.Sort(static (a, b) => a.Bytes.AsSpan().SequenceCompareTo(b.Bytes) is not 0 and var order ? order : a.Id.CompareTo(b.Id));
        bytes = new byte[texts.Sum(t => t.Bytes.Length)];
        starts = new int[texts.Count + 1];
        ids = new int[texts.Count];
        shared = new int[texts.Count];
        for (var i = 0; i < texts.Count; i++)
        {
            var text = texts[i].Bytes;
            text.CopyTo(bytes, starts[i]);
            starts[i + 1] = starts[i] + text.Length;
            ids[i] = texts[i].Id;
            shared[i] = i == 0 ? 0 : text.AsSpan().CommonPrefixLength(texts[i - 1].Bytes);
            LongestToken = Math.Max(LongestToken, text.Length);
        }

        Controls = controls;
    }

    /// <summary>The tokenizer.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>Tokens that steer the model; they stand for themselves and not for the bytes they are spelled with.</summary>
    internal IReadOnlyList<int> Controls { get; }

    /// <summary>Bytes of the longest token.</summary>
    internal int LongestToken { get; }

    /// <summary>Number of tokens made of bytes.</summary>
    internal int Count => ids.Length;

    /// <summary>The id of the token at a place of the order.</summary>
    internal int Id(int index) => ids[index];

    /// <summary>Its bytes.</summary>
    internal ReadOnlySpan<byte> Bytes(int index) => bytes.AsSpan(starts[index]..starts[index + 1]);

    /// <summary>How many bytes it has in common with the one before.</summary>
    internal int Shared(int index) => shared[index];
}
