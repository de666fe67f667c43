using System.CommandLine;
using System.Text.Json;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Synthetic;
using Hadal.Cli.Terminals;
using Hadal.Inference.Benchmarks;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;
using Hadal.Training.Precision;
using Hadal.Training.Presets;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal bench</c>: the speed of a model, of a published shape with random weights, or of training steps, against what the machine allows.</summary>
internal static class BenchCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "bench",
            "Measure prefill and decoding against the memory bandwidth found in the same run; --shape needs no download, only memory.",
            "hadal bench --model path/to/model.gguf --prompt 512 --generate 64 --threads 2",
            "hadal bench --shape deepseek-v2-lite --format q4_k_m --prompt 512 --generate 64 --json",
            "hadal bench --training small --precision bf16 --threads 2");
        var model = TypedOptions.Text("--model", "MODEL", "A model folder (config.json and *.safetensors) or a .gguf file.");
        var shape = TypedOptions.Text("--shape", "NAME", $"Random weights of a published shape: {string.Join(", ", PublishedShapes.Names)}.");
        var training = TypedOptions.Text("--training", "NAME", $"Training steps of a shape with random weights: {string.Join(", ", Shapes.Names)}.");
        var precision = TypedOptions.OneOf<TrainingPrecision?>("--precision", "With --training: what matrix products read. [default: bf16]", ("bf16", TrainingPrecision.Bf16), ("fp32", TrainingPrecision.Fp32));
        var format = TypedOptions.Text("--format", "FORMAT", $"Format of the random weights: {string.Join(", ", FormatMix.Names)}. [default: q4_k_m]");
        var prompt = TypedOptions.Integer("--prompt", "Prompt tokens. [default: 512]", 1);
        var generate = TypedOptions.Integer("--generate", "Tokens to generate. [default: 64]", 2);
        var batch = TypedOptions.Integer("--batch", "Sequences at once. [default: 1]", 1, 1024);
        var threads = TypedOptions.Integer("--threads", "Threads to compute with. [default: all processors]", 1, 1024);
        var activations = TypedOptions.OneOf<ActivationPrecision?>(
            "--activations", "Precision of activations. [default: int8]", ("int8", ActivationPrecision.Int8), ("fp32", ActivationPrecision.F32), ("fp8", ActivationPrecision.Fp8));
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        foreach (var option in (Option[])[model, shape, training, precision, format, prompt, generate, batch, threads, activations, json])
            command.Add(option);
        command.ExactlyOneOf(model, shape, training);
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(training) is { } trained)
            {
                TrainingSteps.Measure(terminal, trained, result.GetValue(precision) ?? TrainingPrecision.Bf16, result.GetValue(threads), result.GetValue(json), cancellation);
                return Task.FromResult(ExitCode.Success);
            }

            var options = new ForwardOptions { Activations = result.GetValue(activations) ?? ActivationPrecision.Int8 };
            using var checkpoint = result.GetValue(model) is { } path
                ? Checkpoint.Open(path)
                : (Checkpoint)Synthetic(result.GetValue(shape)!, result.GetValue(format) ?? "q4_k_m", terminal, cancellation);
            using var pool = new KernelThreads(result.GetValue(threads));
            var (promptTokens, generated, sequences) = (result.GetValue(prompt) ?? 512, result.GetValue(generate) ?? 64, result.GetValue(batch) ?? 1);
            if (checkpoint is not SyntheticCheckpoint)
                MemoryPlan.For(checkpoint, checked((long)(promptTokens + generated) * sequences)).Check();
            var measured = new ModelBenchmark(checkpoint, new DeepSeek(checkpoint, dropMtp: true), pool, options).Run(promptTokens, generated, sequences, cancellation);
            if (result.GetValue(json))
                terminal.Out.WriteLine(JsonSerializer.Serialize(measured, JsonOutput.Snake));
            else
                Show(terminal, measured);
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static SyntheticCheckpoint Synthetic(string shape, string format, Terminal terminal, CancellationToken cancellation)
    {
        try
        {
            using var progress = new ProgressLine(terminal, "making random weights");
            return new SyntheticCheckpoint(PublishedShapes.Find(shape), FormatMix.Parse(format), progress: progress, cancellation: cancellation);
        }
        catch (ArgumentException unknown)
        {
            throw new CommandException(unknown.Message, "see 'hadal bench --help'");
        }
    }

    private static void Show(Terminal terminal, BenchmarkResult r)
    {
        terminal.Out.WriteLine($"prefill        {r.PrefillTokensPerSecond:0.0} tokens/s");
        terminal.Out.WriteLine($"decode         {r.DecodeTokensPerSecond:0.00} tokens/s (median step {r.MedianStepSeconds * 1e3:0.0} ms)");
        terminal.Out.WriteLine($"weights read   {r.WeightBytesPerToken / 1e9:0.000} GB a token");
        terminal.Out.WriteLine($"read bandwidth {r.ReadBandwidthGbS:0.0} GB/s ({r.ReadBandwidthBeforeGbS:0.0} before, {r.ReadBandwidthAfterGbS:0.0} after)");
        terminal.Out.WriteLine($"roofline       {r.RooflineFraction:0.00} of what that bandwidth allows");
        terminal.Out.WriteLine($"garbage        {r.GcBytesPerToken:0} managed bytes a step");
    }
}
