using System.Globalization;
using Hadal.Cli.Terminals;
using Hadal.Inference.Sampling;

namespace Hadal.Cli.Chat;

/// <summary>What can be typed in a chat beside messages.</summary>
internal sealed class SlashCommands
{
    private readonly Terminal terminal;
    private readonly ChatSession session;
    private readonly List<Entry> entries;

    /// <summary>The commands on one conversation.</summary>
    public SlashCommands(Terminal terminal, ChatSession session)
    {
        this.terminal = terminal;
        this.session = session;
        entries =
        [
            new("/help", string.Empty, "show this list", _ => Help()),
            new("/system", "[TEXT]", "show or set the system prompt; /system - removes it", System),
            new("/reset", string.Empty, "forget the conversation, keep the system prompt", _ => Then(session.Reset, "the conversation is forgotten")),
            new("/undo", string.Empty, "take back the last question and its answer", _ => Then(session.TakeBack(questionToo: true), "taken back", "there is nothing to take back")),
            new("/regen", string.Empty, "answer the last question again", _ => Regenerate()),
            new("/save", "FILE", "write the conversation as JSON messages", Save),
            new("/load", "FILE", "go on with a conversation from a file", Load),
            new("/set", "[NAME VALUE]", "show or set: temperature, top-k, top-p, min-p, repetition-penalty, presence-penalty, frequency-penalty, seed, max-new-tokens", Set),
            new("/stats", string.Empty, "show speed and use of the context", _ => Stats()),
            new("/exit", string.Empty, "leave (also /quit, Ctrl-D)", _ => Outcome.Exit),
            new("/quit", string.Empty, string.Empty, _ => Outcome.Exit),
        ];
    }

    /// <summary>What is to be done after a command.</summary>
    public enum Outcome
    {
        /// <summary>Nothing: read on.</summary>
        Done,

        /// <summary>The model is to answer.</summary>
        Answer,

        /// <summary>The chat is over.</summary>
        Exit,
    }

    /// <summary>Runs a line that begins with a slash. A wrong one is told, never thrown.</summary>
    public Outcome Run(string line)
    {
        var space = line.IndexOfAny([' ', '\n']);
        var (name, argument) = space < 0 ? (line, string.Empty) : (line[..space], line[space..].Trim());
        var entry = entries.Find(e => e.Name == name);
        if (entry is null)
            return Told($"there is no command {name}; /help lists them");
        try
        {
            return entry.Run(argument);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or InvalidDataException or ArgumentException)
        {
            return Told(exception.Message.ReplaceLineEndings(" "));
        }
    }

    private Outcome Help()
    {
        foreach (var entry in entries.Where(e => e.Description.Length > 0))
            terminal.Error.WriteLine($"  {entry.Name + " " + entry.Argument,-20} {entry.Description}");
        terminal.Error.WriteLine("  A message goes over several lines with Alt+Enter, with a backslash at the end of a line, or by pasting.");
        terminal.Error.WriteLine("  Ctrl-C stops an answer; up and down go through what was typed.");
        return Outcome.Done;
    }

    private Outcome System(string text)
    {
        if (text.Length == 0)
            return Told(session.System is { } current ? $"system: {current}" : "there is no system prompt");
        session.System = text == "-" ? null : text;
        return Told(text == "-" ? "the system prompt is removed" : "the system prompt is set");
    }

    private Outcome Regenerate()
    {
        session.TakeBack(questionToo: false);
        return session.Messages is [.., { Role: Checkpoints.Chat.ChatRole.User }] ? Outcome.Answer : Told("there is no question to answer");
    }

    private Outcome Save(string path)
    {
        if (path.Length == 0)
            return Told("/save needs a file");
        ConversationFile.Write(path, session.Messages);
        return Told($"{session.Messages.Count} messages are in {path}");
    }

    private Outcome Load(string path)
    {
        if (path.Length == 0)
            return Told("/load needs a file");
        session.Load(ConversationFile.Read(path));
        return Told($"{session.Messages.Count} messages from {path}; the conversation goes on from there");
    }

    private Outcome Set(string argument)
    {
        var parts = argument.Split([' ', '='], StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length == 0)
        {
            var s = session.Sampling;
            return Told(string.Create(
                CultureInfo.InvariantCulture,
                $"temperature {s.Temperature}, top-k {s.TopK}, top-p {s.TopP}, min-p {s.MinP}, repetition-penalty {s.RepetitionPenalty}, presence-penalty {s.PresencePenalty}, frequency-penalty {s.FrequencyPenalty}, seed {s.Seed?.ToString(CultureInfo.InvariantCulture) ?? "random"}, max-new-tokens {session.MaxNewTokens?.ToString(CultureInfo.InvariantCulture) ?? "as many as fit"}"));
        }

        if (parts.Length != 2 || !double.TryParse(parts[1], NumberStyles.Float, CultureInfo.InvariantCulture, out var value) || !double.IsFinite(value))
            return Told("/set takes a name and a number, such as /set temperature 0.7");
        return parts[0] == "max-new-tokens" ? SetLimit(value) : SetSampling(parts[0], value);
    }

    private Outcome SetLimit(double value)
    {
        if (value < 1 || value != Math.Floor(value) || value > int.MaxValue)
            return Told("max-new-tokens must be a whole number of at least 1");
        session.MaxNewTokens = (int)value;
        return Told($"max-new-tokens is {session.MaxNewTokens}");
    }

    private Outcome SetSampling(string name, double value)
    {
        var whole = value == Math.Floor(value) && Math.Abs(value) <= int.MaxValue;
        var s = session.Sampling;
        SamplingOptions? changed = name switch
        {
            "temperature" => s with { Temperature = value },
            "top-k" when whole => s with { TopK = (int)value },
            "top-p" => s with { TopP = value },
            "min-p" => s with { MinP = value },
            "repetition-penalty" => s with { RepetitionPenalty = value },
            "presence-penalty" => s with { PresencePenalty = value },
            "frequency-penalty" => s with { FrequencyPenalty = value },
            "seed" when whole => s with { Seed = (int)value },
            _ => null,
        };
        if (changed is null)
            return Told($"there is no setting {name} with such a value; /help lists them");
        try
        {
            changed.Validate();
        }
        catch (ArgumentOutOfRangeException exception)
        {
            return Told($"{name}: {exception.Message.Split('(')[0].Trim()}");
        }

        session.Sampling = changed;
        return Told(string.Create(CultureInfo.InvariantCulture, $"{name} is {value}"));
    }

    private Outcome Stats()
    {
        var speed = session.TotalTime > TimeSpan.Zero ? session.TotalTokens / session.TotalTime.TotalSeconds : 0;
        return Told(string.Create(
            CultureInfo.InvariantCulture,
            $"{session.Messages.Count} messages, {session.UsedTokens} of {session.ContextTokens} tokens; {session.TotalTokens} generated, {speed:0.0} tokens/s; template {session.Template.Name}"));
    }

    private Outcome Then(Action action, string line)
    {
        action();
        return Told(line);
    }

    private Outcome Then(bool done, string line, string otherwise) => Told(done ? line : otherwise);

    private Outcome Told(string line)
    {
        terminal.Notice(line);
        return Outcome.Done;
    }

    private sealed record Entry(string Name, string Argument, string Description, Func<string, Outcome> Run);
}
