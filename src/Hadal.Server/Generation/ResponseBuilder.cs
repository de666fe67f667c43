using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Inference.Chat;
using Hadal.Server.Answers;
using Hadal.Server.Requests;

namespace Hadal.Server.Generation;

/// <summary>
/// Builds a response of OpenAI's responses API from the steps of an answer: its items, and the events that tell a client how they grow. For one response.
/// </summary>
internal sealed class ResponseBuilder
{
    private readonly ResponsesRequest request;
    private readonly JsonObject response;
    private readonly JsonArray output = [];
    private JsonObject? item;
    private System.Text.StringBuilder text = new();
    private List<TokenInfo> logprobs = [];
    private int sequence;

    /// <summary>Begins a response.</summary>
    public ResponseBuilder(ResponsesRequest request, long created)
    {
        this.request = request;
        response = new JsonObject
        {
            ["id"] = NewId("resp"), ["object"] = "response", ["created_at"] = created, ["status"] = "in_progress", ["error"] = null, ["incomplete_details"] = null,
            ["instructions"] = request.Instructions, ["max_output_tokens"] = request.MaxOutputTokens, ["model"] = request.Model, ["output"] = output,
            ["parallel_tool_calls"] = request.ParallelToolCalls, ["previous_response_id"] = null, ["reasoning"] = new JsonObject { ["effort"] = null, ["summary"] = null },
            ["store"] = false, ["temperature"] = request.Temperature ?? 1, ["top_p"] = request.TopP ?? 1, ["text"] = new JsonObject { ["format"] = Format(request.Format) },
            ["tool_choice"] = request.ToolChoice.Name is { } name ? new JsonObject { ["type"] = "function", ["name"] = name } : request.ToolChoice.Mode,
            ["tools"] = new JsonArray([.. request.Tools.Select(Tool)]), ["truncation"] = "disabled", ["usage"] = null, ["metadata"] = new JsonObject(),
        };
    }

    /// <summary>The response as it stands.</summary>
    public JsonObject Response => (JsonObject)response.DeepClone();

    /// <summary>The events that begin a stream.</summary>
    public IEnumerable<JsonObject> Begin() => [Event("response.created", ("response", Response)), Event("response.in_progress", ("response", Response))];

    /// <summary>Takes a step and gives its events.</summary>
    public IEnumerable<JsonObject> Add(ChatStep step)
    {
        var events = new List<JsonObject>();
        logprobs.AddRange(step.Logprobs);
        foreach (var part in step.Parts)
        {
            switch (part)
            {
                case AnswerPart.Text { Value: var more }:
                    Open("message", events);
                    text.Append(more);
                    events.Add(Event("response.output_text.delta", ("item_id", Id), ("output_index", Index), ("content_index", 0), ("delta", more), ("logprobs", Logprobs(step.Logprobs))));
                    break;
                case AnswerPart.Reasoning { Value: var more }:
                    Open("reasoning", events);
                    text.Append(more);
                    events.Add(Event("response.reasoning_text.delta", ("item_id", Id), ("output_index", Index), ("content_index", 0), ("delta", more)));
                    break;
                case AnswerPart.ToolCallStart { Name: var name }:
                    Close(events);
                    Open("function_call", events, name);
                    break;
                case AnswerPart.ToolCallArguments { Value: var more }:
                    text.Append(more);
                    events.Add(Event("response.function_call_arguments.delta", ("item_id", Id), ("output_index", Index), ("delta", more)));
                    break;
                default:
                    break;
            }
        }

        if (step.FinishReason is { } reason)
            End(reason, Usage.Of([step.Usage!.Value]), events);
        return events;
    }

    private string? Id => (string?)item!["id"];

    private int Index => output.Count;

    private static string NewId(string kind) => $"{kind}_{Guid.NewGuid():N}";

    private static JsonNode Tool(ToolDefinition tool) => new JsonObject
    {
        ["type"] = "function", ["name"] = tool.Tool.Name, ["description"] = tool.Tool.Description, ["parameters"] = JsonNode.Parse(tool.Tool.Parameters), ["strict"] = tool.Strict,
    };

    private static JsonObject Format(ResponseFormat format)
    {
        var node = new JsonObject { ["type"] = format.Type };
        if (format.Schema is { } schema)
            (node["name"], node["schema"], node["strict"]) = ("response", JsonNode.Parse(schema.GetRawText()), true);
        return node;
    }

    private static JsonArray Logprobs(IEnumerable<TokenInfo> tokens) => (JsonArray)JsonSerializer.SerializeToNode(tokens, Wire.Json)!;

    private void Open(string type, List<JsonObject> events, string? name = null)
    {
        if (item is not null && (string?)item["type"] == type && name is null)
            return;
        Close(events);
        item = type switch
        {
            "message" => new JsonObject { ["id"] = NewId("msg"), ["type"] = type, ["status"] = "in_progress", ["role"] = "assistant", ["content"] = new JsonArray() },
            "reasoning" => new JsonObject { ["id"] = NewId("rs"), ["type"] = type, ["status"] = "in_progress", ["summary"] = new JsonArray(), ["content"] = new JsonArray() },
            _ => new JsonObject { ["id"] = NewId("fc"), ["type"] = type, ["status"] = "in_progress", ["call_id"] = CallIds.New(), ["name"] = name, ["arguments"] = "" },
        };
        events.Add(Event("response.output_item.added", ("output_index", Index), ("item", item.DeepClone())));
        if (type == "function_call")
            return;
        events.Add(Event("response.content_part.added", ("item_id", Id), ("output_index", Index), ("content_index", 0), ("part", Part(""))));
    }

    private JsonObject Part(string whole) => (string?)item!["type"] == "reasoning"
        ? new JsonObject { ["type"] = "reasoning_text", ["text"] = whole }
        : new JsonObject { ["type"] = "output_text", ["text"] = whole, ["annotations"] = new JsonArray(), ["logprobs"] = Logprobs(whole.Length > 0 ? logprobs : []) };

    private void Close(List<JsonObject> events, string status = "completed")
    {
        if (item is null)
            return;
        var whole = text.ToString();
        if ((string?)item["type"] == "function_call")
        {
            item["arguments"] = whole;
            events.Add(Event("response.function_call_arguments.done", ("item_id", Id), ("output_index", Index), ("name", (string?)item["name"]), ("arguments", whole)));
        }
        else
        {
            var part = Part(whole);
            ((JsonArray)item["content"]!).Add((JsonNode)part);
            var isText = (string?)item["type"] == "message";
            events.Add(isText
                ? Event("response.output_text.done", ("item_id", Id), ("output_index", Index), ("content_index", 0), ("text", whole), ("logprobs", part["logprobs"]!.DeepClone()))
                : Event("response.reasoning_text.done", ("item_id", Id), ("output_index", Index), ("content_index", 0), ("text", whole)));
            events.Add(Event("response.content_part.done", ("item_id", Id), ("output_index", Index), ("content_index", 0), ("part", part.DeepClone())));
        }

        item["status"] = status;
        events.Add(Event("response.output_item.done", ("output_index", Index), ("item", item.DeepClone())));
        output.Add((JsonNode)item);
        (item, text, logprobs) = (null, new(), []);
    }

    private void End(string reason, Usage usage, List<JsonObject> events)
    {
        var isCut = reason == "length";
        Close(events, isCut ? "incomplete" : "completed");
        response["status"] = isCut ? "incomplete" : "completed";
        if (isCut)
            response["incomplete_details"] = new JsonObject { ["reason"] = "max_output_tokens" };
        response["usage"] = new JsonObject
        {
            ["input_tokens"] = usage.PromptTokens, ["input_tokens_details"] = new JsonObject { ["cached_tokens"] = usage.PromptCacheHitTokens },
            ["output_tokens"] = usage.CompletionTokens, ["output_tokens_details"] = new JsonObject { ["reasoning_tokens"] = usage.CompletionTokensDetails.ReasoningTokens },
            ["total_tokens"] = usage.TotalTokens,
        };
        events.Add(Event(isCut ? "response.incomplete" : "response.completed", ("response", Response)));
    }

    private JsonObject Event(string type, params ReadOnlySpan<(string Name, JsonNode? Value)> fields)
    {
        var node = new JsonObject { ["type"] = type, ["sequence_number"] = sequence++ };
        foreach (var (name, value) in fields)
            node[name] = value;
        return node;
    }
}
