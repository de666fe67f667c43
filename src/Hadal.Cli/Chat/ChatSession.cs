using System.Text;
using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Hadal.Inference.Sampling;

namespace Hadal.Cli.Chat;

/// <summary>A conversation with a model: its messages so far, and how the next answer is made. The cache is kept from turn to turn.</summary>
internal sealed class ChatSession(Terminal terminal, InferenceEngine engine, Tokenizer tokenizer, ChatTemplate template, bool thinking)
{
    private const string EndOfThinking = "</think>";

    private readonly List<ChatMessage> messages = [];
    private int answers;

    /// <summary>The messages, the system's first where there is one.</summary>
    public IReadOnlyList<ChatMessage> Messages => messages;

    /// <summary>The prompt format.</summary>
    public ChatTemplate Template => template;

    /// <summary>How tokens are chosen. With a seed, each answer takes the next one, so that a session can be repeated and an answer regenerated.</summary>
    public SamplingOptions Sampling { get; set; } = new();

    /// <summary>Most tokens of an answer, or null for as many as fit.</summary>
    public int? MaxNewTokens { get; set; }

    /// <summary>Tokens that conversation and answer may have together.</summary>
    public int ContextTokens => engine.ContextTokens;

    /// <summary>Tokens generated in all answers.</summary>
    public int TotalTokens { get; private set; }

    /// <summary>Time spent generating them, prompts not counted.</summary>
    public TimeSpan TotalTime { get; private set; }

    /// <summary>The system prompt, or null.</summary>
    public string? System
    {
        get => messages is [{ Role: ChatRole.System } system, ..] ? system.Content : null;
        set
        {
            if (messages is [{ Role: ChatRole.System }, ..])
                messages.RemoveAt(0);
            if (!string.IsNullOrEmpty(value))
                messages.Insert(0, new ChatMessage(ChatRole.System, value));
        }
    }

    /// <summary>Tokens of the conversation as it stands.</summary>
    public int UsedTokens => messages.Count == 0 ? 0 : Prompt().Length;

    /// <summary>Adds what the person says.</summary>
    public void Say(string text) => messages.Add(new ChatMessage(ChatRole.User, text));

    /// <summary>Replaces the conversation.</summary>
    public void Load(IEnumerable<ChatMessage> conversation)
    {
        messages.Clear();
        messages.AddRange(conversation);
    }

    /// <summary>Forgets everything but the system prompt.</summary>
    public void Reset() => messages.RemoveAll(m => m.Role != ChatRole.System);

    /// <summary>Takes back the last answer, and with <paramref name="questionToo"/> what it answered.</summary>
    /// <returns>Whether there was one.</returns>
    public bool TakeBack(bool questionToo)
    {
        var last = messages.FindLastIndex(m => m.Role == ChatRole.User);
        if (last < 0 || (!questionToo && last == messages.Count - 1))
            return false;
        messages.RemoveRange(questionToo ? last : last + 1, messages.Count - (questionToo ? last : last + 1));
        return true;
    }

    /// <summary>Generates the answer to the last message, writes it as it comes, and adds it to the conversation, also where it was cut short.</summary>
    /// <exception cref="Inference.Model.ContextOverflowException">The conversation fills the context; nothing is added.</exception>
    public void Answer(CancellationToken cancellation)
    {
        var prompt = Prompt();
        using var progress = new ProgressLine(terminal, "reading");
        var request = new GenerationRequest
        {
            Prompt = prompt,
            MaxNewTokens = MaxNewTokens is { } most ? Math.Max(1, Math.Min(most, ContextTokens - prompt.Length)) : null,
            Sampling = Sampling with { Seed = Sampling.Seed is { } seed ? unchecked(seed + answers) : null },
            StopTokens = tokenizer.EosId is { } end ? [end] : [],
            Progress = progress.Of(prompt.Length),
        };
        answers++;
        var text = new StringBuilder();
        var writer = new StreamingText(terminal);
        var times = new GenerationTimes();
        var ending = string.Empty;
        try
        {
            foreach (var step in times.Measure(engine.Generate(request, cancellation)))
            {
                progress.Dispose();
                text.Append(step.Text);
                writer.Write(step.Text);
                if (step.FinishReason == FinishReason.Length)
                    ending = MaxNewTokens is null || prompt.Length + times.Tokens >= ContextTokens ? "; the context is full" : "; cut off at the limit of new tokens";
            }
        }
        catch (OperationCanceledException)
        {
            ending = "; stopped";
        }

        progress.Dispose();
        writer.EndLine();
        Keep(text.ToString());
        TotalTokens += times.Tokens;
        TotalTime += times.Rest;
        var reused = times.Usage?.CachedTokens ?? 0;
        terminal.Notice($"{times.Summary(prompt.Length)}{(reused > 0 ? $", {reused} reused" : string.Empty)}; {prompt.Length + times.Tokens} of {ContextTokens} tokens{ending}");
    }

    private int[] Prompt() => template.RenderTokens(tokenizer, messages, new ChatOptions { Thinking = thinking });

    // Thoughts are kept apart: the templates leave them out of later prompts.
    private void Keep(string answer)
    {
        var end = answer.IndexOf(EndOfThinking, StringComparison.Ordinal);
        messages.Add(end < 0
            ? new ChatMessage(ChatRole.Assistant, answer)
            : new ChatMessage(ChatRole.Assistant, answer[(end + EndOfThinking.Length)..].TrimStart('\n')) { ReasoningContent = answer[..end].Trim('\n') });
    }
}
