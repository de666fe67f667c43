namespace Hadal.Checkpoints.Chat;

/// <summary>
/// V3.1 and its Terminus (whose template V3.2-Exp has, too): an answer is opened by <c>&lt;think&gt;</c> or, without thinking, by
/// <c>&lt;/think&gt;</c>; calls are <c>NAME&lt;｜tool▁sep｜&gt;{…}</c>; tool outputs stand without a frame, and the answer follows them at once.
/// Source: <c>chat_template</c> of deepseek-ai/DeepSeek-V3.1 and DeepSeek-V3.1-Terminus.
/// </summary>
/// <param name="name">The template's name.</param>
/// <param name="terminus">Terminus: a conversation of system messages alone is answered, and so is one that ends with an assistant's message.</param>
internal sealed class ThinkingChatTemplate(string name, bool terminus) : ChatTemplate(name)
{
    /// <inheritdoc/>
    public override ToolCallForm CallForm => ToolCallForm.Plain;

    /// <inheritdoc/>
    private protected override void Write(IReadOnlyList<ChatMessage> messages, ChatOptions options, PromptParts prompt)
    {
        var (afterUser, inOutputs) = (false, false);
        var onlySystem = terminus && messages.Any(m => m.Role == ChatRole.System);
        prompt.Token(Bos).Text(SystemPrompt(messages, joined: true));
        WriteTools(options.Tools, asMarkdown: false, prompt);
        foreach (var message in messages)
        {
            switch (message.Role)
            {
                case ChatRole.User:
                    (inOutputs, afterUser) = (false, true);
                    prompt.Token(User).Text(message.Content);
                    break;
                case ChatRole.Assistant when message.ToolCalls.Count > 0:
                    if (afterUser || onlySystem)
                        prompt.Token(Assistant, EndThink);
                    (inOutputs, afterUser) = (false, false);
                    WriteCalls(message, prompt);
                    break;
                case ChatRole.Assistant:
                    if (afterUser)
                        prompt.Token(Assistant, message.Prefix && options.Thinking ? Think : EndThink);
                    prompt.Text(inOutputs || message.Prefix ? message.Content : AfterFirstThinking(message.Content)).Token(Eos);
                    (inOutputs, afterUser) = (false, false);
                    break;
                case ChatRole.Tool:
                    (afterUser, inOutputs) = (false, true);
                    prompt.Token(OutputBegin).Text(message.Content).Token(OutputEnd);
                    break;
                default:
                    break;
            }

            onlySystem &= message.Role == ChatRole.System;
        }

        if (options.AddGenerationPrompt && !inOutputs && (afterUser || terminus))
            prompt.Token(Assistant, options.Thinking ? Think : EndThink);
    }

    private static void WriteCalls(ChatMessage message, PromptParts prompt)
    {
        prompt.Text(message.Content).Token(CallsBegin);
        foreach (var call in message.ToolCalls)
            prompt.Token(CallBegin).Text(call.Name).Token(Separator).Text(call.Arguments).Token(CallEnd);
        prompt.Token(CallsEnd, Eos);
    }

    /// <summary>What follows the first <c>&lt;/think&gt;</c>, or all; R1's templates cut at the last.</summary>
    private static string? AfterFirstThinking(string? content)
    {
        var end = content?.IndexOf(EndThink, StringComparison.Ordinal) ?? -1;
        return end < 0 ? content : content![(end + EndThink.Length)..];
    }
}
