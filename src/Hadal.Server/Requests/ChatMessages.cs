using System.Text.Json;
using Hadal.Checkpoints.Chat;

namespace Hadal.Server.Requests;

/// <summary>Reads the messages of a conversation.</summary>
internal static class ChatMessages
{
    private const int MostCalls = 256;

    /// <summary>The messages, at least one.</summary>
    public static IReadOnlyList<ChatMessage> Read(RequestFields fields, int maxCount)
    {
        var elements = fields.Array("messages", maxCount) ?? throw fields.Missing("messages");
        if (elements.Count == 0)
            throw new RequestRejectedException("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.", "messages", "empty_array");
        var messages = new List<ChatMessage>(elements.Count);
        foreach (var (value, path) in elements)
            messages.Add(Read(RequestFields.Of(value, path)));
        for (var i = 0; i < messages.Count; i++)
        {
            if (messages[i].Prefix && (i + 1 < messages.Count || messages[i].ToolCalls.Count > 0))
                throw new RequestRejectedException("Only the last message, an assistant's without tool calls, can be a prefix.", $"messages[{i}].prefix", "invalid_value");
        }

        return messages;
    }

    /// <summary>The text of a message's content: a string, or parts that are all text.</summary>
    /// <param name="content">The content.</param>
    /// <param name="path">Its path.</param>
    public static string Text(JsonElement content, string path)
    {
        if (content.ValueKind == JsonValueKind.String)
            return RequestFields.TextOf(content, path);
        if (content.ValueKind != JsonValueKind.Array)
            throw RequestFields.WrongType(path, "a string or an array of content parts", content);
        var texts = new List<string>();
        foreach (var (value, at) in RequestFields.Elements(content, path, int.MaxValue))
        {
            var part = RequestFields.Of(value, at);
            var type = part.RequiredText("type");
            texts.Add(type switch
            {
                "text" or "input_text" or "output_text" => part.RequiredText("text"),
                "refusal" => part.RequiredText("refusal"),
                "image_url" or "input_image" or "input_audio" or "file" or "input_file" =>
                    throw new RequestRejectedException($"Invalid '{at}': this model reads text only, not '{type}'.", at, "unsupported_content"),
                _ => throw RequestFields.NoSuchValue(part.PathOf("type"), type, "text", "refusal"),
            });
        }

        return string.Concat(texts);
    }

    private static ChatMessage Read(RequestFields message)
    {
        var role = message.OneOf("role", "system", "developer", "user", "assistant", "tool", "function") ?? throw message.Missing("role");
        var content = message.Get("content") is { } value ? Text(value, message.PathOf("content")) : null;
        switch (role)
        {
            case "system" or "developer":
                return new ChatMessage(ChatRole.System, content ?? throw message.Missing("content"));
            case "user":
                return new ChatMessage(ChatRole.User, content ?? throw message.Missing("content"));
            case "tool" or "function":
                return new ChatMessage(ChatRole.Tool, content ?? throw message.Missing("content")) { ToolCallId = message.Text("tool_call_id") };
            default:
                var calls = message.Objects("tool_calls", MostCalls).Select(Call).ToList();
                if (content is null && calls.Count == 0 && message.Text("refusal") is null && message.Text("reasoning_content") is null)
                    throw message.Missing("content");

                // An empty text beside calls means none; V3's template would write it instead of the calls.
                return new ChatMessage(ChatRole.Assistant, calls.Count > 0 && string.IsNullOrEmpty(content) ? null : content ?? message.Text("refusal") ?? "")
                {
                    ToolCalls = calls,
                    ReasoningContent = message.Text("reasoning_content") ?? message.Text("reasoning"),
                    Prefix = message.Flag("prefix") ?? false,
                };
        }
    }

    private static ChatToolCall Call(RequestFields call)
    {
        var function = call.RequiredObject("function");
        return new ChatToolCall(function.RequiredText("name"), function.Text("arguments") ?? "{}", call.Text("id"));
    }
}
