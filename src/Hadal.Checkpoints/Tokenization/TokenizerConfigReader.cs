using System.Text.Json;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// Reads of tokenizer_config.json what an inference engine needs; the rest of it is settings of Python classes. Where the file is missing, the
/// tokens are those of the post-processor's template or of DeepSeek's spelling.
/// </summary>
internal static class TokenizerConfigReader
{
    private const string DeepSeekBos = "<｜begin▁of▁sentence｜>";
    private const string DeepSeekEos = "<｜end▁of▁sentence｜>";

    /// <summary>Reads the files beside a tokenizer.json.</summary>
    /// <param name="tokenizerPath">The tokenizer.json.</param>
    /// <param name="addedTokens">Its added tokens.</param>
    /// <param name="prefixToken">The token its post-processor puts before a text, if any.</param>
    public static TokenizerConfig Read(string tokenizerPath, IReadOnlyList<AddedToken> addedTokens, string? prefixToken)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(tokenizerPath))!;
        var config = new TokenizerConfig(prefixToken ?? Present(DeepSeekBos), Present(DeepSeekEos), prefixToken is not null, ChatTemplate: null);
        var path = Path.Combine(folder, "tokenizer_config.json");
        if (File.Exists(path))
            config = ReadConfig(path, config);
        var template = Path.Combine(folder, "chat_template.jinja");
        if (File.Exists(template))
            config = config with { ChatTemplate = System.Text.Encoding.UTF8.GetString(TokenizerJsonReader.ReadAll(template)) };
        return config;

        string? Present(string content) => addedTokens.Any(t => t.Content == content) ? content : null;
    }

    private static TokenizerConfig ReadConfig(string path, TokenizerConfig config)
    {
        try
        {
            using var document = JsonDocument.Parse(TokenizerJsonReader.ReadAll(path), new JsonDocumentOptions { MaxDepth = 64 });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw BadFile.Error(path, $"expected a JSON object, found {document.RootElement.ValueKind}");
            foreach (var property in document.RootElement.EnumerateObject())
            {
                config = property.Name switch
                {
                    "bos_token" => config with { BosToken = Token(path, property) },
                    "eos_token" => config with { EosToken = Token(path, property) },
                    "add_bos_token" => config with { AddBos = Flag(path, property) ?? config.AddBos },
                    "chat_template" => config with { ChatTemplate = Template(path, property) },
                    _ => config,
                };
            }

            return config;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: {BadFile.Quote(e.Message)}", e);
        }
    }

    private static string? Token(string path, JsonProperty property)
    {
        var value = property.Value;
        if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("content", out var content))
            value = content;
        return value.ValueKind switch
        {
            JsonValueKind.Null => null,
            JsonValueKind.String => value.GetString(),
            _ => throw Unexpected(path, property, "a token"),
        };
    }

    private static bool? Flag(string path, JsonProperty property) => property.Value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Null => null,
        _ => throw Unexpected(path, property, "true or false"),
    };

    /// <summary>The template; of several, each with a name, the one named default.</summary>
    private static string? Template(string path, JsonProperty property)
    {
        if (property.Value.ValueKind is JsonValueKind.Null)
            return null;
        if (property.Value.ValueKind is JsonValueKind.String)
            return property.Value.GetString();
        if (property.Value.ValueKind is not JsonValueKind.Array)
            throw Unexpected(path, property, "a template");
        foreach (var named in property.Value.EnumerateArray())
        {
            if (named.ValueKind == JsonValueKind.Object && named.TryGetProperty("name", out var name) && name.ValueKind == JsonValueKind.String && name.ValueEquals("default")
                && named.TryGetProperty("template", out var template) && template.ValueKind == JsonValueKind.String)
                return template.GetString();
        }

        throw Unexpected(path, property, "a template named default");
    }

    private static InvalidDataException Unexpected(string path, JsonProperty property, string expected) =>
        BadFile.Field(path, property.Name, $"expected {expected}, found {BadFile.Quote(property.Value.GetRawText())}");
}
