namespace Hadal.Checkpoints.Chat;

/// <summary>Where the templates of V2.5, V3 and R1 differ.</summary>
internal sealed record TaggedFeatures
{
    /// <summary>System messages are joined by blank lines; without, the last one counts.</summary>
    public bool JoinsSystem { get; init; }

    /// <summary>An assistant's content before its calls is written, and the calls are closed; without, content hides calls and one call is never closed.</summary>
    public bool ClosesCalls { get; init; }

    /// <summary>An answer loses all up to its last <c>&lt;/think&gt;</c>.</summary>
    public bool StripsReasoning { get; init; }

    /// <summary>The generation prompt opens <c>&lt;think&gt;\n</c>.</summary>
    public bool OpensThinking { get; init; }

    /// <summary>A newline stands between two tool outputs.</summary>
    public bool BreaksOutputs { get; init; }
}

/// <summary>
/// V2.5, V3, R1 and R1's distillations: <c>&lt;｜User｜&gt;…&lt;｜Assistant｜&gt;…&lt;eos&gt;</c>, with tool calls as Markdown JSON. Source:
/// <c>chat_template</c> of deepseek-ai/DeepSeek-V2.5, DeepSeek-V3 (December 2024) and DeepSeek-R1 (both versions). Quirks of theirs, kept
/// because a model expects its own prompts: the state "a call was written" is never reset, so that later calls go on where the first ones
/// stopped; in V2.5 and V3 the end of calls is written after every call but the first.
/// </summary>
internal sealed class TaggedChatTemplate(string name, TaggedFeatures features) : ChatTemplate(name)
{
    /// <summary>What sets it apart.</summary>
    public TaggedFeatures Features => features;

    /// <inheritdoc/>
    private protected override void Write(IReadOnlyList<ChatMessage> messages, ChatOptions options, PromptParts prompt)
    {
        var (called, inOutputs, outputsBegun) = (false, false, false);
        prompt.Token(Bos).Text(SystemPrompt(messages, features.JoinsSystem));
        WriteTools(options.Tools, asMarkdown: true, prompt);
        foreach (var message in messages)
        {
            switch (message.Role)
            {
                case ChatRole.User:
                    inOutputs = false;
                    prompt.Token(User).Text(message.Content);
                    break;
                case ChatRole.Assistant when features.ClosesCalls ? message.ToolCalls.Count > 0 : message.Content is null:
                    inOutputs = false;
                    WriteCalls(message, prompt, ref called);
                    break;
                case ChatRole.Assistant when inOutputs:
                    inOutputs = false;
                    prompt.Token(OutputsEnd).Text(message.Content).Token(Eos);
                    break;
                case ChatRole.Assistant:
                    prompt.Token(Assistant).Text(features.StripsReasoning && !message.Prefix ? AfterThinking(message.Content) : message.Content).Token(Eos);
                    break;
                case ChatRole.Tool:
                    inOutputs = true;
                    if (!outputsBegun)
                        prompt.Token(OutputsBegin);
                    else if (features.BreaksOutputs)
                        prompt.Text("\n");
                    outputsBegun = true;
                    prompt.Token(OutputBegin).Text(message.Content).Token(OutputEnd);
                    break;
                default:
                    break;
            }
        }

        if (inOutputs)
            prompt.Token(OutputsEnd);
        else if (options.AddGenerationPrompt)
        {
            prompt.Token(Assistant);
            if (features.OpensThinking)
                prompt.Token(Think).Text("\n");
        }
    }

    private void WriteCalls(ChatMessage message, PromptParts prompt, ref bool called)
    {
        foreach (var call in message.ToolCalls)
        {
            var isFirst = !called;
            if (isFirst)
                prompt.Token(Assistant).Text(message.Content).Token(CallsBegin);
            else
                prompt.Text("\n");
            WriteCall(call, prompt);
            if (!isFirst && !features.ClosesCalls)
                prompt.Token(CallsEnd, Eos);
            called = true;
        }

        if (features.ClosesCalls)
            prompt.Token(CallsEnd, Eos);
    }

    /// <summary>One call: its type, its name, its arguments as a Markdown block of JSON.</summary>
    internal static void WriteCall(ChatToolCall call, PromptParts prompt) =>
        prompt.Token(CallBegin).Text("function").Token(Separator).Text($"{call.Name}\n```json\n{call.Arguments}\n```").Token(CallEnd);

    /// <summary>What follows the last <c>&lt;/think&gt;</c>, or all.</summary>
    internal static string? AfterThinking(string? content)
    {
        var end = content?.LastIndexOf(EndThink, StringComparison.Ordinal) ?? -1;
        return end < 0 ? content : content![(end + EndThink.Length)..];
    }
}
