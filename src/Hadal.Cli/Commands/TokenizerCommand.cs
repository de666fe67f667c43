using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Hadal.Checkpoints.Tokenization;
using Hadal.Cli.Terminals;
using Hadal.Training.Data;
using Hadal.Training.Tokenization;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal tokenizer train</c>: a tokenizer of DeepSeek V3's kind, of any size, from one's own text.</summary>
internal static class TokenizerCommand
{
    // What a tokenizer may have when it is read.
    private const int MostTokens = 1 << 22;
    private const string TrainExample = "hadal tokenizer train --input texts --vocab-size 16384 --output my-tokenizer";

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal) =>
        new CommandWithExamples("tokenizer", "Make tokenizers.", TrainExample) { CreateTrain(terminal) };

    private static CommandWithExamples CreateTrain(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "train",
            "Train a byte-level byte-pair tokenizer of DeepSeek V3's kind on text, as a tokenizer.json that Hugging Face's library reads too.",
            TrainExample,
            "hadal tokenizer train --input a.jsonl b.jsonl.zst --vocab-size 131072 --output my-tokenizer --valid held-out.jsonl --json");
        var input = TextInput.Files("--input", "Text files (.txt, .jsonl, .parquet; .txt and .jsonl also with .zst or .gz), or folders of them.");
        input.Required = true;
        var size = TypedOptions.Integer("--vocab-size", "Tokens in all.", 1, MostTokens);
        size.Required = true;
        var output = TypedOptions.Required("--output", "FOLDER", "Where tokenizer.json and tokenizer_config.json shall be; nothing is overwritten.");
        var valid = TextInput.Files("--valid", "Text files on which to measure how many bytes a token stands for.");
        var field = TextInput.Field();
        var placeholders = TypedOptions.Integer("--placeholders", "Special tokens kept free for later use. [default: one in 160]", 0, MostTokens);
        var fewest = TypedOptions.Integer("--min-frequency", "The rarest pair that becomes a token. [default: 2]", 1);
        var threads = TypedOptions.Integer("--threads", "Threads that count words; no influence on the result. [default: all processors]", 1, 1024);
        var json = TypedOptions.Flag("--json", "Print the report as one JSON object.");
        foreach (var option in new Option[] { input, size, output, valid, field, placeholders, fewest, threads, json })
            command.Add(option);
        command.SetAction((result, cancellation) =>
        {
            var folder = result.GetRequiredValue(output);
            if (File.Exists(Path.Combine(folder, "tokenizer.json")))
                throw new CommandException($"{folder}: holds a tokenizer.json already; nothing is overwritten", "name another --output, or remove the old one");
            var files = TextFiles.Expand(result.GetRequiredValue(input));
            var validFiles = TextFiles.Expand(result.GetValue(valid) ?? []);
            var options = new TokenizerTrainerOptions
            {
                VocabSize = result.GetValue(size)!.Value,
                Placeholders = result.GetValue(placeholders),
                MinFrequency = result.GetValue(fewest) ?? 2,
                Field = result.GetValue(field)!,
                Threads = result.GetValue(threads) ?? Environment.ProcessorCount,
            };
            var clock = TimeProvider.System.GetTimestamp();
            TrainedTokenizer trained;
            using (var progress = new StageProgress(terminal))
                trained = Train(files, options, progress, cancellation);
            var seconds = TimeProvider.System.GetElapsedTime(clock).TotalSeconds;
            trained.Tokenizer.Save(folder);
            var measured = validFiles.Count == 0 ? default : TokenizerTrainer.Measure(trained.Tokenizer, validFiles, options.Field, options.Threads, cancellation);
            var report = new Report(
                folder, trained.Tokenizer.VocabSize, trained.Tokenizer.MergeCount, trained.Documents, trained.Bytes, trained.Words, Math.Round(seconds, 3),
                validFiles.Count == 0 ? null : measured.Bytes, validFiles.Count == 0 ? null : measured.Tokens,
                measured.Tokens == 0 ? null : Math.Round((double)measured.Bytes / measured.Tokens, 4));
            if (result.GetValue(json))
                terminal.Out.WriteLine(JsonSerializer.Serialize(report, JsonOutput.Snake));
            else
                Show(terminal, report, options.VocabSize);
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static TrainedTokenizer Train(IReadOnlyList<string> files, TokenizerTrainerOptions options, StageProgress progress, CancellationToken cancellation)
    {
        try
        {
            return TokenizerTrainer.Train(files, options, progress, cancellation);
        }
        catch (ArgumentException e)
        {
            throw new CommandException($"--vocab-size: {e.Message.Split(" (Parameter")[0]}", "ask for more tokens, or fewer --placeholders", ExitCode.Usage);
        }
    }

    private static void Show(Terminal terminal, Report report, int asked)
    {
        terminal.Out.WriteLine($"{report.Output}: {report.VocabSize} tokens, {report.Merges} merges");
        terminal.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"trained on {report.Documents} documents, {Display.Bytes(report.Bytes)}, {report.Words} different words, in {report.Seconds:0.0} s"));
        if (report.VocabSize < asked)
            terminal.Out.WriteLine($"note: the text gives no more than {report.VocabSize} of the {asked} tokens asked for; more text or a smaller --min-frequency gives more");
        if (report.BytesPerToken is { } bytes)
            terminal.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"held-out text: {report.ValidBytes} bytes in {report.ValidTokens} tokens, {bytes:0.000} bytes a token"));
    }

    private sealed record Report(
        string Output, int VocabSize, int Merges, long Documents, long Bytes, int Words, double Seconds, long? ValidBytes, long? ValidTokens, double? BytesPerToken);

    // Each stage has a line of its own.
    private sealed class StageProgress(Terminal terminal) : IProgress<TokenizerTrainerProgress>, IDisposable
    {
        private ProgressLine? line;
        private string? stage;

        public void Report(TokenizerTrainerProgress value)
        {
            if (stage != value.Stage)
            {
                line?.Dispose();
                (line, stage) = (new(terminal, value.Stage), value.Stage);
            }

            line!.Report(value.Part);
        }

        public void Dispose() => line?.Dispose();
    }
}
