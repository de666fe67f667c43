using System.Text.Json;
using Hadal.Checkpoints.Chat;

namespace Hadal.Server.Requests;

/// <summary>The body of <c>POST /v1/chat/completions</c>.</summary>
internal sealed record ChatCompletionRequest : SamplingRequest
{
    private const int MostMessages = 4096;
    private const int MostLogprobs = 20;

    /// <summary>The conversation. Roles: system, developer, user, assistant, tool.</summary>
    public required IReadOnlyList<ChatMessage> Messages { get; init; }

    /// <summary>Most tokens of the answer; the older name of <see cref="MaxCompletionTokens"/>.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>Most tokens of the answer, thinking included.</summary>
    public int? MaxCompletionTokens { get; init; }

    /// <summary>Whether the probability of each token is given.</summary>
    public bool Logprobs { get; init; }

    /// <summary>How many of the most probable alternatives are given with each token, 0 to 20.</summary>
    public int? TopLogprobs { get; init; }

    /// <summary>The form of the answer: text, json_object or json_schema.</summary>
    public ResponseFormat ResponseFormat { get; init; } = new();

    /// <summary>Functions that the model may call.</summary>
    public IReadOnlyList<ToolDefinition> Tools { get; init; } = [];

    /// <summary>auto, none, required, or a function by name.</summary>
    public ToolChoice ToolChoice { get; init; } = new();

    /// <summary>Whether there may be several calls in one answer.</summary>
    public bool ParallelToolCalls { get; init; } = true;

    /// <summary>Whether the model thinks before it answers, where its template has the choice: from <c>thinking</c> or <c>reasoning_effort</c>.</summary>
    public bool Thinking { get; init; }

    /// <summary>Whether control tokens spelled in messages become such tokens. An extension; off, so that no message can forge another.</summary>
    public bool ParseSpecial { get; init; }

    /// <summary>Reads and checks a request.</summary>
    /// <exception cref="RequestRejectedException">A field is missing, of the wrong type or out of range.</exception>
    public static ChatCompletionRequest Read(RequestFields fields)
    {
        var request = Read(fields, new ChatCompletionRequest
        {
            Model = fields.RequiredText("model", 256),
            Messages = ChatMessages.Read(fields, MostMessages),
            MaxTokens = (int?)fields.Integer("max_tokens", 1, int.MaxValue),
            MaxCompletionTokens = (int?)fields.Integer("max_completion_tokens", 1, int.MaxValue),
            Logprobs = fields.Flag("logprobs") ?? false,
            TopLogprobs = (int?)fields.Integer("top_logprobs", 0, MostLogprobs),
            ResponseFormat = ResponseFormat.Read(fields, "response_format"),
            Tools = ToolDefinition.ReadAll(fields),
            ToolChoice = ToolChoice.Read(fields),
            ParallelToolCalls = fields.Flag("parallel_tool_calls") ?? true,
            Thinking = WantsThinking(fields),
            ParseSpecial = fields.Flag("parse_special") ?? false,
        });
        if (request.TopLogprobs is not null && !request.Logprobs)
            throw new RequestRejectedException("Invalid 'top_logprobs': it needs 'logprobs' to be true.", "top_logprobs", "invalid_value");
        request.ToolChoice.Check(request.Tools);
        return request;
    }

    private static bool WantsThinking(RequestFields fields)
    {
        var type = fields.Object("thinking")?.OneOf("type", "enabled", "disabled", "auto");
        var effort = fields.OneOf("reasoning_effort", "none", "minimal", "low", "medium", "high", "xhigh", "max");
        var more = fields.Object("chat_template_kwargs");
        return type is not null ? type == "enabled"
            : more?.Flag("thinking") ?? more?.Flag("enable_thinking") ?? effort is not (null or "none" or "minimal");
    }
}

/// <summary>The form an answer has to have.</summary>
internal sealed record ResponseFormat
{
    /// <summary><c>text</c>, <c>json_object</c> or <c>json_schema</c>.</summary>
    public string Type { get; init; } = "text";

    /// <summary>The schema, with <c>json_schema</c>.</summary>
    public JsonElement? Schema { get; init; }

    /// <summary>Where the schema stands in the request.</summary>
    public string Path { get; init; } = "response_format";

    /// <summary>Reads it.</summary>
    public static ResponseFormat Read(RequestFields fields, string name)
    {
        if (fields.Object(name) is not { } format)
            return new ResponseFormat();
        var type = format.OneOf("type", "text", "json_object", "json_schema") ?? throw format.Missing("type");
        if (type != "json_schema")
            return new ResponseFormat { Type = type };

        // Chat completions have the schema one level deeper than responses.
        var holder = format.Has("schema") && !format.Has("json_schema") ? format : format.RequiredObject("json_schema");
        _ = holder.Text("name", 64) ?? throw holder.Missing("name");
        return new ResponseFormat { Type = type, Schema = holder.Get("schema") ?? throw holder.Missing("schema"), Path = holder.PathOf("schema") };
    }
}

/// <summary>A function that the model may call.</summary>
/// <param name="Tool">Name, description, and the parameters' schema as text.</param>
/// <param name="Parameters">The schema of its arguments; null where there is none.</param>
/// <param name="Strict">Whether a schema that cannot be enforced is an error.</param>
/// <param name="Path">Where the schema stands in the request.</param>
internal sealed record ToolDefinition(ChatTool Tool, JsonElement? Parameters, bool Strict, string Path)
{
    private const int MostTools = 256;
    private const string NoParameters = """{"type":"object","properties":{}}""";

    /// <summary>Reads the tools: chat's form (<c>function</c> holds name and parameters) or that of responses (they stand in the tool itself).</summary>
    public static IReadOnlyList<ToolDefinition> ReadAll(RequestFields fields)
    {
        var tools = new List<ToolDefinition>();
        foreach (var tool in fields.Objects("tools", MostTools))
        {
            var type = tool.Text("type") ?? "function";
            if (type != "function")
                throw RequestFields.NoSuchValue(tool.PathOf("type"), type, "function");
            var function = tool.Has("function") || !tool.Has("name") ? tool.RequiredObject("function") : tool;
            var name = Name(function);
            if (tools.Exists(t => t.Tool.Name == name))
                throw new RequestRejectedException($"Invalid '{function.PathOf("name")}': '{name}' is there twice.", function.PathOf("name"), "invalid_value");
            var parameters = function.Object("parameters")?.Element;
            tools.Add(new(new ChatTool(name, function.Text("description") ?? "", parameters?.GetRawText() ?? NoParameters), parameters, function.Flag("strict") ?? false, function.PathOf("parameters")));
        }

        return tools;
    }

    private static string Name(RequestFields function)
    {
        var name = function.RequiredText("name", 128);
        return name.Length > 0 && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.') ? name
            : throw new RequestRejectedException($"Invalid '{function.PathOf("name")}': expected letters, digits, '_', '-' and '.'.", function.PathOf("name"), "invalid_value");
    }
}

/// <summary>Whether and which function is to be called.</summary>
internal sealed record ToolChoice
{
    /// <summary><c>auto</c>, <c>none</c> or <c>required</c>; the last with a name is that function.</summary>
    public string Mode { get; init; } = "auto";

    /// <summary>The function to call.</summary>
    public string? Name { get; init; }

    /// <summary>Reads it: a word, or an object of chat's or of responses' form.</summary>
    public static ToolChoice Read(RequestFields fields)
    {
        if (fields.Get("tool_choice") is not { } choice)
            return new ToolChoice();
        if (choice.ValueKind == JsonValueKind.String)
            return new ToolChoice { Mode = fields.OneOf("tool_choice", "auto", "none", "required")! };
        if (choice.ValueKind != JsonValueKind.Object)
            throw RequestFields.WrongType(fields.PathOf("tool_choice"), "a string or an object", choice);
        var named = fields.RequiredObject("tool_choice");
        _ = named.OneOf("type", "function") ?? throw named.Missing("type");
        return new ToolChoice { Mode = "required", Name = named.Text("name") ?? named.RequiredObject("function").RequiredText("name") };
    }

    /// <summary>Refuses what the tools do not allow.</summary>
    public void Check(IReadOnlyList<ToolDefinition> tools)
    {
        if (Mode == "required" && tools.Count == 0)
            throw new RequestRejectedException("Invalid 'tool_choice': it is only allowed when 'tools' are specified.", "tool_choice", "invalid_value");
        if (Name is not null && !tools.Any(t => t.Tool.Name == Name))
            throw new RequestRejectedException($"Invalid 'tool_choice': there is no tool named '{Name}'.", "tool_choice", "invalid_value");
    }
}
