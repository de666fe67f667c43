using System.Text.Encodings.Web;
using System.Text.Json;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>Writes a tokenizer as Hugging Face's tokenizer.json and tokenizer_config.json.</summary>
internal static class TokenizerJsonWriter
{
    private const string Pad = "<｜▁pad▁｜>";

    private static readonly JsonWriterOptions Options = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes both files into a folder, which is made if need be.</summary>
    public static void Write(Tokenizer tokenizer, string folder)
    {
        Directory.CreateDirectory(folder);
        using (var stream = File.Create(Path.Combine(folder, "tokenizer.json")))
        using (var json = new Utf8JsonWriter(stream, Options))
            WriteTokenizer(json, tokenizer);
        using (var stream = File.Create(Path.Combine(folder, "tokenizer_config.json")))
        using (var json = new Utf8JsonWriter(stream, Options))
            WriteConfig(json, tokenizer.Parts);
    }

    private static void WriteTokenizer(Utf8JsonWriter json, Tokenizer tokenizer)
    {
        var parts = tokenizer.Parts;
        json.WriteStartObject();
        json.WriteString("version", "1.0");
        json.WriteNull("truncation");
        json.WriteNull("padding");
        json.WriteStartArray("added_tokens");
        foreach (var token in parts.AddedTokens)
        {
            json.WriteStartObject();
            json.WriteNumber("id", token.Id);
            json.WriteString("content", token.Content);
            json.WriteBoolean("single_word", token.SingleWord);
            json.WriteBoolean("lstrip", token.StripLeft);
            json.WriteBoolean("rstrip", token.StripRight);
            json.WriteBoolean("normalized", token.Normalized);
            json.WriteBoolean("special", token.Special);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNull("normalizer");
        WritePreTokenizer(json, parts.Regexes);
        WriteByteLevel(json, "post_processor");
        WriteByteLevel(json, "decoder");
        WriteModel(json, parts);
        json.WriteEndObject();
    }

    private static void WritePreTokenizer(Utf8JsonWriter json, IReadOnlyList<string> regexes)
    {
        json.WriteStartObject("pre_tokenizer");
        json.WriteString("type", "Sequence");
        json.WriteStartArray("pretokenizers");
        foreach (var regex in regexes)
        {
            json.WriteStartObject();
            json.WriteString("type", "Split");
            json.WriteStartObject("pattern");
            json.WriteString("Regex", regex);
            json.WriteEndObject();
            json.WriteString("behavior", "Isolated");
            json.WriteBoolean("invert", false);
            json.WriteEndObject();
        }

        WriteByteLevel(json, name: null);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteByteLevel(Utf8JsonWriter json, string? name)
    {
        if (name is null)
            json.WriteStartObject();
        else
            json.WriteStartObject(name);
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", false);
        json.WriteBoolean("use_regex", false);
        json.WriteEndObject();
    }

    private static void WriteModel(Utf8JsonWriter json, TokenizerParts parts)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteNull("unk_token");
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", false);
        json.WriteBoolean("byte_fallback", false);
        json.WriteBoolean("ignore_merges", parts.IgnoreMerges);
        json.WriteStartObject("vocab");
        for (var id = 0; id < parts.Vocabulary.Size; id++)
        {
            if (parts.Vocabulary.Contains(id))
                json.WriteNumber(parts.Vocabulary.Spelling(id), id);
        }

        json.WriteEndObject();
        json.WriteStartArray("merges");
        for (var rank = 0; rank < parts.Merges.Count; rank++)
        {
            var (left, right) = parts.Merges[rank];
            json.WriteStartArray();
            json.WriteStringValue(parts.Vocabulary.Spelling(left));
            json.WriteStringValue(parts.Vocabulary.Spelling(right));
            json.WriteEndArray();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteConfig(Utf8JsonWriter json, TokenizerParts parts)
    {
        var config = parts.Config;
        json.WriteStartObject();
        json.WriteBoolean("add_bos_token", config.AddBos);
        json.WriteBoolean("add_eos_token", false);
        WriteToken(json, "bos_token", config.BosToken);
        WriteToken(json, "eos_token", config.EosToken);
        WriteToken(json, "pad_token", parts.AddedTokens.FirstOrDefault(t => t.Content == Pad)?.Content ?? config.EosToken);
        json.WriteBoolean("clean_up_tokenization_spaces", false);
        json.WriteString("tokenizer_class", "LlamaTokenizerFast");
        if (config.ChatTemplate is not null)
            json.WriteString("chat_template", config.ChatTemplate);
        json.WriteEndObject();
    }

    private static void WriteToken(Utf8JsonWriter json, string name, string? token)
    {
        if (token is null)
            json.WriteNull(name);
        else
            json.WriteString(name, token);
    }
}
