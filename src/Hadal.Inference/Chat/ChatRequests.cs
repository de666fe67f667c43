using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Hadal.Checkpoints.Chat;
using Hadal.Inference.Constraints;
using Hadal.Inference.Generation;
using Hadal.Inference.Sampling;
using Microsoft.Extensions.AI;
using AIChatMessage = Microsoft.Extensions.AI.ChatMessage;
using AIChatOptions = Microsoft.Extensions.AI.ChatOptions;
using AIChatRole = Microsoft.Extensions.AI.ChatRole;
using ChatMessage = Hadal.Checkpoints.Chat.ChatMessage;
using ChatOptions = Hadal.Checkpoints.Chat.ChatOptions;
using ChatRole = Hadal.Checkpoints.Chat.ChatRole;

namespace Hadal.Inference.Chat;

/// <summary>What Microsoft.Extensions.AI says, in the words of this project.</summary>
/// <remarks>
/// <see cref="AIChatOptions.AdditionalProperties"/> may have <c>min_p</c>, <c>repetition_penalty</c> (numbers), <c>priority</c> (an integer),
/// <c>side_request</c> (a boolean) and <c>time_limit</c> (a <see cref="TimeSpan"/>). Thinking, where the template has the choice, is asked for by
/// <see cref="AIChatOptions.Reasoning"/> with an effort other than none.
/// </remarks>
internal static class ChatRequests
{
    // A model reads 北京 better than its escapes; the prompt is no HTML.
    private static readonly JsonSerializerOptions Unescaped = new(JsonSerializerOptions.Default) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Messages, the instructions first.</summary>
    /// <exception cref="ArgumentException">A message has a role or content that no template can write.</exception>
    public static List<ChatMessage> Conversation(IEnumerable<AIChatMessage> messages, AIChatOptions? options)
    {
        var conversation = new List<ChatMessage>();
        if (!string.IsNullOrEmpty(options?.Instructions))
            conversation.Add(new ChatMessage(ChatRole.System, options.Instructions));
        foreach (var message in messages)
        {
            if (message.Role == AIChatRole.Tool)
                conversation.AddRange(Results(message));
            else
                conversation.Add(Message(message));
        }

        return conversation;
    }

    /// <summary>How the conversation is rendered.</summary>
    public static ChatOptions Rendering(AIChatOptions? options) => new()
    {
        Thinking = options?.Reasoning?.Effort is not (null or ReasoningEffort.None),
        Tools = options?.ToolMode is NoneChatToolMode
            ? []
            : [.. (options?.Tools ?? []).OfType<AIFunctionDeclaration>().Select(f => new ChatTool(f.Name, f.Description, f.JsonSchema.GetRawText()))],
    };

    /// <summary>The request of a prompt.</summary>
    public static GenerationRequest Generation(AIChatOptions? options, int[] prompt, int contextTokens, int? eosId)
    {
        var more = options?.AdditionalProperties;
        return new GenerationRequest
        {
            Prompt = prompt,

            // An answer may fill the context; only a prompt that leaves it no room is an error.
            MaxNewTokens = options?.MaxOutputTokens is { } most ? Math.Min(most, Math.Max(1, contextTokens - prompt.Length)) : null,
            StopStrings = [.. options?.StopSequences ?? []],
            StopTokens = eosId is { } eos ? [eos] : [],
            Priority = more is not null && more.TryGetValue("priority", out int priority) ? priority : 0,
            IsSideRequest = more is not null && more.TryGetValue("side_request", out bool side) && side,
            TimeLimit = more is not null && more.TryGetValue("time_limit", out TimeSpan limit) ? limit : null,
            Sampling = new SamplingOptions
            {
                Temperature = Exact(options?.Temperature) ?? 1,
                TopP = Exact(options?.TopP) ?? 1,
                TopK = options?.TopK ?? 0,
                MinP = more is not null && more.TryGetValue("min_p", out double minP) ? minP : 0,
                RepetitionPenalty = more is not null && more.TryGetValue("repetition_penalty", out double repetition) ? repetition : 1,
                FrequencyPenalty = Exact(options?.FrequencyPenalty) ?? 0,
                PresencePenalty = Exact(options?.PresencePenalty) ?? 0,
                Seed = options?.Seed is { } seed ? unchecked((int)(seed ^ (seed >> 32))) : null,
            },
        };
    }

    /// <summary>What the answer may look like; null for anything.</summary>
    /// <exception cref="ConstraintException">The schema of the response format cannot be enforced.</exception>
    public static TokenConstraint? Form(AIChatOptions? options, ToolCallForm callForm, bool thinks, Func<TokenTable> tokens)
    {
        var json = options?.ResponseFormat is ChatResponseFormatJson format ? new JsonForm(format.Schema) : null;
        var required = options?.ToolMode as RequiredChatToolMode;
        var tools = options?.ToolMode is NoneChatToolMode || callForm == ToolCallForm.None ? []
            : (options?.Tools ?? []).OfType<AIFunctionDeclaration>().Where(f => required?.RequiredFunctionName is not { } name || f.Name == name)
                .Select(f => new CallableTool(f.Name, f.JsonSchema, Strict: false)).ToList();
        return tools.Count > 0
            ? AnswerForms.ToolCalls(tokens(), tools, callForm, required is not null, options?.AllowMultipleToolCalls != false && required?.RequiredFunctionName is null, thinks, required is null ? json : null)
            : json is null ? null : AnswerForms.Json(tokens(), json.Schema, thinks);
    }

    /// <summary>A call as Microsoft.Extensions.AI has it; where the arguments are no JSON object, it carries the exception.</summary>
    public static FunctionCallContent FunctionCall(ChatToolCall call, string id) => FunctionCallContent.CreateFromParsedArguments(
        call.Arguments, id, call.Name, static text =>
        {
            var arguments = new Dictionary<string, object?>(StringComparer.Ordinal);
            using var document = JsonDocument.Parse(text);
            foreach (var property in document.RootElement.EnumerateObject())
                arguments[property.Name] = property.Value.Clone();
            return arguments;
        });

    // A float of 0.6 means 0.6, not 0.60000002384.
    private static double? Exact(float? value) => value is { } v ? double.Parse(v.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture) : null;

    private static ChatMessage Message(AIChatMessage message)
    {
        var role = message.Role == AIChatRole.System ? ChatRole.System
            : message.Role == AIChatRole.User ? ChatRole.User
            : message.Role == AIChatRole.Assistant ? ChatRole.Assistant
            : throw new ArgumentException($"a message of role {message.Role}: expected system, user, assistant or tool", nameof(message));
        var text = new List<string>();
        var reasoning = new List<string>();
        var calls = new List<ChatToolCall>();
        foreach (var content in message.Contents)
        {
            switch (content)
            {
                case TextReasoningContent { Text: var thought }:
                    reasoning.Add(thought);
                    break;
                case TextContent { Text: var said }:
                    text.Add(said);
                    break;
                case FunctionCallContent call:
                    calls.Add(new ChatToolCall(call.Name, JsonSerializer.Serialize(call.Arguments ?? new Dictionary<string, object?>(), Unescaped), call.CallId));
                    break;
                case UsageContent:
                    break;
                default:
                    throw new ArgumentException($"a message with {content.GetType().Name}: expected text, reasoning or tool calls", nameof(message));
            }
        }

        return new ChatMessage(role, text.Count == 0 && calls.Count > 0 ? null : string.Concat(text))
        {
            ToolCalls = calls, ReasoningContent = reasoning.Count == 0 ? null : string.Concat(reasoning),
        };
    }

    private static IEnumerable<ChatMessage> Results(AIChatMessage message)
    {
        foreach (var content in message.Contents)
        {
            yield return content switch
            {
                FunctionResultContent result => new ChatMessage(ChatRole.Tool, Result(result)) { ToolCallId = result.CallId },
                TextContent text => new ChatMessage(ChatRole.Tool, text.Text),
                _ => throw new ArgumentException($"a tool's message with {content.GetType().Name}: expected a function's result", nameof(message)),
            };
        }
    }

    private static string Result(FunctionResultContent result) => result switch
    {
        { Exception: { } error, Result: null } => $"error: {error.Message}",
        { Result: string text } => text,
        { Result: JsonElement { ValueKind: JsonValueKind.String } json } => json.GetString()!,
        { Result: null } => string.Empty,
        _ => JsonSerializer.Serialize(result.Result, Unescaped),
    };
}
