using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Hadal.Cli.Terminals;
using Hadal.Training.Data;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal shards</c>: text into token shards, once, for any number of training runs.</summary>
internal static class ShardsCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "shards",
            "Turn text into token shards to train on. An interrupted run goes on when the same command is given again.",
            "hadal shards --input texts --tokenizer my-tokenizer --output shards",
            "hadal shards --input a.jsonl.zst b.parquet --field content --tokenizer my-tokenizer --output shards --shard-tokens 16777216");
        var input = TextInput.Files("--input", "Text files (.txt, .jsonl, .parquet; .txt and .jsonl also with .zst or .gz), or folders of them.");
        input.Required = true;
        var tokenizer = TypedOptions.Required("--tokenizer", "PATH", "A folder with tokenizer.json, a model folder, or a .gguf file.");
        var output = TypedOptions.Required("--output", "FOLDER", "Where the shards shall be; nothing is overwritten.");
        var field = TextInput.Field();
        var size = TypedOptions.Integer("--shard-tokens", "A shard ends with the document that reaches this many tokens. [default: 67108864]", 1, 1 << 29);
        var threads = TypedOptions.Integer("--threads", "Threads that tokenise; no influence on the result. [default: all processors]", 1, 1024);
        var json = TypedOptions.Flag("--json", "Print the report as one JSON object.");
        foreach (var option in new Option[] { input, tokenizer, output, field, size, threads, json })
            command.Add(option);
        command.SetAction((result, cancellation) =>
        {
            var files = TextFiles.Expand(result.GetRequiredValue(input));
            var options = new ShardOptions { Field = result.GetValue(field)!, ShardTokens = result.GetValue(size) ?? 1 << 26, Threads = result.GetValue(threads) ?? Environment.ProcessorCount };
            var folder = result.GetRequiredValue(output);
            var clock = TimeProvider.System.GetTimestamp();
            ShardManifest manifest;
            using (var progress = new ProgressLine(terminal, "tokenising"))
                manifest = Run(files, ModelTokenizer.Open(result.GetRequiredValue(tokenizer)), folder, options, new Progress(progress), cancellation);
            var seconds = TimeProvider.System.GetElapsedTime(clock).TotalSeconds;
            if (result.GetValue(json))
            {
                terminal.Out.WriteLine(new JsonObject
                {
                    ["output"] = folder, ["shards"] = manifest.Shards.Count, ["documents"] = manifest.Documents, ["tokens"] = manifest.Tokens, ["bytes"] = manifest.Bytes,
                    ["bytes_per_token"] = Math.Round((double)manifest.Bytes / Math.Max(1, manifest.Tokens), 4), ["tokenizer_sha256"] = manifest.TokenizerSha256, ["seconds"] = Math.Round(seconds, 3),
                }.ToJsonString(JsonOutput.Compact));
            }
            else
            {
                terminal.Out.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{folder}: {manifest.Documents} documents, {Display.Count(manifest.Tokens)} tokens of {(double)manifest.Bytes / Math.Max(1, manifest.Tokens):0.000} bytes each, in {manifest.Shards.Count} shards, in {seconds:0.0} s"));
            }

            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static ShardManifest Run(IReadOnlyList<string> files, Checkpoints.Tokenization.Tokenizer tokenizer, string folder, ShardOptions options, Progress progress, CancellationToken cancellation)
    {
        try
        {
            return ShardBuilder.Run(files, tokenizer, folder, options, progress, cancellation);
        }
        catch (OperationCanceledException)
        {
            throw new CommandException($"{folder}: interrupted", "the same command goes on after the last whole shard", ExitCode.Interrupted);
        }
    }

    private sealed class Progress(ProgressLine line) : IProgress<ShardProgress>
    {
        public void Report(ShardProgress value) => line.Report(value.Part);
    }
}
