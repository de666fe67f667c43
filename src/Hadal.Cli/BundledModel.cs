using Hadal.Cli.Terminals;

namespace Hadal.Cli;

/// <summary>The model of commands that are given none: hadal-tiny, which lies beside the program (models/hadal-tiny in the repository).</summary>
internal static class BundledModel
{
    /// <summary>What it is called where a name is needed.</summary>
    public const string Name = "hadal-tiny";

    /// <summary>Where it lies, whether or not it is there.</summary>
    public static string Folder { get; } = System.IO.Path.Combine(AppContext.BaseDirectory, "models", Name);

    /// <summary>Its folder; the terminal is told that it is used.</summary>
    /// <exception cref="CommandException">It is not there.</exception>
    public static string Path(Terminal terminal)
    {
        if (!Directory.Exists(Folder))
            throw new CommandException($"{Folder}: expected the model that comes with hadal, found nothing", "--model MODEL names another one");
        terminal.Notice($"No --model is given: this is {Name}, which comes with hadal. It is very small and has read stories; it knows no facts.");
        return Folder;
    }
}
