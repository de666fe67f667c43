using System.CommandLine;
using Hadal.Checkpoints.Chat;
using Hadal.Cli.Chat;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal render</c>: the text that a model is given for a conversation.</summary>
internal static class RenderCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "render",
            "Show the prompt that the model's chat template makes of a conversation.",
            "hadal render --model path/to/model --messages messages.json",
            "hadal render --model path/to/model --messages messages.json --no-generation-prompt --ids",
            "hadal render --model path/to/model --messages messages.json --chat-template deepseek-r1");
        var model = new ModelOptions(command, ModelPlace.Option);
        var messages = TypedOptions.Required("--messages", "FILE", "A JSON array of messages with \"role\" and \"content\", as in the chat API.");
        var noPrompt = TypedOptions.Flag("--no-generation-prompt", "End after the last message, without what makes the model answer.");
        var ids = TypedOptions.Flag("--ids", "Print the token ids as a JSON array instead of the text.");
        command.Add(messages);
        command.Add(noPrompt);
        var template = new TemplateOptions(command);
        command.Add(ids);
        command.SetAction(result =>
        {
            var tokenizer = ModelTokenizer.Open(model.Path(result, terminal));
            var conversation = ConversationFile.Read(result.GetRequiredValue(messages));
            var options = new ChatOptions { AddGenerationPrompt = !result.GetValue(noPrompt), Thinking = template.Thinking(result) };
            var chosen = template.Template(result, tokenizer);
            if (result.GetValue(ids))
            {
                terminal.Out.WriteLine($"[{string.Join(", ", chosen.RenderTokens(tokenizer, conversation, options))}]");
                return ExitCode.Success;
            }

            var text = new StreamingText(terminal);
            text.Write(chosen.Render(conversation, options));

            // Into a pipe goes the prompt and nothing else: a line's end would be part of it.
            if (terminal.OutputIsTerminal)
                text.EndLine();
            return ExitCode.Success;
        });
        return command;
    }
}
