namespace Hadal.Checkpoints.Chat;

/// <summary>
/// DeepSeek LLM chat, MoE chat, V2, V2-Lite and Coder-V2, whose templates are one: <c>User: …\n\nAssistant: …&lt;eos&gt;</c>. Source:
/// <c>chat_template</c> of deepseek-ai/deepseek-llm-7b-chat, DeepSeek-V2-Chat and DeepSeek-Coder-V2-Instruct; README of DeepSeek-Coder-V2.
/// They know no tools: a tool's message is left out, and so are calls.
/// </summary>
internal sealed class PlainChatTemplate() : ChatTemplate("deepseek-llm")
{
    /// <inheritdoc/>
    public override ToolCallForm CallForm => ToolCallForm.None;

    /// <inheritdoc/>
    private protected override void Write(IReadOnlyList<ChatMessage> messages, ChatOptions options, PromptParts prompt)
    {
        prompt.Token(Bos);
        foreach (var message in messages)
        {
            switch (message.Role)
            {
                case ChatRole.User:
                    prompt.Text("User: ").Text(message.Content).Text("\n\n");
                    break;
                case ChatRole.Assistant:
                    prompt.Text("Assistant: ").Text(message.Content).Token(Eos);
                    break;
                case ChatRole.System:
                    prompt.Text(message.Content).Text("\n\n");
                    break;
                default:
                    break;
            }
        }

        if (options.AddGenerationPrompt)
            prompt.Text("Assistant:");
    }
}
