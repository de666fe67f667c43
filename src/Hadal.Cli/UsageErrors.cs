using System.CommandLine;
using System.CommandLine.Parsing;
using Hadal.Cli.Terminals;

namespace Hadal.Cli;

/// <summary>A wrong command line, told in one line and one hint.</summary>
internal static class UsageErrors
{
    // A name further off than this is no typing slip.
    private const int FarthestGuess = 3;

    /// <summary>Reports the first error of a parse.</summary>
    /// <returns>The exit code.</returns>
    public static int Report(ParseResult result, Terminal terminal)
    {
        var command = result.CommandResult.Command;
        var path = Path(command);
        var unknown = UnknownWord(result);
        var guess = unknown is null ? null : Guess(command, unknown);
        terminal.Error.WriteLine($"{path}: {Explain(result, unknown)}");
        terminal.Error.WriteLine(guess is null ? $"hint: '{path} --help' shows the usage and examples" : $"hint: did you mean {guess}? '{path} --help' shows everything");
        return ExitCode.Usage;
    }

    /// <summary>The command as it is typed, from the program's name on.</summary>
    public static string Path(Command command) =>
        command is RootCommand ? "hadal" : $"{Path(command.Parents.OfType<Command>().First())} {command.Name}";

    /// <summary>Refuses an option's name in an argument's place; the parser takes unknown options for arguments.</summary>
    public static void RefuseOptionNames(ArgumentResult result)
    {
        foreach (var token in result.Tokens)
        {
            if (LooksLikeOption(token.Value))
                result.AddError($"there is no option {token.Value}");
        }
    }

    private static string Explain(ParseResult result, string? unknown)
    {
        if (unknown is not null)
            return LooksLikeOption(unknown) ? $"there is no option {unknown}" : result.CommandResult.Command is RootCommand ? $"there is no command '{unknown}'" : $"'{unknown}' is one argument too many";
        if (result.CommandResult.Command is RootCommand || result.Errors.Count == 0)
            return "a command is missing";
        var error = result.Errors[0];
        return error.SymbolResult is ArgumentResult { Tokens.Count: 0, Parent: CommandResult } missing ? $"{missing.Argument.Name} is missing" : error.Message.TrimEnd('.');
    }

    private static string? UnknownWord(ParseResult result)
    {
        var misplaced = result.CommandResult.Children.OfType<ArgumentResult>().SelectMany(a => a.Tokens).FirstOrDefault(t => LooksLikeOption(t.Value));
        return misplaced?.Value ?? (result.UnmatchedTokens.Count > 0 ? result.UnmatchedTokens[0] : null);
    }

    private static bool LooksLikeOption(string word) => word.Length > 1 && word[0] == '-';

    private static string? Guess(Command command, string wrong)
    {
        var names = LooksLikeOption(wrong) ? command.Options.Select(o => o.Name) : command.Subcommands.Select(c => c.Name);
        var best = names.Select(name => (Name: name, Distance: Distance(name, wrong))).OrderBy(n => n.Distance).FirstOrDefault();
        return best.Name is not null && best.Distance <= Math.Min(FarthestGuess, wrong.Length / 2) ? best.Name : null;
    }

    // Levenshtein's edit distance, one row at a time.
    private static int Distance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(replaced, 1 + Math.Min(row[j], row[j - 1]));
            }
        }

        return row[^1];
    }
}
