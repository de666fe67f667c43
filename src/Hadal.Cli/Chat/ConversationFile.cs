using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints.Chat;
using Hadal.Cli.Commands;

namespace Hadal.Cli.Chat;

/// <summary>Conversations on disk: the messages of the chat API as a JSON array, or an object that has them under "messages".</summary>
internal static class ConversationFile
{
    /// <summary>Reads a conversation.</summary>
    /// <exception cref="InvalidDataException">The file holds something else; the message names the field, what was expected and what was found.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static List<ChatMessage> Read(string path)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            var root = document.RootElement;
            if (root.ValueKind == JsonValueKind.Object && root.TryGetProperty("messages", out var inner))
                root = inner;
            if (root.ValueKind != JsonValueKind.Array)
                throw new InvalidDataException($"{path}: expected a JSON array of messages, found {root.ValueKind}");
            return [.. root.EnumerateArray().Select((message, index) => Message(message, $"{path}: messages[{index}]"))];
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path}: expected JSON, found an error in line {(exception.LineNumber ?? 0) + 1}", exception);
        }
    }

    /// <summary>Writes a conversation; an older file is replaced.</summary>
    public static void Write(string path, IEnumerable<ChatMessage> messages)
    {
        var array = new JsonArray();
        foreach (var message in messages)
        {
            var json = new JsonObject { ["role"] = message.Role.ToString().ToLowerInvariant(), ["content"] = message.Content };
            if (message.ReasoningContent is { } reasoning)
                json["reasoning_content"] = reasoning;
            array.Add(json);
        }

        File.WriteAllText(path, array.ToJsonString(JsonOutput.Indented) + "\n");
    }

    private static ChatMessage Message(JsonElement json, string where)
    {
        if (json.ValueKind != JsonValueKind.Object)
            throw new InvalidDataException($"{where}: expected an object, found {json.ValueKind}");
        var role = Text(json, "role", where) ?? throw new InvalidDataException($"{where}.role: missing");
        return new ChatMessage(Role(role, where), Content(json, where))
        {
            ReasoningContent = Text(json, "reasoning_content", where),
            ToolCallId = Text(json, "tool_call_id", where),
            Prefix = json.TryGetProperty("prefix", out var prefix) && prefix.ValueKind == JsonValueKind.True,
            ToolCalls = json.TryGetProperty("tool_calls", out var calls) && calls.ValueKind == JsonValueKind.Array
                ? [.. calls.EnumerateArray().Select((call, index) => ToolCall(call, $"{where}.tool_calls[{index}]"))]
                : [],
        };
    }

    private static ChatRole Role(string role, string where) => role switch
    {
        "system" or "developer" => ChatRole.System,
        "user" => ChatRole.User,
        "assistant" => ChatRole.Assistant,
        "tool" => ChatRole.Tool,
        _ => throw new InvalidDataException($"{where}.role: expected system, user, assistant or tool, found '{TerminalSafe(role)}'"),
    };

    // A string, or the API's list of parts, of which only text can be read here.
    private static string? Content(JsonElement message, string where)
    {
        if (!message.TryGetProperty("content", out var content) || content.ValueKind != JsonValueKind.Array)
            return Text(message, "content", where);
        return string.Concat(content.EnumerateArray().Select((part, index) =>
            part.ValueKind == JsonValueKind.Object && Text(part, "type", where) == "text" && Text(part, "text", where) is { } text
                ? text
                : throw new InvalidDataException($"{where}.content[{index}]: expected a part of type text, found something else")));
    }

    private static ChatToolCall ToolCall(JsonElement call, string where)
    {
        if (call.ValueKind != JsonValueKind.Object || !call.TryGetProperty("function", out var function) || function.ValueKind != JsonValueKind.Object)
            throw new InvalidDataException($"{where}.function: expected an object, found none");
        var name = Text(function, "name", where) ?? throw new InvalidDataException($"{where}.function.name: missing");
        var arguments = !function.TryGetProperty("arguments", out var given) ? "{}" : given.ValueKind == JsonValueKind.String ? JsonText.Value(given) : given.GetRawText();
        return new ChatToolCall(name, arguments, Text(call, "id", where));
    }

    private static string? Text(JsonElement json, string field, string where)
    {
        if (!json.TryGetProperty(field, out var value) || value.ValueKind == JsonValueKind.Null)
            return null;
        return value.ValueKind == JsonValueKind.String ? JsonText.Value(value) : throw new InvalidDataException($"{where}.{field}: expected a string, found {value.ValueKind}");
    }

    private static string TerminalSafe(string text) => Terminals.TerminalText.Printable(text.Length > 40 ? text[..40] : text).ReplaceLineEndings(" ");
}
