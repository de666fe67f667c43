namespace Hadal.Checkpoints.Chat;

/// <summary>
/// V3-0324 and R1-0528: as V3, but a user's message already ends with <c>&lt;｜Assistant｜&gt;</c>, calls are closed, and every round of tools
/// begins anew. Source: <c>chat_template</c> of deepseek-ai/DeepSeek-V3-0324 and DeepSeek-R1-0528.
/// </summary>
/// <param name="name">The template's name.</param>
/// <param name="stripsReasoning">Whether an answer loses all up to its last <c>&lt;/think&gt;</c> (R1-0528).</param>
internal sealed class TurnChatTemplate(string name, bool stripsReasoning) : ChatTemplate(name)
{
    /// <inheritdoc/>
    private protected override void Write(IReadOnlyList<ChatMessage> messages, ChatOptions options, PromptParts prompt)
    {
        var (afterUser, inOutputs, outputsBegun) = (false, false, false);
        prompt.Token(Bos).Text(SystemPrompt(messages, joined: true));
        WriteTools(options.Tools, asMarkdown: true, prompt);
        foreach (var message in messages)
        {
            var content = stripsReasoning && message.Role == ChatRole.Assistant && !message.Prefix ? TaggedChatTemplate.AfterThinking(message.Content) : message.Content;
            switch (message.Role)
            {
                case ChatRole.User:
                    (inOutputs, afterUser) = (false, true);
                    prompt.Token(User).Text(content).Token(Assistant);
                    break;
                case ChatRole.Assistant when message.ToolCalls.Count > 0:
                    if (inOutputs)
                        prompt.Token(OutputsEnd);
                    (afterUser, inOutputs, outputsBegun) = (false, false, false);
                    WriteCalls(message.ToolCalls, content, prompt);
                    break;
                case ChatRole.Assistant:
                    if (inOutputs)
                        prompt.Token(OutputsEnd);
                    (afterUser, inOutputs) = (false, false);
                    prompt.Text(content).Token(Eos);
                    break;
                case ChatRole.Tool:
                    (afterUser, inOutputs) = (false, true);
                    if (outputsBegun)
                        prompt.Text("\n");
                    else
                        prompt.Token(OutputsBegin);
                    outputsBegun = true;
                    prompt.Token(OutputBegin).Text(content).Token(OutputEnd);
                    break;
                default:
                    break;
            }
        }

        if (inOutputs)
            prompt.Token(OutputsEnd);
        else if (options.AddGenerationPrompt && !afterUser)
            prompt.Token(Assistant);
    }

    private static void WriteCalls(IReadOnlyList<ChatToolCall> calls, string? content, PromptParts prompt)
    {
        prompt.Text(content).Token(CallsBegin);
        for (var i = 0; i < calls.Count; i++)
        {
            if (i > 0)
                prompt.Text("\n");
            TaggedChatTemplate.WriteCall(calls[i], prompt);
        }

        prompt.Token(CallsEnd, Eos);
    }
}
