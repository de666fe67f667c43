namespace Hadal.Checkpoints.Chat;

/// <summary>Who says a <see cref="ChatMessage"/>.</summary>
public enum ChatRole
{
    /// <summary>Instructions to the model.</summary>
    System,

    /// <summary>The person.</summary>
    User,

    /// <summary>The model.</summary>
    Assistant,

    /// <summary>The result of a tool call.</summary>
    Tool,
}

/// <summary>One call of a function, as the model asked for it.</summary>
/// <param name="Name">The function.</param>
/// <param name="Arguments">Its arguments, a JSON object as text; written into the prompt as it stands.</param>
/// <param name="Id">What the answer refers to. No DeepSeek template writes it.</param>
public sealed record ChatToolCall(string Name, string Arguments, string? Id = null);

/// <summary>A function that a model may call.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Description">What it does, for the model to read.</param>
/// <param name="Parameters">JSON Schema of its arguments; written into the prompt as it stands.</param>
public sealed record ChatTool(string Name, string Description, string Parameters);

/// <summary>One message of a conversation, in the terms of OpenAI's and DeepSeek's chat API.</summary>
/// <param name="Role">Who says it.</param>
/// <param name="Content">What is said; null where an assistant only calls tools.</param>
public sealed record ChatMessage(ChatRole Role, string? Content)
{
    /// <summary>The calls an assistant makes.</summary>
    public IReadOnlyList<ChatToolCall> ToolCalls { get; init; } = [];

    /// <summary>
    /// What an assistant thought before it answered. No DeepSeek template writes it: the models are trained on histories without reasoning.
    /// </summary>
    public string? ReasoningContent { get; init; }

    /// <summary>The call that a tool message answers. No DeepSeek template writes it: answers stand in the order of the calls.</summary>
    public string? ToolCallId { get; init; }

    /// <summary>
    /// On the last message, an assistant's: the model goes on with this text (DeepSeek's chat prefix completion; transformers'
    /// <c>continue_final_message</c>). Nothing is written after it.
    /// </summary>
    public bool Prefix { get; init; }
}
