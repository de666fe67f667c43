using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Hadal.Cli.Evaluation;
using Hadal.Cli.Terminals;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Numerics.Threading;
using Hadal.Numerics.Kernels;
using Hadal.Training.Recipes;
using Hadal.Training.Runs;

namespace Hadal.Cli.Commands;

/// <summary>What <c>hadal train</c> and <c>hadal sft</c> share: where the run goes, and running it before a person's eyes.</summary>
internal sealed class TrainingRunOptions
{
    private readonly Option<string?> output = TypedOptions.Text("--output", "FOLDER", "The run's folder. [default: runs/NAME, by the recipe's name]");
    private readonly Option<int?> threads = TypedOptions.Integer("--threads", "Threads to compute with; no influence on the result. [default: all processors]", 1, 1024);
    private readonly Option<bool> json = TypedOptions.Flag("--json", "Print what came of it as one JSON object; no sample is generated.");

    /// <summary>Adds the options.</summary>
    public TrainingRunOptions(Command command)
    {
        command.Add(output);
        command.Add(threads);
        command.Add(json);
    }

    /// <summary>A recipe made of options, with settings over it.</summary>
    public static string Resolve(JsonObject recipe, string[] settings)
    {
        // Through a file, so that a made recipe is read like any other.
        var path = Path.Combine(Path.GetTempPath(), $"hadal-{Guid.NewGuid():N}.jsonc");
        File.WriteAllText(path, recipe.ToJsonString());
        try
        {
            return RecipeReader.Resolve(path, settings);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>Runs a recipe to its end, or until Ctrl-C.</summary>
    public int Run(ParseResult result, Terminal terminal, string resolved, string name, CancellationToken cancellation)
    {
        var folder = new RunFolder(result.GetValue(output) ?? Path.Combine("runs", name));
        var recipe = RecipeReader.Parse(resolved, name);
        using var pool = new KernelThreads(result.GetValue(threads));
        var evaluator = CheckpointScores.Of(recipe, pool, cancellation);
        RunResult done;
        using (var display = new RunDisplay(terminal, recipe.Run.ReportSteps))
        using (var run = TrainingRun.Open(resolved, folder, pool, display, display, evaluator, cancellation))
            done = run.Run(cancellation);
        if (!done.Finished)
        {
            throw new CommandException(
                string.Create(CultureInfo.InvariantCulture, $"interrupted after step {done.Step}; its checkpoint is {folder.Checkpoint(done.Step)}"), "the same command goes on from there", ExitCode.Interrupted);
        }

        if (result.GetValue(json))
        {
            terminal.Out.WriteLine(new JsonObject
            {
                ["model"] = folder.Model, ["steps"] = done.Step, ["tokens"] = done.Tokens, ["validation_loss"] = done.Validation?.Main, ["validation_bits_per_byte"] = done.Validation?.BitsPerByte,
                ["evaluation"] = done.Scores is { } scores ? new JsonObject(scores.Select(s => KeyValuePair.Create<string, JsonNode?>(s.Task, double.IsFinite(s.Score) ? s.Score : null))) : null,
            }.ToJsonString(JsonOutput.Compact));
            return ExitCode.Success;
        }

        terminal.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{folder.Model}: trained on {Display.Count(done.Tokens)} tokens in {done.Step} steps"));
        if (done.Validation is { } validation)
            terminal.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"held-out text: loss {validation.Main:0.0000}, {validation.BitsPerByte:0.0000} bits per byte"));
        terminal.Out.WriteLine($"plots: {Path.Combine(folder.Plots, "loss.png")}, {Path.Combine(folder.Plots, "expert-load.png")}");
        if (recipe.Run.SamplePrompt is { } prompt)
            Sample(terminal, folder, prompt, recipe.Run.SampleTokens, result.GetValue(threads), cancellation);
        return ExitCode.Success;
    }

    // With the engine that serves models, from the folder that was written: what is shown is what others will see.
    private static void Sample(Terminal terminal, RunFolder folder, string prompt, int tokens, int? threads, CancellationToken cancellation)
    {
        using var model = LoadedModel.Open(folder.Model, _ => tokens + 256, CacheFormat.F32, threads, dropMtp: false, terminal, repack: false, cancellation);
        var tokenizer = model.TokenizerOrNull()!;
        var ids = tokenizer.Encode(prompt, addBos: tokenizer.AddBos);
        using var engine = model.Engine(tokenizer, ids.Length + tokens, new ForwardOptions(), speculation: null);
        terminal.Out.WriteLine();
        var writer = new StreamingText(terminal);
        writer.Write(prompt);
        var request = new GenerationRequest { Prompt = ids, MaxNewTokens = tokens, Sampling = new SamplingOptions { Temperature = 0.5, Seed = 1 } };
        foreach (var step in engine.Generate(request, cancellation))
            writer.Write(step.Text);
        writer.EndLine();
        terminal.Notice($"more: hadal generate --model {folder.Model} --prompt \"{prompt}\"");
    }
}
