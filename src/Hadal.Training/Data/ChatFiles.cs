using System.Text;
using System.Text.Json;
using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Files;

namespace Hadal.Training.Data;

/// <summary>
/// Reads conversations out of .jsonl files (also .zst and .gz), an object a line: <c>{"messages": [{"role", "content"}, …]}</c>, or
/// <c>{"instruction", "input", "output"}</c>, or <c>{"text": "User: …\nAssistant: …"}</c>. What is malformed is refused in one line that names file and line.
/// </summary>
public static class ChatFiles
{
    /// <summary>The conversations of files, in order.</summary>
    /// <exception cref="InvalidDataException">A line is malformed, or a conversation has nothing to learn.</exception>
    public static IEnumerable<IReadOnlyList<ChatMessage>> Read(IEnumerable<string> files)
    {
        ArgumentNullException.ThrowIfNull(files);
        foreach (var file in files)
        {
            foreach (var (number, line) in TextFiles.RawLines(file))
            {
                if (!line.Span.Trim(" \t\r"u8).IsEmpty)
                    yield return Line(file, number, line);
            }
        }
    }

    private static List<ChatMessage> Line(string file, long number, ReadOnlyMemory<byte> line)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            var root = document.RootElement;
            var messages = root.ValueKind != JsonValueKind.Object ? null
                : root.TryGetProperty("messages", out var list) && list.ValueKind == JsonValueKind.Array ? [.. list.EnumerateArray().Select(Message)]
                : Text(root, "instruction") is { } instruction && Text(root, "output") is { } output ? Pair(instruction, Text(root, "input"), output)
                : Text(root, "text") is { } text ? Dialogue(text)
                : null;
            if (messages is null || messages.Contains(null))
                throw Wrong("an object with messages (role and content each), with instruction and output, or with text");
            if (!messages.Any(m => m!.Role == ChatRole.Assistant && !string.IsNullOrEmpty(m.Content)))
                throw Wrong("something that the assistant says");
            return messages!;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw BadFile.Error(file, $"line {number}: expected JSON, found: {BadFile.Quote(e.Message)}");
        }

        InvalidDataException Wrong(string expected) => BadFile.Error(file, $"line {number}: expected {expected}, found: {BadFile.Quote(Encoding.UTF8.GetString(line.Span))}");
    }

    private static ChatMessage? Message(JsonElement element)
    {
        if (element.ValueKind != JsonValueKind.Object || Text(element, "role") is not { } name || Text(element, "content") is not { } content)
            return null;
        ChatRole? role = name switch { "system" => ChatRole.System, "user" => ChatRole.User, "assistant" => ChatRole.Assistant, _ => null };
        return role is { } known ? new(known, content) : null;
    }

    private static List<ChatMessage?> Pair(string instruction, string? input, string output) =>
        [new(ChatRole.User, string.IsNullOrEmpty(input) ? instruction : $"{instruction}\n\n{input}"), new(ChatRole.Assistant, output)];

    /// <summary>Lines that begin with User: or Assistant:, others going on with the one before.</summary>
    private static List<ChatMessage?>? Dialogue(string text)
    {
        var messages = new List<ChatMessage?>();
        foreach (var line in text.Split('\n'))
        {
            if (line.StartsWith("User: ", StringComparison.Ordinal))
                messages.Add(new(ChatRole.User, line["User: ".Length..]));
            else if (line.StartsWith("Assistant: ", StringComparison.Ordinal))
                messages.Add(new(ChatRole.Assistant, line["Assistant: ".Length..]));
            else if (messages.Count > 0)
                messages[^1] = messages[^1]! with { Content = $"{messages[^1]!.Content}\n{line}" };
            else
                return null;
        }

        return messages;
    }

    private static string? Text(JsonElement element, string name) => element.TryGetProperty(name, out var value) ? JsonFields.TextOf(value) : null;
}
