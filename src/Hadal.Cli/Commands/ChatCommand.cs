using System.CommandLine;
using System.Text;
using Hadal.Checkpoints;
using Hadal.Cli.Chat;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal chat</c>: a conversation in the terminal.</summary>
internal static class ChatCommand
{
    private const int DefaultContext = 8192;
    private const double DefaultTemperature = 0.6;
    private const string Prompt = "> ";

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal, Interrupts interrupts)
    {
        var command = new CommandWithExamples(
            "chat",
            "Talk to a model in the terminal. Messages may also come on standard input, one a line.",
            "hadal chat",
            "hadal chat --model path/to/model --system \"Answer in one sentence.\"",
            "hadal chat --model path/to/model.gguf --context 16384 --temperature 0.3 --top-p 0.95");
        var model = new ModelOptions(command, ModelPlace.OptionOrBundled);
        var system = TypedOptions.Text("--system", "TEXT", "The system prompt.");
        var load = TypedOptions.Text("--load", "FILE", "Go on with a conversation that /save wrote.");
        var newTokens = TypedOptions.Integer("--max-new-tokens", "Most tokens of an answer. [default: as many as fit]", 1);
        var context = TypedOptions.Integer("--context", $"Tokens of conversation and answer together. [default: the model's context, at most {DefaultContext}]", 1);
        foreach (var option in new Option[] { system, load, newTokens, context })
            command.Add(option);
        var template = new TemplateOptions(command);
        var sampling = new SamplingFlags(DefaultTemperature);
        sampling.AddTo(command);
        var drafts = new DraftOptions(command);
        model.Running(command).Arithmetic(command).CacheType(command);
        command.SetAction((result, cancellation) =>
        {
            var path = model.Path(result, terminal);
            var tokenizer = ModelTokenizer.Open(path);
            var chosen = template.Template(result, tokenizer);
            using var loaded = model.Load(path, result, terminal, config => Math.Min(result.GetValue(context) ?? DefaultContext, config.MaxPositionEmbeddings), cancellation);
            using var engine = loaded.Engine(tokenizer, result.GetValue(context) ?? DefaultContext, model.Forward(result), drafts.Read(result));
            var session = new ChatSession(terminal, engine, tokenizer, chosen, template.Thinking(result))
            {
                Sampling = sampling.Read(result),
                MaxNewTokens = result.GetValue(newTokens),
            };
            if (result.GetValue(load) is { } file)
                session.Load(ConversationFile.Read(file));
            if (result.GetValue(system) is { } text)
                session.System = text;
            terminal.Notice($"{Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(loaded.Checkpoint.Path)))}: {Display.Count(ParameterCount.Of(loaded.Checkpoint).Total)} parameters, context {session.ContextTokens}, template {chosen.Name}");
            if (terminal.InputIsTerminal)
                terminal.Notice("/help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves.");
            new ChatLoop(terminal, interrupts, session, Reader(terminal)).Run();
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static Func<(LineEditor.Outcome Outcome, string Text)> Reader(Terminal terminal)
    {
        if (!terminal.InputIsTerminal || !terminal.OutputIsTerminal)
            return () => ReadLine(terminal.In);
        var editor = new LineEditor(terminal.Out, () => Console.ReadKey(intercept: true), () => Console.WindowWidth, () => Console.KeyAvailable);
        return () =>
        {
            // While a line is edited, Ctrl-C is a key; while the model answers, it is a signal.
            Console.TreatControlCAsInput = true;
            try
            {
                return editor.Read(Prompt);
            }
            finally
            {
                Console.TreatControlCAsInput = false;
            }
        };
    }

    // One message a line; a backslash at the end of a line takes the next one too.
    private static (LineEditor.Outcome Outcome, string Text) ReadLine(TextReader input)
    {
        var text = new StringBuilder();
        while (input.ReadLine() is { } line)
        {
            if (!line.EndsWith('\\'))
                return (LineEditor.Outcome.Message, text.Append(line).ToString());
            text.Append(line.AsSpan(0, line.Length - 1)).Append('\n');
        }

        return text.Length > 0 ? (LineEditor.Outcome.Message, text.ToString()) : (LineEditor.Outcome.End, string.Empty);
    }
}
