using System.Text;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Chat;

/// <summary>How to render a conversation.</summary>
public sealed record ChatOptions
{
    /// <summary>Whether to end with what makes the model answer.</summary>
    public bool AddGenerationPrompt { get; init; } = true;

    /// <summary>DeepSeek V3.1: whether the model thinks before it answers. The other templates have no choice of it.</summary>
    public bool Thinking { get; init; }

    /// <summary>Functions the model may call; described after the system prompt. DeepSeek LLM's template knows no tools.</summary>
    public IReadOnlyList<ChatTool> Tools { get; init; } = [];

    /// <summary>
    /// Whether control tokens spelled inside messages become those tokens, as Hugging Face's <c>apply_chat_template</c> has it. By default they
    /// stay text, so that no message can forge another.
    /// </summary>
    public bool ParseSpecialInMessages { get; init; }
}

/// <summary>How a family of models writes the calls of functions.</summary>
public enum ToolCallForm
{
    /// <summary>Not at all: the template knows no tools.</summary>
    None,

    /// <summary>Type, name, and the arguments as a Markdown block of JSON: V2.5, V3, R1.</summary>
    Markdown,

    /// <summary>Name and arguments: V3.1.</summary>
    Plain,
}

/// <summary>
/// The prompt format of a family of models, as code: what the Jinja <c>chat_template</c> of its tokenizer_config.json renders, its quirks kept.
/// Immutable, safe for use from several threads.
/// </summary>
public abstract class ChatTemplate
{
    private protected const string Bos = "<｜begin▁of▁sentence｜>";
    private protected const string Eos = "<｜end▁of▁sentence｜>";
    private protected const string User = "<｜User｜>";
    private protected const string Assistant = "<｜Assistant｜>";
    private protected const string CallsBegin = "<｜tool▁calls▁begin｜>";
    private protected const string CallsEnd = "<｜tool▁calls▁end｜>";
    private protected const string CallBegin = "<｜tool▁call▁begin｜>";
    private protected const string CallEnd = "<｜tool▁call▁end｜>";
    private protected const string OutputsBegin = "<｜tool▁outputs▁begin｜>";
    private protected const string OutputsEnd = "<｜tool▁outputs▁end｜>";
    private protected const string OutputBegin = "<｜tool▁output▁begin｜>";
    private protected const string OutputEnd = "<｜tool▁output▁end｜>";
    private protected const string Separator = "<｜tool▁sep｜>";
    private protected const string Think = "<think>";
    private protected const string EndThink = "</think>";

    private protected ChatTemplate(string name) => Name = name;

    /// <summary>Its name, as <c>--chat-template</c> takes it.</summary>
    public string Name { get; }

    /// <summary>How the models write the calls of functions.</summary>
    public virtual ToolCallForm CallForm => ToolCallForm.Markdown;

    /// <summary>The text of the prompt, the token that begins it included.</summary>
    /// <param name="messages">The conversation, oldest first.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <exception cref="ArgumentException">A message has <see cref="ChatMessage.Prefix"/> and is not the last, or not an assistant's.</exception>
    public string Render(IReadOnlyList<ChatMessage> messages, ChatOptions? options = null)
    {
        var text = new StringBuilder();
        foreach (var (part, _) in Parts(messages, options ?? new()))
            text.Append(part);
        return text.ToString();
    }

    /// <summary>
    /// The ids of the prompt: those of <see cref="Render"/>'s text, but with <see cref="ChatOptions.ParseSpecialInMessages"/> off only the control
    /// tokens that the template itself writes are such.
    /// </summary>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="messages">The conversation, oldest first.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <exception cref="ArgumentException">As <see cref="Render"/>.</exception>
    public int[] RenderTokens(Tokenizer tokenizer, IReadOnlyList<ChatMessage> messages, ChatOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        options ??= new();
        if (options.ParseSpecialInMessages)
            return tokenizer.Encode(Render(messages, options));
        var ids = new List<int>();
        var text = new StringBuilder();
        foreach (var (part, isToken) in Parts(messages, options))
        {
            // A token that the vocabulary lacks (<think> in V3's first one) is text like any other.
            if (isToken && tokenizer.TokenToId(part) is { } id && tokenizer.IsControl(id))
            {
                tokenizer.Encode(text.ToString(), ids, parseSpecial: false);
                text.Clear();
                ids.Add(id);
            }
            else
                text.Append(part);
        }

        tokenizer.Encode(text.ToString(), ids, parseSpecial: false);
        return [.. ids];
    }

    /// <summary>Writes the prompt.</summary>
    private protected abstract void Write(IReadOnlyList<ChatMessage> messages, ChatOptions options, PromptParts prompt);

    /// <summary>The system messages as one: all of them with blank lines between, or only the last.</summary>
    private protected static string SystemPrompt(IReadOnlyList<ChatMessage> messages, bool joined)
    {
        var system = messages.Where(m => m.Role == ChatRole.System).Select(m => m.Content ?? "").ToList();
        return joined ? string.Join("\n\n", system) : system.LastOrDefault("");
    }

    /// <summary>
    /// The functions that may be called, and the form of a call. The words are those of DeepSeek-V3.1's model card ("ToolCall"), which it was trained with;
    /// DeepSeek has published none for the models before, which get them with their own form of a call.
    /// </summary>
    private protected static void WriteTools(IReadOnlyList<ChatTool> tools, bool asMarkdown, PromptParts prompt)
    {
        if (tools.Count == 0)
            return;
        prompt.Text("\n\n## Tools\nYou have access to the following tools:\n\n");
        foreach (var tool in tools)
            prompt.Text($"### {tool.Name}\nDescription: {tool.Description}\n\nParameters: {tool.Parameters}\n\n");
        prompt.Text("IMPORTANT: ALWAYS adhere to this exact format for tool use:\n").Token(CallsBegin, CallBegin);
        if (asMarkdown)
            prompt.Text("function").Token(Separator).Text("tool_call_name\n```json\ntool_call_arguments\n```");
        else
            prompt.Text("tool_call_name").Token(Separator).Text("tool_call_arguments");
        prompt.Token(CallEnd).Text("{additional_tool_calls}").Token(CallsEnd).Text(
            "\n\nWhere:\n- `tool_call_name` must be an exact match to one of the available tools\n"
            + "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
            + (asMarkdown ? "- For multiple tool calls, chain them with a newline between them" : "- For multiple tool calls, chain them directly without separators or spaces"));
    }

    private List<(string Text, bool IsToken)> Parts(IReadOnlyList<ChatMessage> messages, ChatOptions options)
    {
        ArgumentNullException.ThrowIfNull(messages);
        for (var i = 0; i < messages.Count; i++)
        {
            if (messages[i].Prefix && (i + 1 < messages.Count || messages[i].Role != ChatRole.Assistant || messages[i].ToolCalls.Count > 0))
                throw new ArgumentException($"messages[{i}]: only the last message, an assistant's without tool calls, can be a prefix", nameof(messages));
        }

        var isPrefix = messages.Count > 0 && messages[^1].Prefix;
        var prompt = new PromptParts();
        Write(messages, isPrefix ? options with { AddGenerationPrompt = false } : options, prompt);
        if (isPrefix)
            prompt.RemoveLastToken(Eos);
        return prompt.Parts;
    }
}

/// <summary>The parts of a prompt: control tokens, and the text between them.</summary>
internal sealed class PromptParts
{
    /// <summary>The parts in order.</summary>
    public List<(string Text, bool IsToken)> Parts { get; } = [];

    /// <summary>Adds control tokens.</summary>
    public PromptParts Token(params ReadOnlySpan<string> tokens)
    {
        foreach (var token in tokens)
            Parts.Add((token, true));
        return this;
    }

    /// <summary>Adds text.</summary>
    public PromptParts Text(string? text)
    {
        if (!string.IsNullOrEmpty(text))
            Parts.Add((text, false));
        return this;
    }

    /// <summary>Takes the last part off again if it is this token.</summary>
    public void RemoveLastToken(string token)
    {
        if (Parts.Count > 0 && Parts[^1] == (token, true))
            Parts.RemoveAt(Parts.Count - 1);
    }
}
