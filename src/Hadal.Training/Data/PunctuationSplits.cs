using System.Runtime.InteropServices;
using System.Text;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Data;

/// <summary>
/// Splits some of the tokens that join punctuation and the line breaks after it, at random, so that a model also meets the parts: a prompt may end between
/// them (the token boundary bias of DeepSeek-V3's report, section 4.1). Immutable, safe for use from several threads.
/// </summary>
internal sealed class PunctuationSplits
{
    private readonly Dictionary<int, int[]> parts = [];

    /// <summary>Finds the joined tokens of a vocabulary and their parts.</summary>
    public PunctuationSplits(Tokenizer tokenizer)
    {
        for (var id = 0; id < tokenizer.VocabSize; id++)
        {
            if (tokenizer.IsControl(id))
                continue;
            var bytes = tokenizer.DecodeBytes(id);
            var text = Encoding.UTF8.GetString(bytes);
            var marks = text.TrimEnd('\r', '\n');
            if (marks.Length == 0 || marks.Length == text.Length || !marks.TrimStart(' ').All(c => char.IsPunctuation(c) || char.IsSymbol(c)) || marks.All(c => c == ' '))
                continue;
            parts.Add(id, [.. tokenizer.Encode(marks, parseSpecial: false), .. tokenizer.Encode(text.AsSpan(marks.Length), parseSpecial: false)]);
        }
    }

    /// <summary>How many tokens can be split.</summary>
    public int Count => parts.Count;

    /// <summary>Splits each token that can be split with probability <paramref name="rate"/>, in place.</summary>
    public void Apply(List<int> document, double rate, ref Draws draws)
    {
        var found = 0;
        foreach (var id in document)
            found += parts.ContainsKey(id) ? 1 : 0;
        if (found == 0)
            return;
        var whole = CollectionsMarshal.AsSpan(document).ToArray();
        document.Clear();
        foreach (var id in whole)
        {
            if (parts.TryGetValue(id, out var split) && draws.NextDouble() < rate)
                document.AddRange(split);
            else
                document.Add(id);
        }
    }
}
