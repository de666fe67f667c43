using System.Text.Json;
using System.Text.Unicode;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// Reads Hugging Face's tokenizer.json (format "1.0" of huggingface/tokenizers) as far as byte-level byte-pair tokenizers go. What it does not
/// know it refuses by name. One pass; a file of n bytes takes O(n) time and memory.
/// </summary>
internal sealed class TokenizerJsonReader
{
    private const long LongestFile = 1L << 27;
    private const string VocabularyField = "model.vocab";
    private const string MergesField = "model.merges";

    private readonly string file;
    private readonly VocabularyBuilder builder;
    private readonly TokenizerJsonPipeline pipeline;
    private byte[] scratch = new byte[256];
    private bool ignoreMerges;

    private TokenizerJsonReader(string file)
    {
        this.file = file;
        builder = new(file, VocabularyField, MergesField, "added_tokens");
        pipeline = new(file);
    }

    /// <summary>Reads the file, and those beside it.</summary>
    /// <exception cref="InvalidDataException">See <see cref="Tokenizer.FromTokenizerJson"/>.</exception>
    public static Tokenizer Read(string path)
    {
        var reader = new TokenizerJsonReader(path);
        reader.ReadRoot(ReadAll(path));
        var config = TokenizerConfigReader.Read(path, reader.builder.AddedTokens, reader.pipeline.PrefixToken);
        try
        {
            return new(new(reader.builder.Vocabulary, reader.builder.Merges(), reader.builder.AddedTokens, reader.pipeline.Regexes, reader.ignoreMerges, config));
        }
        catch (NotSupportedException e)
        {
            throw new InvalidDataException($"{path}: pre_tokenizer: {e.Message}", e);
        }
    }

    /// <summary>The whole file, checked to be UTF-8 and of sensible length.</summary>
    public static byte[] ReadAll(string path)
    {
        var length = new FileInfo(path).Length;
        if (length > LongestFile)
            throw BadFile.Error(path, $"expected at most {LongestFile} bytes, found {length}");
        var bytes = File.ReadAllBytes(path);
        if (!Utf8.IsValid(bytes))
            throw BadFile.Error(path, "expected UTF-8, found ill-formed bytes");
        return bytes;
    }

    private void ReadRoot(ReadOnlySpan<byte> bytes)
    {
        List<AddedToken> added = [];
        try
        {
            var json = new Utf8JsonReader(bytes.StartsWith("\uFEFF"u8) ? bytes[3..] : bytes, new JsonReaderOptions { MaxDepth = 32 });
            json.Read();
            if (json.TokenType != JsonTokenType.StartObject)
                throw BadFile.Error(file, $"expected a JSON object, found {json.TokenType}");
            var seen = new HashSet<string>();
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
            {
                var name = json.GetString()!;
                if (!seen.Add(name))
                    throw BadFile.Field(file, name, "found twice");
                json.Read();
                if (name == "model")
                    ReadModel(ref json);
                else if (name is "version" or "truncation" or "padding")
                    json.Skip();
                else
                    ReadSection(name, JsonElement.ParseValue(ref json), ref added);
            }

            // Nothing but white space may follow; the reader says so itself.
            json.Read();
            if (!seen.Contains("model"))
                throw BadFile.Field(file, "model", "expected a BPE model, found none");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{file}: not a tokenizer.json: {BadFile.Quote(e.Message)}", e);
        }

        added.ForEach(builder.AddAddedToken);
    }

    private void ReadSection(string name, JsonElement value, ref List<AddedToken> added)
    {
        switch (name)
        {
            case "added_tokens":
                added = pipeline.ReadAddedTokens(value);
                break;
            case "normalizer":
                pipeline.ReadNormalizer(value, name);
                break;
            case "pre_tokenizer":
                pipeline.ReadPreTokenizer(value, name);
                break;
            case "post_processor":
                pipeline.ReadPostProcessor(value, name);
                break;
            case "decoder":
                pipeline.ReadDecoder(value, name);
                break;
            default:
                throw BadFile.Field(file, name, "unknown field");
        }
    }

    private void ReadModel(ref Utf8JsonReader json)
    {
        if (json.TokenType != JsonTokenType.StartObject)
            throw BadFile.Field(file, "model", $"expected an object, found {json.TokenType}");
        var mergesAt = json;
        var seen = new HashSet<string>();
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            var name = json.GetString()!;
            if (!seen.Add(name))
                throw BadFile.Field(file, $"model.{name}", "found twice");
            json.Read();
            switch (name)
            {
                case "vocab":
                    ReadVocabulary(ref json);
                    break;
                case "merges":
                    // They name tokens, so they wait for the vocabulary wherever they stand.
                    mergesAt = json;
                    json.Skip();
                    break;
                default:
                    CheckSetting(name, JsonElement.ParseValue(ref json));
                    break;
            }
        }

        foreach (var required in (ReadOnlySpan<string>)["type", "vocab", "merges"])
        {
            if (!seen.Contains(required))
                throw BadFile.Field(file, $"model.{required}", "missing");
        }

        ReadMerges(mergesAt);
    }

    private void CheckSetting(string name, JsonElement value)
    {
        var supported = name switch
        {
            "type" => value.ValueKind == JsonValueKind.String && value.ValueEquals("BPE"),
            "dropout" => value.ValueKind == JsonValueKind.Null || (value.ValueKind == JsonValueKind.Number && value.GetDouble() == 0),
            "continuing_subword_prefix" or "end_of_word_suffix" => value.ValueKind == JsonValueKind.Null || (value.ValueKind == JsonValueKind.String && value.ValueEquals("")),
            "byte_fallback" => value.ValueKind == JsonValueKind.False,
            // Without effect: a vocabulary accepted here has a token for every byte, so nothing is unknown.
            "unk_token" => value.ValueKind is JsonValueKind.Null or JsonValueKind.String,
            "fuse_unk" or "ignore_merges" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
            _ => throw BadFile.Field(file, $"model.{name}", "unknown field"),
        };
        if (!supported)
            throw BadFile.Field(file, $"model.{name}", $"expected what a byte-level BPE model has, found {BadFile.Quote(value.GetRawText())}");
        if (name == "ignore_merges")
            ignoreMerges = value.GetBoolean();
    }

    private void ReadVocabulary(ref Utf8JsonReader json)
    {
        if (json.TokenType != JsonTokenType.StartObject)
            throw BadFile.Field(file, VocabularyField, $"expected an object, found {json.TokenType}");
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            var spelling = Text(ref json);
            json.Read();
            if (json.TokenType != JsonTokenType.Number || !json.TryGetInt32(out var id) || id is < 0 or >= Vocabulary.MostIds)
                throw BadFile.Field(file, VocabularyField, $"token {VocabularyBuilder.Show(spelling)}: expected an id from 0 to {Vocabulary.MostIds - 1}, found {VocabularyBuilder.Show(json.ValueSpan)}");
            builder.AddToken(spelling, id);
        }

        builder.CompleteTokens();
    }

    private void ReadMerges(Utf8JsonReader json)
    {
        if (json.TokenType != JsonTokenType.StartArray)
            throw BadFile.Field(file, MergesField, $"expected an array, found {json.TokenType}");
        while (json.Read() && json.TokenType != JsonTokenType.EndArray)
        {
            if (json.TokenType == JsonTokenType.String)
            {
                builder.AddMerge(Text(ref json));
                continue;
            }

            if (json.TokenType != JsonTokenType.StartArray)
                throw builder.MergeError($"expected a string or a pair of strings, found {json.TokenType}");
            json.Read();
            var left = json.TokenType == JsonTokenType.String ? builder.BeginMerge(Text(ref json)) : throw NoPair();
            json.Read();
            if (json.TokenType != JsonTokenType.String)
                throw NoPair();
            builder.EndMerge(left, Text(ref json));
            json.Read();
            if (json.TokenType != JsonTokenType.EndArray)
                throw NoPair();
        }

        InvalidDataException NoPair() => builder.MergeError("expected two strings in brackets");
    }

    /// <summary>The text of a string or name in UTF-8, valid until the next call.</summary>
    private ReadOnlySpan<byte> Text(ref Utf8JsonReader json)
    {
        if (!json.ValueIsEscaped)
            return json.ValueSpan;
        if (scratch.Length < json.ValueSpan.Length)
            scratch = new byte[json.ValueSpan.Length];
        return scratch.AsSpan(0, json.CopyString(scratch));
    }
}
