using System.Text.RegularExpressions;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Chat;

/// <summary>The chat templates known here, and which one a model has.</summary>
public static partial class ChatTemplates
{
    private static readonly TaggedFeatures V25 = new() { BreaksOutputs = true };
    private static readonly TaggedFeatures V3 = V25 with { JoinsSystem = true };
    private static readonly TaggedFeatures R1 = new() { JoinsSystem = true, ClosesCalls = true, StripsReasoning = true, OpensThinking = true };

    /// <summary>
    /// The Jinja text that a new tokenizer of V3's kind takes along, so that other engines can chat with its models: what <c>deepseek-v3</c> writes for
    /// messages of system, user and assistant. Calls of functions are not in it.
    /// </summary>
    public const string NewTokenizerJinja =
        "{%- set system = messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | join('\n\n') -%}"
        + "{{- bos_token + system -}}"
        + "{%- for message in messages -%}"
        + "{%- if message['role'] == 'user' -%}{{- '<｜User｜>' + message['content'] -}}"
        + "{%- elif message['role'] == 'assistant' -%}{{- '<｜Assistant｜>' + message['content'] + eos_token -}}{%- endif -%}"
        + "{%- endfor -%}"
        + "{%- if add_generation_prompt -%}{{- '<｜Assistant｜>' -}}{%- endif -%}";

    /// <summary>Every template that has a name. <c>deepseek-llm</c> is DeepSeek LLM's, V2's and Coder-V2's.</summary>
    public static IReadOnlyList<ChatTemplate> All { get; } =
    [
        new PlainChatTemplate(),
        new TaggedChatTemplate("deepseek-v2.5", V25),
        new TaggedChatTemplate("deepseek-v3", V3),
        new TurnChatTemplate("deepseek-v3-0324", stripsReasoning: false),
        new TaggedChatTemplate("deepseek-r1", R1),
        new TurnChatTemplate("deepseek-r1-0528", stripsReasoning: true),
        new ThinkingChatTemplate("deepseek-v3.1", terminus: false),
        new ThinkingChatTemplate("deepseek-v3.1-terminus", terminus: true),
    ];

    /// <summary>The template of a name.</summary>
    /// <exception cref="ArgumentException">There is none of that name; the message lists the names.</exception>
    public static ChatTemplate ByName(string name) =>
        All.FirstOrDefault(t => t.Name == name) ?? throw new ArgumentException($"chat template: expected one of {Names}, found {BadFile.Quote(name)}", nameof(name));

    /// <summary>
    /// The template of a model: the one <paramref name="name"/> asks for; else the one its Jinja text is recognised as; else, for a model
    /// without such text, the one that its vocabulary and pre-tokenizer leave no doubt of.
    /// </summary>
    /// <param name="tokenizer">The model's tokenizer, with its <see cref="Tokenizer.ChatTemplate"/>.</param>
    /// <param name="name">What <c>--chat-template</c> says, or null.</param>
    /// <exception cref="ArgumentException"><paramref name="name"/> is no template's.</exception>
    /// <exception cref="InvalidDataException">The model's template is not known, or it has none and could be several's.</exception>
    public static ChatTemplate Choose(Tokenizer tokenizer, string? name = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        if (name is not null)
            return ByName(name);
        if (tokenizer.ChatTemplate is { } jinja)
        {
            return Recognise(jinja) ?? throw new InvalidDataException(
                $"chat template of the model is not known: \"{BadFile.Quote(jinja)}\"; known are {Names}; --chat-template NAME takes one of them all the same");
        }

        var hasUser = tokenizer.TokenToId("<｜User｜>") is not null;
        var hasThink = tokenizer.TokenToId("<think>") is not null;
        return (tokenizer.PreTokenizerName, hasUser, hasThink) switch
        {
            ("deepseek-llm", false, _) => ByName("deepseek-llm"),
            ("deepseek-llm", true, _) => ByName("deepseek-v2.5"),
            ("deepseek-v3", true, false) => ByName("deepseek-v3"),
            _ => throw new InvalidDataException($"the model has no chat template, and its vocabulary does not tell which; --chat-template NAME takes one of {Names}"),
        };
    }

    /// <summary>
    /// The template that a Jinja text renders, by what marks each; null for one not known. White space and the signs that trim it make no
    /// difference. A text that does more, such as writing tool definitions, is not taken for the one it was made from.
    /// </summary>
    public static ChatTemplate? Recognise(string jinja)
    {
        ArgumentNullException.ThrowIfNull(jinja);
        if (jinja == NewTokenizerJinja)
            return ByName("deepseek-v3");
        var text = Insignificant().Replace(jinja, "").Replace("{%-", "{%").Replace("-%}", "%}").Replace("{{-", "{{").Replace("-}}", "}}");
        bool Has(string marker) => text.Contains(marker, StringComparison.Ordinal);

        string[] foreign = ["toolsisdefined", "iftools", "|tojson", "|trim", "loop.", "raise_exception", "strftime", "intools%}", "enable_thinking", "macro", "<|im_start|>", "[INST]"];
        // llama.cpp's copy of V3.1's lets enable_thinking set thinking; its defaults are the same.
        if (foreign.Any(f => Has(f) && !(f == "enable_thinking" && Has("{%setthinking=enable_thinking%}"))))
            return null;
        if (!Has("<｜User｜>"))
        {
            return Has("{{'User:'+message['content']+''}}") && Has("{{'Assistant:'+message['content']+eos_token}}") && Has("{{message['content']+''}}") && Has("{{'Assistant:'}}")
                ? ByName("deepseek-llm")
                : null;
        }

        if (Has("{{'<｜Assistant｜></think>'}}") && Has("message['prefix']") && Has("{{'</think>'}}{%else%}{{'<think>'}}"))
            return ByName(Has("is_only_sys") && Has("is_prefix") ? "deepseek-v3.1-terminus" : "deepseek-v3.1");
        if (Has("message['prefix']") || !Has("<｜tool▁outputs▁begin｜>"))
            return null;

        const string LastThink = "split('</think>')[-1]";
        var strips = Has(LastThink);
        if (!strips && Has("</think>"))
            return null;
        if (Has("+'<｜Assistant｜>'}}") && Has("notns.is_last_userandnotns.is_tool%}{{'<｜Assistant｜>'}}"))
            return ByName(strips ? "deepseek-r1-0528" : "deepseek-v3-0324");

        var byContent = Has("message['content']isnone%}{%setns.is_tool=false%}");
        if (!byContent && !(Has("'tool_calls'inmessage") && Has("'tool_calls'notinmessage")))
            return null;
        var features = new TaggedFeatures
        {
            JoinsSystem = Has("is_first_sp"),
            ClosesCalls = !byContent,
            StripsReasoning = strips,
            OpensThinking = Has("{{'<｜Assistant｜><think>'}}"),
            BreaksOutputs = OutputBreak().IsMatch(jinja),
        };
        return All.OfType<TaggedChatTemplate>().FirstOrDefault(t => t.Features == features)
            ?? new TaggedChatTemplate(features.StripsReasoning ? "deepseek-r1" : features.JoinsSystem ? "deepseek-v3" : "deepseek-v2.5", features);
    }

    private static string Names => string.Join(", ", All.Select(t => t.Name));

    /// <summary>White space, and newlines written as escapes.</summary>
    [GeneratedRegex(@"\s+|\\n")]
    private static partial Regex Insignificant();

    [GeneratedRegex(@"'(\n|\\n)<｜tool▁output▁begin｜>'")]
    private static partial Regex OutputBreak();
}
