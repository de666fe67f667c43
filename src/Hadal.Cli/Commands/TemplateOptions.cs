using System.CommandLine;
using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Cli.Commands;

/// <summary>The options that say how a conversation becomes a prompt.</summary>
internal sealed class TemplateOptions
{
    private readonly Option<string?> name = TypedOptions.OneOf<string?>(
        "--chat-template", "The prompt format. [default: the model's own]", [.. ChatTemplates.All.Select(t => (t.Name, (string?)t.Name))]);

    private readonly Option<bool> thinking = TypedOptions.Flag("--thinking", "Let a DeepSeek-V3.1 model think before it answers.");

    /// <summary>Adds the options to a command.</summary>
    public TemplateOptions(Command command)
    {
        name.HelpName = "NAME";
        name.Description += $" One of {string.Join(", ", ChatTemplates.All.Select(t => t.Name))}.";
        command.Add(name);
        command.Add(thinking);
    }

    /// <summary>The template that was asked for, or the model's own.</summary>
    /// <exception cref="CommandException">The model's own is not known.</exception>
    public ChatTemplate Template(ParseResult result, Tokenizer tokenizer)
    {
        try
        {
            return ChatTemplates.Choose(tokenizer, result.GetValue(name));
        }
        catch (InvalidDataException exception)
        {
            throw new CommandException(exception.Message, "the model card says which format the model was trained on; a base model has none, 'hadal generate' continues its text");
        }
    }

    /// <summary>Whether the model thinks before it answers.</summary>
    public bool Thinking(ParseResult result) => result.GetValue(thinking);
}
