using Hadal.Checkpoints.Chat;
using Hadal.Inference.Constraints;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Server.Models;
using Hadal.Server.Requests;

namespace Hadal.Server.Generation;

/// <summary>What a request for an answer in a conversation asks for, whichever endpoint it came through.</summary>
internal sealed record ChatPlan
{
    // What Open WebUI's requests for titles, tags, follow-up questions and search queries begin with.
    private const string SideTask = "### Task:";

    /// <summary>How tokens are chosen.</summary>
    public required SamplingRequest Sampling { get; init; }

    /// <summary>The conversation.</summary>
    public required IReadOnlyList<ChatMessage> Messages { get; init; }

    /// <summary>Functions that may be called.</summary>
    public IReadOnlyList<ToolDefinition> Tools { get; init; } = [];

    /// <summary>Whether and which is to be called.</summary>
    public ToolChoice ToolChoice { get; init; } = new();

    /// <summary>Whether there may be several calls.</summary>
    public bool ParallelToolCalls { get; init; } = true;

    /// <summary>The form of the answer.</summary>
    public ResponseFormat Format { get; init; } = new();

    /// <summary>Whether the model thinks first, where it has the choice.</summary>
    public bool Thinking { get; init; }

    /// <summary>Whether control tokens spelled in messages become such tokens.</summary>
    public bool ParseSpecial { get; init; }

    /// <summary>Most tokens of an answer; null for as many as fit.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>Alternatives to report with each token; null for no probabilities.</summary>
    public int? TopLogprobs { get; init; }

    /// <summary>The plan of a chat completion.</summary>
    public static ChatPlan Of(ChatCompletionRequest request) => new()
    {
        Sampling = request,
        Messages = request.Messages,
        Tools = request.ToolChoice.Mode == "none" ? [] : request.Tools,
        ToolChoice = request.ToolChoice,
        ParallelToolCalls = request.ParallelToolCalls,
        Format = request.ResponseFormat,
        Thinking = request.Thinking,
        ParseSpecial = request.ParseSpecial,
        MaxTokens = request.MaxCompletionTokens ?? request.MaxTokens,
        TopLogprobs = request.Logprobs ? request.TopLogprobs ?? 0 : null,
    };

    /// <summary>Whether this is beside a conversation; see <see cref="GenerationRequest.IsSideRequest"/>.</summary>
    public bool IsSideRequest => Sampling.SideRequest
        ?? (Messages.Where(m => m.Role != ChatRole.System).ToList() is [{ Role: ChatRole.User, Content: { } text }] && text.TrimStart().StartsWith(SideTask, StringComparison.Ordinal));
}

/// <summary>A plan made ready for one model: the prompt is rendered, and everything that can be refused has been.</summary>
internal sealed class ReadyChat
{
    private readonly GenerationRequest request;
    private readonly ChatPlan plan;

    /// <summary>Renders and checks.</summary>
    /// <param name="plan">What is asked for.</param>
    /// <param name="model">Of which model.</param>
    /// <param name="limit">Longest time of a generation.</param>
    /// <exception cref="RequestRejectedException">The template cannot write the conversation, or a schema cannot be enforced.</exception>
    /// <exception cref="ContextOverflowException">The conversation leaves no room for an answer.</exception>
    public ReadyChat(ChatPlan plan, ServedModel model, TimeSpan limit)
    {
        this.plan = plan;
        Model = model;
        TokenIds.CheckBiases(plan.Sampling, model);
        if (plan.Tools.Count > 0 && model.Template.CallForm == ToolCallForm.None)
            throw new RequestRejectedException($"The model '{model.Name}' knows no tools: its prompt format, {model.Template.Name}, has no place for them.", "tools", "unsupported_parameter");
        var messages = WithSchema(plan);
        var rendering = new ChatOptions { Thinking = plan.Thinking, Tools = [.. plan.Tools.Select(t => t.Tool)], ParseSpecialInMessages = plan.ParseSpecial };
        int[] prompt = model.Template.RenderTokens(model.Tokenizer, messages, rendering);
        var end = model.Template.Render(messages, rendering).TrimEnd();
        Thinks = end.EndsWith("<think>", StringComparison.Ordinal);
        request = Requests(plan.Sampling, prompt, plan.MaxTokens, model, limit) with { IsSideRequest = plan.IsSideRequest, Constraint = Form(plan, model, Thinks) };
    }

    /// <summary>The model.</summary>
    public ServedModel Model { get; }

    /// <summary>Whether the prompt ended by opening the thinking.</summary>
    public bool Thinks { get; }

    /// <summary>Whether calls are looked for in the answer; without tools, what looks like one is text.</summary>
    public bool FindsCalls => plan.Tools.Count > 0;

    /// <summary>The request of one of the answers.</summary>
    public GenerationRequest Request(int choice) => request with { Sampling = plan.Sampling.Sampling(choice, plan.TopLogprobs) };

    // A model that does not know the schema would be held to it blindly.
    private static IReadOnlyList<ChatMessage> WithSchema(ChatPlan plan)
    {
        if (plan.Format.Schema is not { } schema)
            return plan.Messages;
        var text = $"## Response Format\n\nReply with JSON that satisfies this JSON Schema:\n{schema.GetRawText()}";
        var at = plan.Messages.ToList().FindLastIndex(m => m.Role == ChatRole.System);
        if (at < 0)
            return [new ChatMessage(ChatRole.System, text), .. plan.Messages];
        return [.. plan.Messages.Select((m, i) => i == at ? m with { Content = $"{m.Content}\n\n{text}" } : m)];
    }

    private static TokenConstraint? Form(ChatPlan plan, ServedModel model, bool thinks)
    {
        var isJson = plan.Format.Type != "text";
        if (plan.Tools.Count == 0 && !isJson)
            return null;
        try
        {
            if (isJson && plan.Tools.Count == 0)
                return AnswerForms.Json(model.Tokens, plan.Format.Schema, thinks);
            var required = plan.ToolChoice.Mode == "required";
            var tools = plan.Tools.Where(t => plan.ToolChoice.Name is null || t.Tool.Name == plan.ToolChoice.Name).Select(t => new CallableTool(t.Tool.Name, t.Parameters, t.Strict));
            return AnswerForms.ToolCalls(
                model.Tokens, [.. tools], model.Template.CallForm, required, plan.ParallelToolCalls && plan.ToolChoice.Name is null, thinks, isJson && !required ? new JsonForm(plan.Format.Schema) : null);
        }
        catch (ConstraintException wrong)
        {
            var path = plan.Format.Schema is null ? "tools" : plan.Format.Path;
            throw new RequestRejectedException($"Invalid schema for '{path}': {wrong.Message}.", path, "invalid_json_schema");
        }
    }

    /// <summary>The request of a prompt, with what all endpoints share.</summary>
    public static GenerationRequest Requests(SamplingRequest sampling, int[] prompt, int? maxTokens, ServedModel model, TimeSpan limit)
    {
        var room = model.Engine.ContextTokens - prompt.Length;
        if (room < 1)
            throw new ContextOverflowException(prompt.Length + 1, model.Engine.ContextTokens);
        return new GenerationRequest
        {
            Prompt = prompt,
            MaxNewTokens = maxTokens is { } most ? Math.Min(most, room) : null,
            StopStrings = sampling.Stop,
            StopTokens = model.Tokenizer.EosId is { } eos ? [eos] : [],
            Priority = sampling.Priority,
            TimeLimit = sampling.Timeout is { } seconds && seconds < limit.TotalSeconds ? TimeSpan.FromSeconds(seconds) : limit,
        };
    }
}
