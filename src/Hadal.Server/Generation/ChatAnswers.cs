using System.Text;
using Hadal.Inference.Chat;
using Hadal.Inference.Generation;
using Hadal.Inference.Sampling;
using Hadal.Server.Answers;
using Hadal.Server.Telemetry;

namespace Hadal.Server.Generation;

/// <summary>A step of one of the answers to a conversation.</summary>
/// <param name="Choice">Which answer.</param>
/// <param name="Parts">What is new in it.</param>
/// <param name="Logprobs">The tokens of it that were chosen, where probabilities are asked for.</param>
/// <param name="FinishReason">OpenAI's word, in the last step.</param>
/// <param name="Usage">In the last step.</param>
internal sealed record ChatStep(int Choice, IReadOnlyList<AnswerPart> Parts, IReadOnlyList<TokenInfo> Logprobs, string? FinishReason = null, (GenerationUsage Usage, int Reasoning)? Usage = null);

/// <summary>Runs the answers of a request.</summary>
internal static class ChatAnswers
{
    /// <summary>
    /// Begins every answer at once, so that a full queue is known before anything is sent, and gives their steps as they come.
    /// </summary>
    /// <param name="chat">The conversation.</param>
    /// <param name="count">How many answers.</param>
    /// <param name="tokens">Counts their tokens.</param>
    /// <param name="cancellation">Ends them.</param>
    /// <exception cref="Inference.Engine.QueueFullException">Too many requests are waiting.</exception>
    public static IAsyncEnumerable<ChatStep> Begin(ReadyChat chat, int count, TokenCounts tokens, CancellationToken cancellation) =>
        Streams.Begin(count, (choice, stop) => Read(chat, choice, tokens.Submit(chat.Model.Engine, chat.Request(choice), stop)), cancellation);

    private static async IAsyncEnumerable<ChatStep> Read(ReadyChat chat, int choice, IAsyncEnumerable<GenerationEvent> events)
    {
        var parser = new AnswerParser(chat.Thinks, chat.FindsCalls, streamsCalls: true);
        var thought = 0;
        await foreach (var step in events)
        {
            var wasReasoning = parser.IsReasoning;
            thought += wasReasoning && step.Id is not null ? 1 : 0;
            AnswerPart[] parts = [.. parser.Push(step.Text)];
            TokenInfo[] logprobs = step.Logprob is { } logprob && !wasReasoning ? [TokenInfos.Of(chat.Model.Tokenizer, step.Id!.Value, logprob, step.TopLogprobs)] : [];
            if (step.FinishReason is { } reason)
            {
                parts = [.. parts, .. parser.Finish()];
                yield return new ChatStep(choice, parts, logprobs, Word(reason, parser.HasToolCalls), (step.Usage!, thought));
            }
            else if (parts.Length > 0 || logprobs.Length > 0)
            {
                yield return new ChatStep(choice, parts, logprobs);
            }
        }
    }

    // A time limit is a limit; OpenAI's libraries know no other word for it, and some fail on one they do not know.
    private static string Word(FinishReason reason, bool calls) => reason != FinishReason.Stop ? "length" : calls ? "tool_calls" : "stop";
}

/// <summary>A whole answer, put together from its steps.</summary>
internal sealed class WholeAnswer
{
    private readonly StringBuilder content = new();
    private readonly StringBuilder reasoning = new();

    /// <summary>The calls.</summary>
    public List<ToolCall> Calls { get; } = [];

    /// <summary>Probabilities.</summary>
    public List<TokenInfo> Logprobs { get; } = [];

    /// <summary>The text; null where there are calls only.</summary>
    public string? Content => content.Length == 0 && Calls.Count > 0 ? null : content.ToString();

    /// <summary>The thinking; null where there is none.</summary>
    public string? Reasoning => reasoning.Length == 0 ? null : reasoning.ToString();

    /// <summary>Why it ended.</summary>
    public string FinishReason { get; private set; } = "stop";

    /// <summary>What it took.</summary>
    public (GenerationUsage Usage, int Reasoning) Usage { get; private set; }

    /// <summary>Adds a step.</summary>
    public void Add(ChatStep step)
    {
        Logprobs.AddRange(step.Logprobs);
        foreach (var part in step.Parts)
        {
            if (part is AnswerPart.Text text)
                content.Append(text.Value);
            else if (part is AnswerPart.Reasoning thought)
                reasoning.Append(thought.Value);
            else if (part is AnswerPart.ToolCall { Call: var call })
                Calls.Add(new ToolCall { Id = CallIds.New(), Type = "function", Function = new FunctionCall { Name = call.Name, Arguments = call.Arguments } });
        }

        if (step.FinishReason is { } reason)
            (FinishReason, Usage) = (reason, step.Usage!.Value);
    }

    /// <summary>The answers to one request, in order.</summary>
    public static async Task<WholeAnswer[]> ReadAsync(IAsyncEnumerable<ChatStep> steps, int count)
    {
        var answers = new WholeAnswer[count];
        for (var i = 0; i < count; i++)
            answers[i] = new WholeAnswer();
        await foreach (var step in steps)
            answers[step.Choice].Add(step);
        return answers;
    }
}

/// <summary>Ids of answers and calls.</summary>
internal static class CallIds
{
    /// <summary>A call's id.</summary>
    public static string New() => $"call_{Guid.NewGuid():N}"[..29];
}
