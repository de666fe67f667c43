using System.CommandLine;
using Hadal.Training.Data;

namespace Hadal.Cli.Commands;

/// <summary>Options that name text files.</summary>
internal static class TextInput
{
    /// <summary>One or more files or folders.</summary>
    public static Option<string[]> Files(string name, string help) => new(name)
    {
        Description = help,
        HelpName = "FILES",
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = true,
    };

    /// <summary>The field or column that holds the text.</summary>
    public static Option<string> Field() => new("--field")
    {
        Description = "Field of .jsonl files or column of .parquet files that holds the text.",
        HelpName = "NAME",
        DefaultValueFactory = _ => TextFiles.DefaultField,
    };
}
