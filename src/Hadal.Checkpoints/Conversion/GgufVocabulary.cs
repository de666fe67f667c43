using Hadal.Checkpoints.Gguf;

namespace Hadal.Checkpoints.Conversion;

/// <summary>Writes the tokenizer of a model as <c>tokenizer.*</c> keys of GGUF metadata.</summary>
internal static class GgufVocabulary
{
    /// <summary>Adds the keys; what the user should know goes to <paramref name="notes"/>.</summary>
    public static void Write(GgufMetadataBuilder metadata, Checkpoint source, List<string> notes)
    {
        if (source is GgufCheckpoint gguf)
        {
            foreach (var key in gguf.Metadata.Keys.Where(key => key.StartsWith("tokenizer.", StringComparison.Ordinal)))
                metadata.Add(gguf.Metadata, key);
            return;
        }

        notes.Add($"{source.Path} has no tokenizer.json: the file has no vocabulary, and llama.cpp does not load it.");
        metadata.Add(GgufKeys.TokenizerModel, "none");
        if (source.Config.BosTokenId is { } bos)
            metadata.Add(GgufKeys.BosTokenId, bos);
        if (source.Config.EosTokenIds is [var eos, ..])
            metadata.Add(GgufKeys.EosTokenId, eos);
    }
}
