using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Synthetic;

/// <summary>
/// A byte-level vocabulary of the right size for a model of random weights, so that programs which want text can load the file: the 256 bytes, then pairs
/// of them, then pairs with a third byte, and so on; each with the merge that makes it. First and last token of a text are control tokens.
/// </summary>
internal static class SyntheticVocabulary
{
    private const int Normal = 1, Control = 3;
    private const string Bos = "<｜begin▁of▁sentence｜>", Eos = "<｜end▁of▁sentence｜>";

    /// <summary>Adds the tokenizer's keys.</summary>
    public static void Write(GgufMetadataBuilder metadata, ModelConfig config)
    {
        var tokens = new List<string>(config.VocabSize);
        var types = new int[config.VocabSize];
        Array.Fill(types, Normal);
        var merges = new List<string>();
        var words = Words().GetEnumerator();
        for (var id = 0; id < config.VocabSize; id++)
        {
            var control = id == config.BosTokenId ? Bos : config.EosTokenIds.Contains(id) ? id == config.EosTokenIds[0] ? Eos : $"<｜end▁{id}｜>" : null;
            if (control is not null)
            {
                tokens.Add(control);
                types[id] = Control;
                continue;
            }

            words.MoveNext();
            var (left, right) = words.Current;
            tokens.Add(left + right);
            if (left.Length > 0)
                merges.Add($"{left} {right}");
        }

        metadata.Add(GgufKeys.TokenizerModel, "gpt2");
        metadata.Add(GgufKeys.TokenizerPre, "deepseek-llm");
        metadata.Add(GgufKeys.Tokens, [.. tokens]);
        metadata.Add(GgufKeys.TokenTypes, types);
        metadata.Add(GgufKeys.Merges, [.. merges]);
        metadata.Add(GgufKeys.AddBosToken, config.BosTokenId is not null);
        metadata.Add(GgufKeys.AddEosToken, false);
    }

    // Each word is an earlier one and a byte more, shortest first, without end.
    private static IEnumerable<(string Left, string Right)> Words()
    {
        var bytes = Enumerable.Range(0, 256).Select(b => ByteAlphabet.Spell((byte)b).ToString()).ToArray();
        var shorter = new List<string> { string.Empty };
        while (true)
        {
            var longer = new List<string>();
            foreach (var word in shorter)
            {
                foreach (var b in bytes)
                {
                    longer.Add(word + b);
                    yield return (word, b);
                }
            }

            shorter = longer;
        }
    }
}
