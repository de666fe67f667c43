using System.Text.Json;
using Hadal.Checkpoints.Chat;

namespace Hadal.Server.Requests;

/// <summary>The body of <c>POST /v1/responses</c>: text and function tools; nothing is stored.</summary>
internal sealed record ResponsesRequest : SamplingRequest
{
    private const int MostItems = 4096;
    private const int MostLogprobs = 20;

    /// <summary>The conversation: <c>instructions</c>, then <c>input</c>, a string or an array of items.</summary>
    public required IReadOnlyList<ChatMessage> Input { get; init; }

    /// <summary>Goes before the conversation.</summary>
    public string? Instructions { get; init; }

    /// <summary>Most tokens of the answer, thinking included.</summary>
    public int? MaxOutputTokens { get; init; }

    /// <summary>How many of the most probable alternatives are given with each token; null gives no probabilities.</summary>
    public int? TopLogprobs { get; init; }

    /// <summary>The form of the answer, from <c>text.format</c>.</summary>
    public ResponseFormat Format { get; init; } = new();

    /// <summary>Functions that the model may call.</summary>
    public IReadOnlyList<ToolDefinition> Tools { get; init; } = [];

    /// <summary>auto, none, required, or a function by name.</summary>
    public ToolChoice ToolChoice { get; init; } = new();

    /// <summary>Whether there may be several calls in one answer.</summary>
    public bool ParallelToolCalls { get; init; } = true;

    /// <summary>Whether the model thinks before it answers, from <c>reasoning.effort</c>.</summary>
    public bool Thinking { get; init; }

    /// <summary>Reads and checks a request.</summary>
    public static ResponsesRequest Read(RequestFields fields)
    {
        if (fields.Has("previous_response_id"))
            throw new RequestRejectedException("Invalid 'previous_response_id': this server stores no responses. Send the conversation in 'input'.", "previous_response_id", "unsupported_parameter");
        if (fields.Flag("background") == true)
            throw new RequestRejectedException("Invalid 'background': this server stores no responses.", "background", "unsupported_parameter");
        var instructions = fields.Text("instructions");
        var effort = fields.Object("reasoning")?.OneOf("effort", "none", "minimal", "low", "medium", "high", "xhigh", "max");
        var request = Read(fields, new ResponsesRequest
        {
            Model = fields.RequiredText("model", 256),
            Input = [.. instructions is { Length: > 0 } ? [new ChatMessage(ChatRole.System, instructions)] : Array.Empty<ChatMessage>(), .. Items(fields)],
            Instructions = instructions,
            MaxOutputTokens = (int?)fields.Integer("max_output_tokens", 1, int.MaxValue),
            TopLogprobs = (int?)fields.Integer("top_logprobs", 0, MostLogprobs),
            Format = fields.Object("text") is { } text ? ResponseFormat.Read(text, "format") : new ResponseFormat(),
            Tools = ToolDefinition.ReadAll(fields),
            ToolChoice = ToolChoice.Read(fields),
            ParallelToolCalls = fields.Flag("parallel_tool_calls") ?? true,
            Thinking = effort is not (null or "none" or "minimal"),
        });
        request.ToolChoice.Check(request.Tools);
        return request;
    }

    private static List<ChatMessage> Items(RequestFields fields)
    {
        var input = fields.Get("input") ?? throw fields.Missing("input");
        if (input.ValueKind == JsonValueKind.String)
            return [new ChatMessage(ChatRole.User, RequestFields.TextOf(input, "input"))];
        if (input.ValueKind != JsonValueKind.Array)
            throw RequestFields.WrongType("input", "a string or an array", input);
        var messages = new List<ChatMessage>();
        string? thought = null;
        foreach (var (value, path) in RequestFields.Elements(input, "input", MostItems))
        {
            var item = RequestFields.Of(value, path);
            switch (item.Text("type") ?? "message")
            {
                case "message":
                    messages.Add(Message(item) with { ReasoningContent = thought });
                    thought = null;
                    break;
                case "function_call":
                    // Calls of one answer come one by one; the templates have them in one message, with the text before them.
                    var call = new ChatToolCall(item.RequiredText("name"), item.Text("arguments") ?? "{}", item.Text("call_id"));
                    if (messages is [.., { Role: ChatRole.Assistant } last])
                        messages[^1] = last with { ToolCalls = [.. last.ToolCalls, call] };
                    else
                        messages.Add(new ChatMessage(ChatRole.Assistant, null) { ToolCalls = [call], ReasoningContent = thought });
                    thought = null;
                    break;
                case "function_call_output":
                    var output = item.Get("output") ?? throw item.Missing("output");
                    messages.Add(new ChatMessage(ChatRole.Tool, ChatMessages.Text(output, item.PathOf("output"))) { ToolCallId = item.Text("call_id") });
                    break;
                case "reasoning":
                    thought = string.Concat(item.Objects("content").Select(c => c.Text("text")));
                    break;
                case var type:
                    throw RequestFields.NoSuchValue(item.PathOf("type"), type, "message", "function_call", "function_call_output", "reasoning");
            }
        }

        return messages.Count > 0 ? messages : throw new RequestRejectedException("Invalid 'input': empty array.", "input", "empty_array");
    }

    private static ChatMessage Message(RequestFields item)
    {
        var role = item.OneOf("role", "system", "developer", "user", "assistant") ?? throw item.Missing("role");
        var text = ChatMessages.Text(item.Get("content") ?? throw item.Missing("content"), item.PathOf("content"));
        return new ChatMessage(role switch { "user" => ChatRole.User, "assistant" => ChatRole.Assistant, _ => ChatRole.System }, text);
    }
}
