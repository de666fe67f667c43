using System.CommandLine;
using System.Text.Json;

namespace Hadal.Cli.Commands;

/// <summary>Token ids given on the command line or in a file.</summary>
internal sealed class TokenInput
{
    private readonly Option<int[]?> list = TypedOptions.TokenIds("--tokens", "Token ids, with commas between.");
    private readonly Option<string?> file = TypedOptions.Text("--tokens-file", "FILE", "A file with a JSON array of token ids.");

    /// <summary>Adds <c>--tokens</c> and <c>--tokens-file</c>.</summary>
    public TokenInput(Command command)
    {
        command.Add(list);
        command.Add(file);
    }

    /// <summary>The options, for rules about which exclude each other.</summary>
    public Option[] Options => [list, file];

    /// <summary>The ids, or null where neither option is given.</summary>
    /// <exception cref="CommandException">The file holds something else.</exception>
    public int[]? Read(ParseResult result) => result.GetValue(file) is { } path ? ReadFile(path) : result.GetResult(list) is null ? null : result.GetValue(list);

    /// <summary>The same ids, when all are within a vocabulary.</summary>
    /// <exception cref="CommandException">One is not.</exception>
    public static int[] Checked(int[] ids, int vocabulary)
    {
        var wrong = Array.FindIndex(ids, id => (uint)id >= (uint)vocabulary);
        return wrong < 0
            ? ids
            : throw new CommandException($"token id {ids[wrong]} at position {wrong} is outside the vocabulary of {vocabulary}", "'hadal tokenize' makes ids that fit the model");
    }

    private static int[] ReadFile(string path)
    {
        const string Hint = "the file should hold one JSON array such as [1, 2, 3]";
        try
        {
            using var stream = File.OpenRead(path);
            return JsonSerializer.Deserialize<int[]>(stream) is { Length: > 0 } ids ? ids : throw new CommandException($"{path}: expected token ids, found none", Hint);
        }
        catch (JsonException)
        {
            throw new CommandException($"{path}: expected a JSON array of token ids, found something else", Hint);
        }
    }
}
