using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Hadal.Checkpoints.Tokenization;
using Hadal.Cli.Terminals;
using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal generate</c>: continues one prompt.</summary>
internal static class GenerateCommand
{
    private const int DefaultNewTokens = 256;

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "generate",
            "Continue a prompt. The text streams to standard output as it comes.",
            "hadal generate --model path/to/model --prompt \"The deep sea\" --max-new-tokens 64",
            "hadal generate --model path/to/model --tokens 1,2,3 --max-new-tokens 24 --temperature 0 --ids",
            "hadal generate --model path/to/model --prompt \"The deep sea\" --max-new-tokens 8 --json --logprobs 5 --seed 1");
        var model = new ModelOptions(command, ModelPlace.OptionOrBundled).Running(command).Arithmetic(command, staysLong: false).CacheType(command);
        var prompt = TypedOptions.Text("--prompt", "TEXT", "The text to continue.");
        var promptFile = TypedOptions.Text("--prompt-file", "FILE", "A UTF-8 file with the text to continue; - is standard input.");
        command.Add(prompt);
        command.Add(promptFile);
        var tokens = new TokenInput(command);
        command.ExactlyOneOf([prompt, promptFile, .. tokens.Options]);
        var newTokens = TypedOptions.Integer("--max-new-tokens", $"Most tokens to generate. [default: {DefaultNewTokens}]", 0);
        var context = TypedOptions.Integer("--context", "Most tokens of prompt and output together. [default: what the request needs]", 1);
        command.Add(newTokens);
        command.Add(context);
        var sampling = new SamplingFlags(defaultTemperature: 1);
        sampling.AddTo(command);
        var drafts = new DraftOptions(command);
        var stop = new Option<string[]>("--stop") { Description = "Text that ends the output and is not part of it; may be given several times.", HelpName = "TEXT", Arity = ArgumentArity.ZeroOrMore };
        var stopTokens = TypedOptions.TokenIds("--stop-token", "Token ids that end the output.");
        var ignoreEos = TypedOptions.Flag("--ignore-eos", "Treat the model's end-of-text tokens like any other.");
        var logprobs = TypedOptions.Integer("--logprobs", "With --json: report log-probabilities, and this many alternatives for each token.", 0, 1000);
        var idsFlag = TypedOptions.Flag("--ids", "Print the new ids as a JSON array on the last line.");
        var json = TypedOptions.Flag("--json", "Print one JSON object on one line instead of streaming.");
        foreach (var option in new Option[] { stop, stopTokens, ignoreEos, logprobs, idsFlag, json })
            command.Add(option);
        command.Validators.Add(result =>
        {
            if (result.GetResult(logprobs) is { Implicit: false } && !result.GetValue(json))
                result.AddError("--logprobs needs --json");
            if (result.GetValue(stop)?.Contains(string.Empty) == true)
                result.AddError("--stop: expected a text, found ''");
        });
        command.SetAction((result, cancellation) =>
        {
            var started = Stopwatch.GetTimestamp();
            var limit = result.GetValue(newTokens) ?? DefaultNewTokens;
            var given = tokens.Read(result);
            var path = model.Path(result, terminal);
            var tokenizer = given is null ? ModelTokenizer.Open(path) : ModelTokenizer.OpenOrNull(path);
            var ids = given ?? Encode(tokenizer!, result.GetValue(promptFile) is { } file ? TextFile.ReadAll(file) : Encoding.UTF8.GetBytes(result.GetValue(prompt)!));
            var needed = (int)Math.Min(int.MaxValue, ids.Length + (long)limit);
            var contextTokens = result.GetValue(context) ?? needed;
            using var loaded = model.Load(path, result, terminal, config => Math.Min(contextTokens, config.MaxPositionEmbeddings), cancellation);
            TokenInput.Checked(ids, loaded.Config.VocabSize);
            if (needed > Math.Min(contextTokens, loaded.Config.MaxPositionEmbeddings))
                throw new ContextOverflowException(needed, Math.Min(contextTokens, loaded.Config.MaxPositionEmbeddings));
            using var engine = loaded.Engine(tokenizer, contextTokens, model.Forward(result), drafts.Read(result));
            var request = new GenerationRequest
            {
                Prompt = ids,
                MaxNewTokens = limit,
                Sampling = sampling.Read(result) with { TopLogprobs = result.GetValue(logprobs) },
                StopStrings = result.GetValue(stop) ?? [],
                StopTokens = TokenInput.Checked(result.GetValue(stopTokens) ?? [], loaded.Config.VocabSize),
                IgnoreEos = result.GetValue(ignoreEos),
            };
            if (tokenizer is null && request.StopStrings.Count > 0)
                throw new CommandException("--stop needs a tokenizer, and the model has none", "use --stop-token with ids");
            var output = new Run(terminal, tokenizer, Stopwatch.GetElapsedTime(started));
            output.Generate(engine, request, stream: !result.GetValue(json), cancellation);
            if (result.GetValue(json))
                terminal.Out.WriteLine(output.Json(request).ToJsonString(JsonOutput.Compact));
            if (result.GetValue(idsFlag) || (tokenizer is null && !result.GetValue(json)))
                terminal.Out.WriteLine($"[{string.Join(", ", output.Ids)}]");
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static int[] Encode(Tokenizer tokenizer, byte[] prompt)
    {
        var ids = new List<int>();
        tokenizer.EncodeUtf8(prompt, ids, addBos: tokenizer.AddBos);
        return ids.Count > 0 ? [.. ids] : throw new CommandException("the prompt: expected a text, found nothing that gives a token", "give at least one character", ExitCode.Usage);
    }

    // One generation: what came of it, and how long it took.
    private sealed class Run(Terminal terminal, Tokenizer? tokenizer, TimeSpan loading)
    {
        private readonly StringBuilder text = new();
        private readonly JsonArray logprobs = [];
        private readonly GenerationTimes times = new();
        private FinishReason reason;

        public List<int> Ids { get; } = [];

        public void Generate(InferenceEngine engine, GenerationRequest request, bool stream, CancellationToken cancellation)
        {
            using var progress = new ProgressLine(terminal, "reading the prompt");
            var writer = new StreamingText(terminal);
            try
            {
                foreach (var step in times.Measure(engine.Generate(request with { Progress = progress.Of(request.Prompt.Count) }, cancellation)))
                {
                    progress.Dispose();
                    if (step.Id is { } id)
                        Ids.Add(id);
                    text.Append(step.Text);
                    if (stream)
                        writer.Write(step.Text);
                    if (step.Logprob is { } logprob)
                        logprobs.Add(Logprob(new TokenLogprob(step.Id!.Value, logprob), step.TopLogprobs!));
                    reason = step.FinishReason ?? reason;
                }
            }
            finally
            {
                if (stream && tokenizer is not null)
                    writer.EndLine();
            }

            if (stream)
                terminal.Notice(times.Summary(request.Prompt.Count));
        }

        public JsonObject Json(GenerationRequest request)
        {
            var json = new JsonObject
            {
                ["text"] = tokenizer is null ? null : text.ToString(),
                ["ids"] = new JsonArray([.. Ids.Select(id => (JsonNode)id)]),
                ["finish_reason"] = reason.ToString().ToLowerInvariant(),
                ["usage"] = new JsonObject
                {
                    ["prompt_tokens"] = request.Prompt.Count,
                    ["completion_tokens"] = times.Tokens,
                    ["total_tokens"] = request.Prompt.Count + times.Tokens,
                },
                ["timings"] = new JsonObject
                {
                    ["load_seconds"] = Rounded(loading),
                    ["prompt_seconds"] = Rounded(times.First),
                    ["generate_seconds"] = Rounded(times.Rest),
                    ["tokens_per_second"] = Math.Round(times.TokensPerSecond, 3),
                },
            };
            if (times.Usage is { AcceptanceRate: { } rate } usage)
            {
                json["speculation"] = new JsonObject
                {
                    ["drafted_tokens"] = usage.DraftedTokens, ["accepted_tokens"] = usage.AcceptedTokens,
                    ["acceptance_rate"] = Math.Round(rate, 4), ["accepted_length"] = Math.Round(usage.AcceptedLength!.Value, 4),
                };
            }

            if (request.Sampling.TopLogprobs is not null)
                json["logprobs"] = logprobs;
            return json;
        }

        private JsonObject Logprob(TokenLogprob chosen, IReadOnlyList<TokenLogprob> top)
        {
            var json = One(chosen);
            json["top"] = new JsonArray([.. top.Select(t => (JsonNode)One(t))]);
            return json;
        }

        private JsonObject One(TokenLogprob token) => new() { ["id"] = token.Id, ["token"] = tokenizer?.Decode([token.Id]), ["logprob"] = token.Logprob };

        private static double Rounded(TimeSpan time) => Math.Round(time.TotalSeconds, 6);
    }
}
