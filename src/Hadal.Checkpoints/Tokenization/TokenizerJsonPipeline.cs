using System.Text.Json;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// The small sections of tokenizer.json: added tokens, and the stages around the model. Each is checked against what byte-level byte-pair
/// tokenizers of DeepSeek's kind do, and refused by name where it asks for more.
/// </summary>
internal sealed class TokenizerJsonPipeline(string file)
{
    private const int LongestAddedToken = 1024;
    private const int LongestAddedTokens = 1 << 22;
    private const int LongestRegex = 1 << 12;
    private const int MostRegexes = 32;

    /// <summary>The pre-tokenizer's regexes.</summary>
    public List<string> Regexes { get; } = [];

    /// <summary>The token that the post-processor puts before a text, if any.</summary>
    public string? PrefixToken { get; private set; }

    /// <summary>Reads <c>added_tokens</c>.</summary>
    public List<AddedToken> ReadAddedTokens(JsonElement tokens)
    {
        const string Field = "added_tokens";
        if (tokens.ValueKind != JsonValueKind.Array)
            throw BadFile.Field(file, Field, $"expected an array, found {Show(tokens)}");
        var read = new List<AddedToken>();
        var length = 0;
        foreach (var token in tokens.EnumerateArray())
        {
            if (token.ValueKind != JsonValueKind.Object)
                throw BadFile.Field(file, Field, $"expected objects, found {Show(token)}");
            var added = new AddedToken(-1, "", Special: false);
            foreach (var property in token.EnumerateObject())
            {
                var value = property.Value;
                added = property.Name switch
                {
                    "id" => added with { Id = Id(value, Field) },
                    "content" => added with { Content = Content(value, Field) },
                    "special" => added with { Special = Flag(token, Field, property.Name) },
                    "single_word" => added with { SingleWord = Flag(token, Field, property.Name) },
                    "lstrip" => added with { StripLeft = Flag(token, Field, property.Name) },
                    "rstrip" => added with { StripRight = Flag(token, Field, property.Name) },
                    "normalized" => added with { Normalized = Flag(token, Field, property.Name) },
                    _ => throw BadFile.Field(file, $"{Field}.{property.Name}", "unknown field"),
                };
            }

            if (added.Id < 0 || added.Content.Length == 0)
                throw BadFile.Field(file, Field, $"expected id and content, found {Show(token)}");
            read.Add(added);
            length += added.Content.Length;
            if (length > LongestAddedTokens)
                throw BadFile.Field(file, Field, $"expected at most {LongestAddedTokens} characters together, found more");
        }

        return read;
    }

    /// <summary>Refuses any normalizer but an empty sequence.</summary>
    public void ReadNormalizer(JsonElement value, string field)
    {
        if (value.ValueKind == JsonValueKind.Null)
            return;
        var type = Type(value, field);
        if (type != "Sequence")
            throw BadFile.Field(file, field, $"expected none, found {BadFile.Quote(type)}, which is not supported");
        foreach (var inner in Items(value, field, "normalizers"))
            ReadNormalizer(inner, field);
    }

    /// <summary>Reads <c>pre_tokenizer</c> into <see cref="Regexes"/>.</summary>
    public void ReadPreTokenizer(JsonElement value, string field)
    {
        var type = Type(value, field);
        switch (type)
        {
            case "Sequence":
                foreach (var inner in Items(value, field, "pretokenizers"))
                    ReadPreTokenizer(inner, field);
                break;
            case "Split":
                Expect(value, field, "behavior", v => v.ValueKind == JsonValueKind.String && v.ValueEquals("Isolated"));
                Expect(value, field, "invert", v => v.ValueKind == JsonValueKind.False);
                AddRegex(Pattern(Required(value, field, "pattern"), $"{field}.pattern"), field);
                break;
            case "Digits":
                AddRegex(Flag(value, field, "individual_digits") ? @"\p{N}" : @"\p{N}+", field);
                break;
            case "ByteLevel":
                Expect(value, field, "add_prefix_space", v => v.ValueKind == JsonValueKind.False);
                if (!value.TryGetProperty("use_regex", out _) || Flag(value, field, "use_regex"))
                    AddRegex(PreTokenizerRegexes.Gpt2, field);
                break;
            default:
                throw BadFile.Field(file, field, $"expected Sequence, Split, Digits or ByteLevel, found {BadFile.Quote(type)}");
        }
    }

    /// <summary>Reads <c>post_processor</c>: none, or one that puts at most one token before a text.</summary>
    public void ReadPostProcessor(JsonElement value, string field)
    {
        if (value.ValueKind == JsonValueKind.Null)
            return;
        var type = Type(value, field);
        switch (type)
        {
            case "ByteLevel":
                // Trims the offsets it reports; the ids are the same.
                break;
            case "Sequence":
                foreach (var inner in Items(value, field, "processors"))
                    ReadPostProcessor(inner, field);
                break;
            case "TemplateProcessing":
                ReadTemplate([.. Items(value, field, "single")], $"{field}.single");
                break;
            default:
                throw BadFile.Field(file, field, $"expected ByteLevel, TemplateProcessing or Sequence, found {BadFile.Quote(type)}");
        }
    }

    /// <summary>Refuses any decoder but ByteLevel.</summary>
    public void ReadDecoder(JsonElement value, string field)
    {
        if (value.ValueKind != JsonValueKind.Null && Type(value, field) is not "ByteLevel" and var type)
            throw BadFile.Field(file, field, $"expected ByteLevel, found {BadFile.Quote(type)}");
    }

    private void ReadTemplate(JsonElement[] items, string field)
    {
        string? Part(int index, string kind) =>
            index < items.Length && items[index].ValueKind == JsonValueKind.Object && items[index].TryGetProperty(kind, out var item)
            && item.ValueKind == JsonValueKind.Object && item.TryGetProperty("id", out var id) && id.ValueKind == JsonValueKind.String ? id.GetString() : null;

        if (items.Length == 1 && Part(0, "Sequence") is not null)
            return;
        if (items.Length != 2 || Part(0, "SpecialToken") is not { } token || Part(1, "Sequence") is null)
            throw BadFile.Field(file, field, "expected the text with at most one token before it");
        PrefixToken = token;
    }

    private void AddRegex(string regex, string field)
    {
        if (regex.Length > LongestRegex || Regexes.Count == MostRegexes)
            throw BadFile.Field(file, field, $"expected at most {MostRegexes} regexes of {LongestRegex} characters, found more");
        Regexes.Add(regex);
    }

    private string Pattern(JsonElement value, string field)
    {
        if (value.ValueKind == JsonValueKind.Object)
        {
            if (value.TryGetProperty("Regex", out var regex) && regex.ValueKind == JsonValueKind.String)
                return regex.GetString()!;
            if (value.TryGetProperty("String", out var text) && text.ValueKind == JsonValueKind.String)
                return System.Text.RegularExpressions.Regex.Escape(text.GetString()!);
        }

        throw BadFile.Field(file, field, $"expected a Regex or a String, found {Show(value)}");
    }

    private int Id(JsonElement value, string field) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) && id is >= 0 and < Vocabulary.MostIds
            ? id
            : throw BadFile.Field(file, $"{field}.id", $"expected an id from 0 to {Vocabulary.MostIds - 1}, found {Show(value)}");

    private string Content(JsonElement value, string field) =>
        value.ValueKind == JsonValueKind.String && value.GetString() is { Length: > 0 and <= LongestAddedToken } text
            ? text
            : throw BadFile.Field(file, $"{field}.content", $"expected 1 to {LongestAddedToken} characters, found {Show(value)}");

    private string Type(JsonElement value, string field) =>
        value.ValueKind == JsonValueKind.Object && value.TryGetProperty("type", out var type) && type.ValueKind == JsonValueKind.String
            ? type.GetString()!
            : throw BadFile.Field(file, field, $"expected an object with a type, found {Show(value)}");

    private IEnumerable<JsonElement> Items(JsonElement value, string field, string name) =>
        Required(value, field, name) is { ValueKind: JsonValueKind.Array } items
            ? items.EnumerateArray()
            : throw BadFile.Field(file, $"{field}.{name}", "expected an array");

    private JsonElement Required(JsonElement value, string field, string name) =>
        value.TryGetProperty(name, out var found) ? found : throw BadFile.Field(file, $"{field}.{name}", "missing");

    private bool Flag(JsonElement value, string field, string name) =>
        Required(value, field, name) is { ValueKind: JsonValueKind.True or JsonValueKind.False } flag
            ? flag.GetBoolean()
            : throw BadFile.Field(file, $"{field}.{name}", $"expected true or false, found {Show(Required(value, field, name))}");

    private void Expect(JsonElement value, string field, string name, Predicate<JsonElement> supported)
    {
        var found = Required(value, field, name);
        if (!supported(found))
            throw BadFile.Field(file, $"{field}.{name}", $"found {Show(found)}, which is not supported");
    }

    private static string Show(JsonElement value) => BadFile.Quote(value.GetRawText());
}
