using Hadal.Cli.Terminals;
using Hadal.Inference.Model;

namespace Hadal.Cli.Chat;

/// <summary>Reads messages and commands until there are no more, and has the model answer.</summary>
internal sealed class ChatLoop(Terminal terminal, Interrupts interrupts, ChatSession session, Func<(LineEditor.Outcome Outcome, string Text)> read)
{
    /// <summary>Runs the chat to its end.</summary>
    public void Run()
    {
        var commands = new SlashCommands(terminal, session);
        while (true)
        {
            var (outcome, text) = read();
            var message = text.Trim();
            if (outcome == LineEditor.Outcome.End)
                return;
            if (outcome == LineEditor.Outcome.Interrupted && message.Length == 0)
                terminal.Notice("Ctrl-D or /exit leaves");
            if (outcome == LineEditor.Outcome.Interrupted || message.Length == 0)
                continue;
            if (message[0] != '/')
            {
                session.Say(text);
                Answer();
                continue;
            }

            switch (commands.Run(message))
            {
                case SlashCommands.Outcome.Exit:
                    return;
                case SlashCommands.Outcome.Answer:
                    Answer();
                    break;
            }
        }
    }

    private void Answer()
    {
        using var scope = interrupts.Open();
        try
        {
            session.Answer(scope.Token);
        }
        catch (ContextOverflowException exception)
        {
            session.TakeBack(questionToo: true);
            terminal.Notice($"{exception.Message}; the message is taken back. /undo or /reset makes room, --context N makes more of it.");
        }
    }
}
