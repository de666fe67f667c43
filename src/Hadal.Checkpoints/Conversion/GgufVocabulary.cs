using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Synthetic;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Conversion;

/// <summary>
/// Writes the tokenizer of a model as <c>tokenizer.*</c> keys of GGUF metadata, as llama.cpp's converter does (<c>get_vocab_base</c> of
/// conversion/base.py and gguf-py/gguf/vocab.py).
/// </summary>
internal static class GgufVocabulary
{
    private const string FileName = "tokenizer.json";

    /// <summary>Values of <c>tokenizer.ggml.token_type</c>.</summary>
    private const int Normal = 1, Control = 3, UserDefined = 4, Unused = 5;

    /// <summary>Adds the keys; what the user should know goes to <paramref name="notes"/>.</summary>
    /// <exception cref="InvalidDataException">The tokenizer is wrong, or GGUF cannot say what it is.</exception>
    public static void Write(GgufMetadataBuilder metadata, Checkpoint source, List<string> notes)
    {
        var path = Path.Combine(source.Path, FileName);
        if (source is GgufCheckpoint gguf)
        {
            foreach (var key in gguf.Metadata.Keys.Where(static key => key.StartsWith("tokenizer.", StringComparison.Ordinal)))
                metadata.Add(gguf.Metadata, key);
        }
        else if (source is SyntheticCheckpoint)
        {
            SyntheticVocabulary.Write(metadata, source.Config);
            WriteEnds(metadata, source, null);
        }
        else if (File.Exists(path))
        {
            var tokenizer = Tokenizer.FromTokenizerJson(path);
            WriteTokens(metadata, tokenizer, path, source.Config.VocabSize);
            WriteEnds(metadata, source, tokenizer);
        }
        else
        {
            notes.Add($"{source.Path} has no {FileName}: the file has no vocabulary, and llama.cpp loads no such model for text.");
            metadata.Add(GgufKeys.TokenizerModel, "none");
            WriteEnds(metadata, source, null);
        }
    }

    private static void WriteTokens(GgufMetadataBuilder metadata, Tokenizer tokenizer, string path, int vocabSize)
    {
        var pre = tokenizer.PreTokenizerName ?? throw BadFile.Field(path, "pre_tokenizer", "expected that of DeepSeek V3, LLM or Coder, the ones GGUF has a name for here, found another");
        if (tokenizer.Parts.IgnoreMerges)
            throw BadFile.Field(path, "model.ignore_merges", "expected false, which is what GGUF means for this pre_tokenizer, found true");
        if (tokenizer.VocabSize > vocabSize)
            throw BadFile.Error(path, $"expected ids below the vocabulary size {vocabSize} of the model, found {tokenizer.VocabSize - 1}");
        var tokens = new string[vocabSize];
        var types = new int[vocabSize];
        var added = tokenizer.AddedTokens.ToDictionary(token => token.Id);
        for (var id = 0; id < vocabSize; id++)
        {
            // Embeddings have more rows than there are tokens; the names of the others are llama.cpp's.
            tokens[id] = tokenizer.IdToToken(id) ?? $"[PAD{id}]";
            types[id] = added.TryGetValue(id, out var token) ? IsControl(token) ? Control : UserDefined : tokenizer.IdToToken(id) is null ? Unused : Normal;
        }

        metadata.Add(GgufKeys.TokenizerModel, "gpt2");
        metadata.Add(GgufKeys.TokenizerPre, pre);
        metadata.Add(GgufKeys.Tokens, tokens);
        metadata.Add(GgufKeys.TokenTypes, types);
        metadata.Add(GgufKeys.Merges, [.. Enumerable.Range(0, tokenizer.MergeCount).Select(Merge)]);
        metadata.Add(GgufKeys.AddBosToken, tokenizer.AddBos);
        metadata.Add(GgufKeys.AddEosToken, false);
        if (tokenizer.ChatTemplate is { } template)
            metadata.Add(GgufKeys.ChatTemplate, template);

        string Merge(int rank)
        {
            var (left, right) = tokenizer.Merge(rank);
            return $"{tokenizer.IdToToken(left)} {tokenizer.IdToToken(right)}";
        }
    }

    /// <summary>First and last token of a text: the tokenizer's, else the configuration's, whose other end token becomes the end of a turn.</summary>
    private static void WriteEnds(GgufMetadataBuilder metadata, Checkpoint source, Tokenizer? tokenizer)
    {
        var eos = tokenizer?.EosId ?? (source.Config.EosTokenIds is [var first, ..] ? first : null);
        if ((tokenizer?.BosId ?? source.Config.BosTokenId) is { } bos)
            metadata.Add(GgufKeys.BosTokenId, bos);
        if (eos is { } end)
            metadata.Add(GgufKeys.EosTokenId, end);
        if (source.Config.EosTokenIds.Where(id => id != eos).Select(id => (int?)id).FirstOrDefault() is { } turn)
            metadata.Add(GgufKeys.EotTokenId, turn);
    }

    /// <summary>DeepSeek's files do not flag all tokens that steer the model; llama.cpp's converter tells them by their brackets.</summary>
    private static bool IsControl(AddedToken token) =>
        token.Special
        || token.Content == "<pad>"
        || (token.Content.StartsWith("<|", StringComparison.Ordinal) && token.Content.EndsWith("|>", StringComparison.Ordinal))
        || (token.Content.StartsWith("<｜", StringComparison.Ordinal) && token.Content.EndsWith("｜>", StringComparison.Ordinal));
}
