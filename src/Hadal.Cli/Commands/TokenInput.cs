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
    /// <param name="result">The command line.</param>
    /// <param name="vocabulary">Ids must be below this.</param>
    /// <exception cref="CommandException">The file holds something else, or an id is outside the vocabulary.</exception>
    public int[]? Read(ParseResult result, int vocabulary)
    {
        var path = result.GetValue(file);
        var ids = path is null ? result.GetValue(list) : ReadFile(path);
        var wrong = Array.FindIndex(ids ?? [], id => (uint)id >= (uint)vocabulary);
        return wrong < 0
            ? ids
            : throw new CommandException($"token id {ids![wrong]} at position {wrong} is outside the vocabulary of {vocabulary}", "'hadal tokenize' makes ids that fit the model");
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
