using System.Text.Json.Serialization;

namespace Hadal.Server.Answers;

/// <summary>The answer of <c>POST /v1/chat/completions</c>, whole.</summary>
internal sealed record ChatCompletion(string Id, long Created, string Model, IReadOnlyList<ChatChoice> Choices, Usage Usage)
{
    /// <summary>Always <c>chat.completion</c>.</summary>
    public string Object => "chat.completion";

    /// <summary>Says that the same seed gives the same text as long as this is the same.</summary>
    public string? SystemFingerprint { get; init; }
}

/// <summary>One of the answers.</summary>
internal sealed record ChatChoice(int Index, AssistantMessage Message, string FinishReason)
{
    /// <summary>Probabilities, where asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public ChoiceLogprobs? Logprobs { get; init; }
}

/// <summary>What the model says.</summary>
internal sealed record AssistantMessage
{
    /// <summary>Always <c>assistant</c>.</summary>
    public string Role => "assistant";

    /// <summary>The answer; null where there are calls only.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? Content { get; init; }

    /// <summary>Always null; some clients look for it.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? Refusal => null;

    /// <summary>Thinking before the answer, in DeepSeek's field.</summary>
    public string? ReasoningContent { get; init; }

    /// <summary>Calls of functions.</summary>
    public IReadOnlyList<ToolCall>? ToolCalls { get; init; }
}

/// <summary>A call of a function, or a piece of one.</summary>
internal sealed record ToolCall
{
    /// <summary>Its place among the calls; in streams every piece has it, and whole answers go without.</summary>
    public int? Index { get; init; }

    /// <summary>What the result refers to.</summary>
    public string? Id { get; init; }

    /// <summary>Always <c>function</c>; in streams the first piece has it.</summary>
    public string? Type { get; init; }

    /// <summary>The function.</summary>
    public required FunctionCall Function { get; init; }
}

/// <summary>Name and arguments of a call.</summary>
internal sealed record FunctionCall
{
    /// <summary>The function's name; in streams the first piece has it.</summary>
    public string? Name { get; init; }

    /// <summary>JSON text, or the next piece of it.</summary>
    public required string Arguments { get; init; }
}

/// <summary>A chunk of a stream.</summary>
internal sealed record ChatChunk(string Id, long Created, string Model, IReadOnlyList<ChunkChoice> Choices)
{
    /// <summary>Always <c>chat.completion.chunk</c>.</summary>
    public string Object => "chat.completion.chunk";

    /// <summary>As in <see cref="ChatCompletion"/>.</summary>
    public string? SystemFingerprint { get; init; }

    /// <summary>In the last chunk, where asked for.</summary>
    public Usage? Usage { get; init; }
}

/// <summary>What a chunk adds to one of the answers.</summary>
internal sealed record ChunkChoice(int Index, Delta Delta)
{
    /// <summary>Probabilities, where asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public ChoiceLogprobs? Logprobs { get; init; }

    /// <summary>In the answer's last chunk.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? FinishReason { get; init; }
}

/// <summary>The addition.</summary>
internal sealed record Delta
{
    /// <summary>In the first chunk.</summary>
    public string? Role { get; init; }

    /// <summary>The next piece of the answer.</summary>
    public string? Content { get; init; }

    /// <summary>The next piece of the thinking.</summary>
    public string? ReasoningContent { get; init; }

    /// <summary>Pieces of calls.</summary>
    public IReadOnlyList<ToolCall>? ToolCalls { get; init; }
}

/// <summary>Probabilities of the tokens of an answer.</summary>
internal sealed record ChoiceLogprobs(IReadOnlyList<TokenInfo> Content)
{
    /// <summary>Always null; OpenAI's field for refusals.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public IReadOnlyList<TokenInfo>? Refusal => null;
}

/// <summary>A token with its probability.</summary>
/// <param name="Token">Its text; where it is part of a character, with U+FFFD.</param>
/// <param name="Logprob">ln p.</param>
/// <param name="Bytes">Its bytes.</param>
internal sealed record TokenInfo(string Token, double Logprob, IReadOnlyList<int> Bytes)
{
    /// <summary>The most probable alternatives; null inside such a list.</summary>
    public IReadOnlyList<TokenInfo>? TopLogprobs { get; init; }
}
