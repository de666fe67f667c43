using System.Runtime.CompilerServices;
using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Constraints;
using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Microsoft.Extensions.AI;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;
using ChatOptions = Microsoft.Extensions.AI.ChatOptions;
using ChatRole = Microsoft.Extensions.AI.ChatRole;

namespace Hadal.Inference.Chat;

/// <summary>
/// An <see cref="IChatClient"/> on an <see cref="InferenceEngine"/>: streaming, thinking as <see cref="TextReasoningContent"/>, tool calls as
/// <see cref="FunctionCallContent"/>, usage with cached tokens, cancellation between two steps. Safe for use from several threads; clients of one engine
/// share weights, cache and batch.
/// </summary>
/// <remarks>
/// What <see cref="ChatOptions"/> says is mapped by <see cref="ChatRequests"/>. Answers are held to <see cref="ChatOptions.ResponseFormat"/> and to the tools'
/// schemas, a token at a time; a response format's schema that cannot be enforced is an error. <see cref="ChatOptions.ModelId"/> has no influence. Disposing
/// the client leaves the engine alone.
/// </remarks>
public sealed class HadalChatClient : IChatClient
{
    private readonly InferenceEngine engine;
    private readonly Tokenizer tokenizer;
    private readonly ChatTemplate template;
    private readonly TimeProvider time;
    private readonly ChatClientMetadata metadata;
    private readonly Lazy<TokenTable> tokens;

    /// <summary>A client.</summary>
    /// <param name="engine">What generates; with the same tokenizer.</param>
    /// <param name="tokenizer">Text to ids.</param>
    /// <param name="template">The prompt format.</param>
    /// <param name="modelId">The model's name in responses.</param>
    /// <param name="time">Clock of <see cref="ChatResponseUpdate.CreatedAt"/>; null for the system's.</param>
    public HadalChatClient(InferenceEngine engine, Tokenizer tokenizer, ChatTemplate template, string? modelId = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(template);
        this.engine = engine;
        this.tokenizer = tokenizer;
        this.template = template;
        this.time = time ?? TimeProvider.System;
        tokens = new Lazy<TokenTable>(() => new TokenTable(tokenizer));
        metadata = new ChatClientMetadata("hadal", defaultModelId: modelId);
    }

    /// <inheritdoc/>
    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    /// <remarks>The request is made when the first update is asked for; that throws what is wrong with it.</remarks>
    /// <exception cref="ArgumentException">A message has content that is no text, or an option is outside its range.</exception>
    /// <exception cref="ConstraintException">The schema of the response format cannot be enforced.</exception>
    /// <exception cref="QueueFullException">Too many requests are waiting.</exception>
    /// <exception cref="Model.ContextOverflowException">The conversation does not fit the context.</exception>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var conversation = ChatRequests.Conversation(messages, options);
        var rendering = ChatRequests.Rendering(options);
        var prompt = template.RenderTokens(tokenizer, conversation, rendering);
        var thinks = template.Render(conversation, rendering).TrimEnd().EndsWith("<think>", StringComparison.Ordinal);
        var parser = new AnswerParser(thinks);
        var request = ChatRequests.Generation(options, prompt, engine.ContextTokens, tokenizer.EosId) with
        {
            Constraint = ChatRequests.Form(options, template.CallForm, thinks, () => tokens.Value),
        };
        var id = Guid.NewGuid().ToString("N");
        var created = time.GetUtcNow();
        var reasoningTokens = 0;
        await foreach (var step in engine.Submit(request, cancellationToken))
        {
            reasoningTokens += parser.IsReasoning && step.Id is not null ? 1 : 0;
            List<AIContent> contents = [.. parser.Push(step.Text).Select(Content)];
            if (step.FinishReason is not null)
            {
                contents.AddRange(parser.Finish().Select(Content));
                contents.Add(Usage(step.Usage!, reasoningTokens));
            }
            else if (contents.Count == 0)
            {
                continue;
            }

            yield return new ChatResponseUpdate(ChatRole.Assistant, contents)
            {
                ResponseId = id,
                MessageId = id,
                ModelId = metadata.DefaultModelId,
                CreatedAt = created,
                FinishReason = step.FinishReason is { } reason ? Reason(reason, parser.HasToolCalls) : null,
                RawRepresentation = step,
            };
        }
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? metadata
            : serviceType == typeof(InferenceEngine) ? engine
            : serviceType.IsInstanceOfType(this) ? this
            : null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // The engine belongs to whoever made it, and other clients may be on it.
    }

    private static AIContent Content(AnswerPart part) => part switch
    {
        AnswerPart.Text text => new TextContent(text.Value),
        AnswerPart.Reasoning reasoning => new TextReasoningContent(reasoning.Value),
        AnswerPart.ToolCall { Call: var call } => ChatRequests.FunctionCall(call, $"call_{Guid.NewGuid():N}"),
        _ => throw new ArgumentException($"{part.GetType().Name} is no part of an answer", nameof(part)),
    };

    private static UsageContent Usage(GenerationUsage usage, int reasoningTokens) => new(new UsageDetails
    {
        InputTokenCount = usage.PromptTokens,
        CachedInputTokenCount = usage.CachedTokens,
        OutputTokenCount = usage.GeneratedTokens,
        ReasoningTokenCount = reasoningTokens,
        TotalTokenCount = usage.PromptTokens + usage.GeneratedTokens,
        AdditionalCounts = usage.DraftedTokens == 0 ? null : new() { ["drafted_tokens"] = usage.DraftedTokens, ["accepted_tokens"] = usage.AcceptedTokens },
    });

    private static ChatFinishReason Reason(FinishReason reason, bool calls) => reason switch
    {
        FinishReason.Length => ChatFinishReason.Length,
        FinishReason.TimeLimit => new ChatFinishReason("time_limit"),
        _ => calls ? ChatFinishReason.ToolCalls : ChatFinishReason.Stop,
    };
}
