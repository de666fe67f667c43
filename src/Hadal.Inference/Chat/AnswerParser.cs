using System.Text.Json;
using Hadal.Checkpoints.Chat;

namespace Hadal.Inference.Chat;

/// <summary>A piece of an answer.</summary>
public abstract record AnswerPart
{
    private AnswerPart()
    {
    }

    /// <summary>Text for the reader.</summary>
    /// <param name="Value">The next piece of it.</param>
    public sealed record Text(string Value) : AnswerPart;

    /// <summary>Thinking before the answer.</summary>
    /// <param name="Value">The next piece of it.</param>
    public sealed record Reasoning(string Value) : AnswerPart;

    /// <summary>A function the model wants called.</summary>
    /// <param name="Call">The whole call; its arguments are as the model wrote them, which may be no JSON.</param>
    public sealed record ToolCall(ChatToolCall Call) : AnswerPart;

    /// <summary>A call begins, where calls are asked for as they come; its <see cref="ToolCall"/> follows at its end.</summary>
    /// <param name="Name">The function.</param>
    public sealed record ToolCallStart(string Name) : AnswerPart;

    /// <summary>The next piece of the arguments of the call that has begun.</summary>
    /// <param name="Value">A piece of what <see cref="ToolCall"/> will have.</param>
    public sealed record ToolCallArguments(string Value) : AnswerPart;
}

/// <summary>
/// Takes apart what a DeepSeek model writes, as it comes: thinking up to <c>&lt;/think&gt;</c>, the answer, and tool calls in the form of V2.5, V3 and R1
/// (<c>function｜sep｜NAME</c> and a Markdown block of JSON) or of V3.1 (<c>NAME｜sep｜{…}</c>). Text that may be the beginning of a mark is held back.
/// For one answer.
/// </summary>
/// <remarks>Forms of calls: chat templates of deepseek-ai/DeepSeek-R1 and DeepSeek-V3.1.</remarks>
public sealed class AnswerParser
{
    private const string Think = "<think>";
    private const string EndThink = "</think>";
    private const string CallsBegin = "<｜tool▁calls▁begin｜>";
    private const string CallsEnd = "<｜tool▁calls▁end｜>";
    private const string CallBegin = "<｜tool▁call▁begin｜>";
    private const string CallEnd = "<｜tool▁call▁end｜>";
    private const string Separator = "<｜tool▁sep｜>";
    private const string Fence = "```";

    private readonly List<AnswerPart> parts = [];
    private readonly bool findsCalls;
    private readonly bool streamsCalls;
    private string held = string.Empty;
    private State state;

    // Of the call that is coming: whether its start was given, and how many characters of its arguments.
    private bool begun;
    private int given;

    /// <summary>Begins an answer.</summary>
    /// <param name="thinks">Whether the prompt ended by opening the thinking; if not, an answer that begins with <c>&lt;think&gt;</c> opens it itself.</param>
    /// <param name="findsCalls">Whether tool calls are looked for; if not, what looks like one is text.</param>
    /// <param name="streamsCalls">Whether a call is given as it comes, too: start, pieces of its arguments, and then the whole.</param>
    public AnswerParser(bool thinks, bool findsCalls = true, bool streamsCalls = false)
    {
        state = thinks ? State.BeforeReasoning : State.Start;
        this.findsCalls = findsCalls;
        this.streamsCalls = streamsCalls;
    }

    private enum State
    {
        Start,
        BeforeReasoning,
        Reasoning,
        AfterReasoning,
        Answer,
        Calls,
    }

    /// <summary>Whether the model is thinking.</summary>
    public bool IsReasoning => state is State.BeforeReasoning or State.Reasoning;

    /// <summary>Whether a tool call was found.</summary>
    public bool HasToolCalls { get; private set; }

    /// <summary>Takes the next text and gives what is certain; valid until the next call.</summary>
    public IReadOnlyList<AnswerPart> Push(string text)
    {
        parts.Clear();
        held += text;
        while (Advance())
        {
        }

        return parts;
    }

    /// <summary>The end of the answer: gives what was held back. A call that is not complete is text; one whose arguments are complete is a call.</summary>
    public IReadOnlyList<AnswerPart> Finish()
    {
        parts.Clear();
        if (state == State.Calls)
        {
            if (ParseCall(held) is { } call && (begun || IsJson(call.Arguments)))
                Add(call);
            else if (!string.IsNullOrWhiteSpace(held))
                parts.Add(new AnswerPart.Text(held));
        }
        else if (IsReasoning)
        {
            Emit(held.TrimEnd());
        }
        else if (state != State.AfterReasoning)
        {
            Emit(held);
        }

        held = string.Empty;
        return parts;
    }

    private static bool IsJson(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            return document.RootElement.ValueKind == JsonValueKind.Object;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    // Name and arguments of what stands between the marks of a call; null when it has not that form.
    private static ChatToolCall? ParseCall(string body)
    {
        var begin = body.IndexOf(CallBegin, StringComparison.Ordinal);
        if (begin >= 0)
            body = body[(begin + CallBegin.Length)..];
        var at = body.IndexOf(Separator, StringComparison.Ordinal);
        if (at < 0)
            return null;
        var name = body[..at].Trim();
        var arguments = body[(at + Separator.Length)..].Trim();
        if (name == "function")
        {
            var line = arguments.IndexOf('\n', StringComparison.Ordinal);
            name = line < 0 ? arguments : arguments[..line].Trim();
            arguments = line < 0 ? string.Empty : arguments[line..].Trim();
        }

        if (arguments.StartsWith(Fence, StringComparison.Ordinal))
        {
            var start = arguments.IndexOf('\n', StringComparison.Ordinal) + 1;
            var end = arguments.LastIndexOf(Fence, StringComparison.Ordinal);
            arguments = arguments[Math.Max(start, Fence.Length)..(end > start ? end : arguments.Length)].Trim();
        }

        return name.Length == 0 ? null : new ChatToolCall(name, arguments.Length == 0 ? "{}" : arguments);
    }

    // One move; false when more text is needed.
    private bool Advance()
    {
        switch (state)
        {
            case State.Start:
                return Start();
            case State.BeforeReasoning or State.AfterReasoning:
                held = held.TrimStart();
                if (held.Length == 0)
                    return false;
                state = state == State.BeforeReasoning ? State.Reasoning : State.Answer;
                return true;
            case State.Reasoning:
                return Until(EndThink, EndThink.Length, State.AfterReasoning, trimEnd: true);
            case State.Answer:
                return Answer();
            default:
                return Calls();
        }
    }

    private bool Start()
    {
        var text = held.TrimStart();
        if (text.Length < Think.Length && Think.StartsWith(text, StringComparison.Ordinal))
            return false;
        if (text.StartsWith(Think, StringComparison.Ordinal))
        {
            held = text[Think.Length..];
            state = State.BeforeReasoning;
        }
        else
        {
            state = State.Answer;
        }

        return true;
    }

    private bool Answer()
    {
        if (!findsCalls)
        {
            Emit(held);
            held = string.Empty;
            return false;
        }

        // Some models leave the outer mark out.
        var calls = held.IndexOf(CallsBegin, StringComparison.Ordinal);
        var call = held.IndexOf(CallBegin, StringComparison.Ordinal);
        return calls >= 0 && (call < 0 || calls < call) ? Until(CallsBegin, CallsBegin.Length, State.Calls)
            : call >= 0 ? Until(CallBegin, 0, State.Calls)
            : Until(CallsBegin, CallsBegin.Length, State.Calls, other: CallBegin);
    }

    private bool Calls()
    {
        var call = held.IndexOf(CallEnd, StringComparison.Ordinal);
        var all = held.IndexOf(CallsEnd, StringComparison.Ordinal);
        if (call < 0 && all < 0)
        {
            if (streamsCalls)
                GiveCallSoFar();
            return false;
        }

        var (end, length) = call >= 0 && (all < 0 || call < all) ? (call, CallEnd.Length) : (all, CallsEnd.Length);
        var body = held[..end];
        if (ParseCall(body) is { } parsed)
            Add(parsed);
        else if (!string.IsNullOrWhiteSpace(body))
            parts.Add(new AnswerPart.Text(body));
        held = held[(end + length)..];
        if (end == all)
            state = State.AfterReasoning;
        return true;
    }

    // Emits the text before a mark and goes on behind it; without the mark, all but what may be its beginning.
    private bool Until(string mark, int skipped, State next, bool trimEnd = false, string? other = null)
    {
        var at = held.IndexOf(mark, StringComparison.Ordinal);
        if (at < 0 && skipped == 0)
            at = held.IndexOf(other ?? mark, StringComparison.Ordinal);
        if (at >= 0)
        {
            Emit(trimEnd ? held[..at].TrimEnd() : held[..at]);
            held = held[(at + skipped)..];
            state = next;
            return true;
        }

        var keep = Math.Max(Overlap(mark), other is null ? 0 : Overlap(other));
        var certain = held[..^keep];
        if (trimEnd)
            certain = certain.TrimEnd();
        Emit(certain);
        held = held[certain.Length..];
        return false;
    }

    private int Overlap(string mark)
    {
        for (var n = Math.Min(held.Length, mark.Length - 1); n > 0; n--)
        {
            if (held.AsSpan(held.Length - n).SequenceEqual(mark.AsSpan(0, n)))
                return n;
        }

        return 0;
    }

    private void Emit(string text)
    {
        if (text.Length > 0)
            parts.Add(IsReasoning ? new AnswerPart.Reasoning(text) : new AnswerPart.Text(text));
    }

    // Holds back what may be the end of the call: its marks, the end of its Markdown block and the white space around them.
    private void GiveCallSoFar()
    {
        var body = held[..^Math.Max(Overlap(CallEnd), Overlap(CallsEnd))].TrimEnd(' ', '\n', '\r', '\t', '`');
        var separator = body.IndexOf(Separator, StringComparison.Ordinal);
        if (separator < 0 || ParseCall(body) is not { } call)
            return;
        var behind = body[(separator + Separator.Length)..];
        var isMarkdown = body[..separator].Replace(CallBegin, string.Empty, StringComparison.Ordinal).Trim() == "function";

        // The name of the older form ends with its line, the block's first line with its own.
        if (isMarkdown && behind.TrimStart().AsSpan().Count('\n') < 2)
            return;
        if (!isMarkdown && behind.TrimStart().StartsWith('`'))
            return;
        Give(call, behind.AsSpan().Trim().IsEmpty ? string.Empty : call.Arguments);
    }

    private void Give(ChatToolCall call, string arguments)
    {
        if (!begun)
            parts.Add(new AnswerPart.ToolCallStart(call.Name));
        begun = true;
        if (arguments.Length > given)
            parts.Add(new AnswerPart.ToolCallArguments(arguments[given..]));
        given = Math.Max(given, arguments.Length);
    }

    private void Add(ChatToolCall call)
    {
        HasToolCalls = true;
        if (streamsCalls)
            Give(call, call.Arguments);
        (begun, given) = (false, 0);
        parts.Add(new AnswerPart.ToolCall(call));
    }
}
