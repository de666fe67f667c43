using System.CommandLine;
using System.Text;
using System.Text.Json;
using Hadal.Checkpoints.Tokenization;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal tokenize</c>: text to token ids, and back.</summary>
internal static class TokenizeCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "tokenize",
            "Turn text into token ids: one JSON array a line. With --decode, turn ids back into text.",
            "hadal tokenize --model path/to/model --text \"The deep sea\"",
            "hadal tokenize --model path/to/model.gguf --file story.txt",
            "hadal tokenize --model path/to/model --jsonl texts.jsonl",
            "hadal tokenize --model path/to/model --text \"1,2,3\" --decode");
        var model = new ModelOptions(command, ModelPlace.Option);
        var text = TypedOptions.Text("--text", "TEXT", "The text itself.");
        var file = TypedOptions.Text("--file", "FILE", "A UTF-8 file that is one text; - is standard input.");
        var jsonl = TypedOptions.Text("--jsonl", "FILE", "A file with an object a line, the text under \"text\"; - is standard input.");
        var decode = TypedOptions.Flag("--decode", "Print text instead of ids: of the ids given (1,2,3 or a JSON array; in a line of --jsonl also under \"ids\"), or of a text's own ids. --jsonl prints a JSON string a line.");
        var bos = TypedOptions.Flag("--bos", "Begin with the model's first token.");
        var plain = TypedOptions.Flag("--plain", "Leave control tokens spelled in the text as plain text.");
        foreach (var option in new Option[] { text, file, jsonl, decode, bos, plain })
            command.Add(option);
        command.ExactlyOneOf(text, file, jsonl);
        command.SetAction((result, cancellation) =>
        {
            var tokenizer = ModelTokenizer.Open(model.Path(result, terminal));
            if (result.GetValue(bos) && tokenizer.BosId is null)
                throw new CommandException("--bos: the tokenizer has no token that begins a text", "leave --bos out");
            var work = new Work(tokenizer, result.GetValue(decode), result.GetValue(bos), !result.GetValue(plain));
            if (result.GetValue(text) is { } given)
                terminal.Out.WriteLine(work.Text(Encoding.UTF8.GetBytes(given)));
            else if (result.GetValue(file) is { } path)
                terminal.Out.WriteLine(work.Text(TextFile.ReadAll(path)));
            else
                Lines(result.GetValue(jsonl)!, work, terminal, cancellation);
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static void Lines(string path, Work work, Terminal terminal, CancellationToken cancellation)
    {
        using var reader = new StreamReader(TextFile.Open(path), Encoding.UTF8);
        for (var number = 1; reader.ReadLine() is { } line; number++)
        {
            cancellation.ThrowIfCancellationRequested();
            if (!string.IsNullOrWhiteSpace(line))
                terminal.Out.WriteLine(work.Line(line) ?? throw new CommandException($"{path}: line {number}: expected an object with \"text\", found something else", "a line looks like {\"text\": \"The deep sea\"}"));
        }
    }

    private sealed class Work(Tokenizer tokenizer, bool decode, bool bos, bool parseSpecial)
    {
        private readonly List<int> ids = [];

        /// <summary>The output for one text.</summary>
        public string Text(byte[] utf8)
        {
            if (decode && TypedOptions.ParseIds(Encoding.UTF8.GetString(utf8)) is { } given)
                return tokenizer.Decode(given);
            Encode(utf8);
            return decode ? tokenizer.Decode([.. ids]) : Array();
        }

        /// <summary>The output for one line of JSON, or null where it holds nothing that fits.</summary>
        public string? Line(string json)
        {
            try
            {
                using var document = JsonDocument.Parse(json);
                var root = document.RootElement;
                if (decode && Ids(root) is { } given)
                    return JsonSerializer.Serialize(tokenizer.Decode(given), JsonOutput.Compact);
                if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("text", out var text) || text.ValueKind != JsonValueKind.String)
                    return null;
                Encode(Encoding.UTF8.GetBytes(JsonText.Value(text)));
                return decode ? JsonSerializer.Serialize(tokenizer.Decode([.. ids]), JsonOutput.Compact) : Array();
            }
            catch (JsonException)
            {
                return null;
            }
        }

        private static int[]? Ids(JsonElement root)
        {
            if (root.ValueKind == JsonValueKind.Object && !root.TryGetProperty("ids", out root))
                return null;
            return root.ValueKind == JsonValueKind.Array ? TypedOptions.ParseIds(root.GetRawText()) : null;
        }

        private void Encode(byte[] utf8)
        {
            ids.Clear();
            tokenizer.EncodeUtf8(utf8, ids, bos, parseSpecial);
        }

        private string Array() => $"[{string.Join(", ", ids)}]";
    }
}
