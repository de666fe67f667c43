using System.Text;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Gguf;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// Reads the tokenizer inside a GGUF file: the <c>tokenizer.ggml.*</c> keys of llama.cpp's gguf-py/gguf/constants.py. The spelling of tokens is
/// tokenizer.json's; what its pre-tokenizer was stands as a name.
/// </summary>
internal static class GgufTokenizerReader
{
    private const string ModelKey = "tokenizer.ggml.model";
    private const string PreKey = "tokenizer.ggml.pre";
    private const string TokensKey = "tokenizer.ggml.tokens";
    private const string TypesKey = "tokenizer.ggml.token_type";
    private const string MergesKey = "tokenizer.ggml.merges";

    /// <summary>llama.cpp's llama_token_type.</summary>
    private const int Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Byte = 6;

    /// <summary>Reads the keys.</summary>
    /// <exception cref="InvalidDataException">See <see cref="Tokenizer.FromGguf"/>.</exception>
    public static Tokenizer Read(GgufMetadata metadata)
    {
        var file = metadata.File;
        if (metadata.RequireString(ModelKey) is not "gpt2" and var model)
            throw BadFile.Field(file, ModelKey, $"expected gpt2 (byte-level BPE), found {BadFile.Quote(model)}");
        var pre = metadata.GetString(PreKey);
        var regexes = PreTokenizerRegexes.Named.FirstOrDefault(n => n.Name == pre).Regexes
            ?? throw BadFile.Field(file, PreKey, $"expected {string.Join(", ", PreTokenizerRegexes.Named.Select(n => n.Name))}, found {(pre is null ? "none" : BadFile.Quote(pre))}");

        if (metadata.ArrayLength(TokensKey) is > Vocabulary.MostIds and var many)
            throw BadFile.Field(file, TokensKey, $"expected at most {Vocabulary.MostIds} tokens, found {many}");
        var tokens = metadata.GetStrings(TokensKey) ?? throw BadFile.Field(file, TokensKey, "missing");
        var types = metadata.GetInt32s(TypesKey) ?? throw BadFile.Field(file, TypesKey, "missing");
        if (types.Length != tokens.Length)
            throw BadFile.Field(file, TypesKey, $"expected {tokens.Length} types, one a token, found {types.Length}");
        var merges = metadata.GetStrings(MergesKey) ?? throw BadFile.Field(file, MergesKey, "missing");

        var builder = new VocabularyBuilder(file, TokensKey, MergesKey, TokensKey);
        var spelling = new byte[1024];
        for (var id = 0; id < tokens.Length; id++)
            builder.AddToken(Utf8(tokens[id], ref spelling), id);
        builder.CompleteTokens();
        for (var id = 0; id < tokens.Length; id++)
        {
            if (types[id] is < Normal or > Byte)
                throw BadFile.Field(file, TypesKey, $"token {id}: expected a type from {Normal} to {Byte}, found {types[id]}");
            if (types[id] is Unknown or Control or UserDefined && tokens[id].Length > 0)
                builder.AddAddedToken(new(id, tokens[id], Special: types[id] != UserDefined));
        }

        foreach (var merge in merges)
            builder.AddMerge(Utf8(merge, ref spelling));

        var config = new TokenizerConfig(
            Token("tokenizer.ggml.bos_token_id"), Token("tokenizer.ggml.eos_token_id"),
            metadata.GetBoolean("tokenizer.ggml.add_bos_token") ?? false, metadata.GetString("tokenizer.chat_template"));
        return new(new(builder.Vocabulary, builder.Merges(), builder.AddedTokens, regexes, IgnoreMerges: false, config));

        string? Token(string key) => metadata.GetInt32(key) switch
        {
            null => null,
            { } id when (uint)id < (uint)tokens.Length => tokens[id],
            { } id => throw BadFile.Field(file, key, $"expected an id below {tokens.Length}, found {id}"),
        };
    }

    private static ReadOnlySpan<byte> Utf8(string text, ref byte[] buffer)
    {
        if (buffer.Length < Encoding.UTF8.GetMaxByteCount(text.Length))
            buffer = new byte[Encoding.UTF8.GetMaxByteCount(text.Length)];
        return buffer.AsSpan(0, Encoding.UTF8.GetBytes(text, buffer));
    }
}
