using System.CommandLine;
using System.Text.Json;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Conversion;
using Hadal.Checkpoints.Synthetic;
using Hadal.Cli.Terminals;
using Hadal.Inference.Benchmarks;
using Hadal.Inference.Model;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;
using Hadal.Training.Precision;
using Hadal.Training.Presets;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal bench</c>: the speed of a model, of a published shape with random weights, or of training steps, against what the machine allows.</summary>
internal static class BenchCommand
{
    private const string DefaultFormat = "q4_k_m";

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "bench",
            "Measure prefill and decoding against the memory bandwidth found in the same run; --shape needs no download, only memory.",
            "hadal bench --model path/to/model.gguf --prompt 512 --generate 64 --threads 2",
            "hadal bench --shape deepseek-v2-lite --format q4_k_m --prompt 512 --generate 64 --json",
            "hadal bench --model path/to/model.gguf --generate 12 --rounds 25 --plot rounds.png",
            "hadal bench --shape deepseek-v2-lite --context 8192,32768 --cache-type bf16 --plot roofline.png",
            "hadal bench --shape deepseek-v2-lite --advise",
            "hadal bench --training small --precision bf16 --threads 2");
        var model = TypedOptions.Text("--model", "MODEL", "A model folder (config.json and *.safetensors) or a .gguf file.");
        var shape = TypedOptions.Text("--shape", "NAME", $"Random weights of a published shape: {string.Join(", ", PublishedShapes.Names)} (cut to N layers).");
        var training = TypedOptions.Text("--training", "NAME", $"Training steps of a shape with random weights: {string.Join(", ", Shapes.Names)}.");
        var precision = TypedOptions.OneOf<TrainingPrecision?>("--precision", "With --training: what matrix products read. [default: bf16]", ("bf16", TrainingPrecision.Bf16), ("fp32", TrainingPrecision.Fp32));
        var from = TypedOptions.Text("--from", "FILE", "Show, or plot, what an earlier run printed with --json; nothing is measured.");
        var format = TypedOptions.Text("--format", "FORMAT", $"Format of the random weights: {string.Join(", ", FormatMix.Names)}. [default: {DefaultFormat}]");
        var prompt = TypedOptions.Integer("--prompt", "Prompt tokens. [default: 512]", 1);
        var generate = TypedOptions.Integer("--generate", "Tokens to generate. [default: 64]", 2);
        var rounds = TypedOptions.Integer("--rounds", "Decode them so often, with the bandwidth measured between: on a machine where it changes, single rounds say more. [default: 1]", 1, 10000);
        var batch = TypedOptions.Integer("--batch", "Sequences at once, each with its own prompt. [default: 1]", 1, 1024);
        var contexts = TypedOptions.Integers("--context", "Measure attention behind so many cached tokens, too: 8192,32768.", 1);
        var threads = TypedOptions.Integer("--threads", "Threads to compute with. [default: all processors]", 1, 1024);
        var activations = ModelOptions.ActivationPrecisions(ActivationPrecision.Int8);
        var cacheType = ModelOptions.CacheTypes();
        var noRepack = ModelOptions.NoRepack();
        var save = TypedOptions.Text("--save", "FILE", "With --shape: write the random weights, with a made-up vocabulary, as a GGUF file, and measure nothing.");
        var wholeKvB = TypedOptions.Flag("--whole-kv-b", "With --save: keep the key/value up-projection in one tensor, as ik_llama.cpp wants it.");
        var dropMtp = TypedOptions.Flag("--drop-mtp", "With --save: leave the multi-token prediction modules out.");
        var advise = TypedOptions.Flag("--advise", "Measure nothing: say in which formats the model fits this machine, and with how long a context.");
        var plot = TypedOptions.Text("--plot", "FILE", "Draw the figures under the roofs of memory and arithmetic, or with --rounds each round beside its bandwidth: FILE.png or FILE.svg.");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        foreach (var option in (Option[])[model, shape, training, precision, from, format, prompt, generate, rounds, batch, contexts, threads, activations, cacheType, noRepack, save, wholeKvB, dropMtp, advise, plot, json])
            command.Add(option);
        var drafts = new DraftOptions(command);
        command.ExactlyOneOf(model, shape, training, from);
        command.AtMostOneOf(save, advise);
        command.Validators.Add(result =>
        {
            bool Given(Option option) => result.GetResult(option) is { Implicit: false };
            if (!Given(shape) && Given(save))
                result.AddError("--save goes with --shape only");
            if (result.GetValue(plot) is { } file && !BenchPlot.CanWrite(file))
                result.AddError($"--plot: expected a file that ends with .png or .svg, found '{file}'");
        });
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(training) is { } trained)
            {
                TrainingSteps.Measure(terminal, trained, result.GetValue(precision) ?? TrainingPrecision.Bf16, result.GetValue(threads), result.GetValue(json), cancellation);
                return Task.FromResult(ExitCode.Success);
            }

            BenchmarkResult Measure(Checkpoint checkpoint, bool fromFile)
            {
                var options = new ForwardOptions { Activations = result.GetValue(activations) ?? ActivationPrecision.Int8, Cache = result.GetValue(cacheType) };
                using var pool = new KernelThreads(result.GetValue(threads));
                var plan = new BenchmarkPlan
                {
                    PromptTokens = result.GetValue(prompt) ?? 512, GenerateTokens = result.GetValue(generate) ?? 64, Rounds = result.GetValue(rounds) ?? 1,
                    Batch = result.GetValue(batch) ?? 1, Contexts = result.GetValue(contexts) ?? [], FirstToken = fromFile,
                };
                var memory = MemoryPlan.For(checkpoint, ModelBenchmark.CacheTokens(plan), options.Cache);
                using var repacked = RepackedWeights.Plan(checkpoint, memory, pool, options.HasIntegerActivations && !result.GetValue(noRepack));
                ModelOptions.SayWhatIsMissing(options.Activations, terminal);
                if (options.Activations == ActivationPrecision.Int8 && MostAreRounded(checkpoint))
                    terminal.Notice("BF16 and FP8 weights are multiplied with fp32 activations; with --activations bf16 this processor is faster");
                var speculation = drafts.Read(result);
                DeepSeek deepSeek;
                using (var loading = new ProgressLine(terminal, (fromFile ? "loading" : "making random weights") + LoadedModel.Copying(repacked)))
                    deepSeek = new DeepSeek(checkpoint, dropMtp: speculation is null, loading, repacked, cancellation);
                BenchmarkResult measured;
                using (var progress = new ProgressLine(terminal, "decoding rounds"))
                    measured = new ModelBenchmark(checkpoint, deepSeek, pool, options).Run(plan, plan.Rounds > 1 ? progress : null, cancellation);
                if (measured.Rounds.Count < plan.Rounds && plan.Rounds > 1)
                    terminal.Notice($"interrupted: this is what {measured.Rounds.Count} of {plan.Rounds} rounds found");
                else if (measured.Contexts.Count < plan.Contexts.Count)
                    terminal.Notice($"interrupted: {measured.Contexts.Count} of {plan.Contexts.Count} contexts were measured");
                return speculation is null || cancellation.IsCancellationRequested
                    ? measured
                    : measured with { Speculation = new SpeculationBenchmark(deepSeek, pool, options).Run(speculation, plan.PromptTokens, plan.GenerateTokens, cancellation) };
            }

            if (result.GetValue(advise))
            {
                BenchReport.Advise(terminal, Advice(result.GetValue(model), result.GetValue(shape)), result.GetValue(json));
                return Task.FromResult(ExitCode.Success);
            }

            BenchmarkResult figures;
            if (result.GetValue(from) is { } earlier)
            {
                figures = BenchReport.Read(earlier);
            }
            else if (result.GetValue(model) is { } path)
            {
                using var checkpoint = Checkpoint.Open(path);
                figures = Measure(checkpoint, fromFile: true);
            }
            else
            {
                // A module that is neither saved nor drafts would only take memory.
                var withMtp = result.GetValue(save) is not null || drafts.Read(result) is not null;
                using var checkpoint = Synthetic(result.GetValue(shape)!, result.GetValue(format) ?? DefaultFormat, withMtp);
                if (result.GetValue(save) is { } file)
                {
                    using var pool = new KernelThreads(result.GetValue(threads));
                    var options = new GgufConversionOptions
                    {
                        Type = null, SplitUpProjection = !result.GetValue(wholeKvB), IncludeMtp = !result.GetValue(dropMtp), Name = $"{result.GetValue(shape)}, {checkpoint.Path}",
                    };
                    ConversionReport report;
                    using (var writing = new ProgressLine(terminal, "writing"))
                        report = GgufConversion.Run(checkpoint, file, options, pool, new ConversionSteps(writing), cancellation);
                    terminal.Notice($"{file}: {report.Tensors.Count} tensors, {Display.Bytes(report.ByteLength)} of random weights");
                    return Task.FromResult(ExitCode.Success);
                }

                figures = Measure(checkpoint, fromFile: false) with { Model = $"{result.GetValue(shape)}, {checkpoint.Path}" };
            }

            if (result.GetValue(json))
                terminal.Out.WriteLine(JsonSerializer.Serialize(figures, JsonOutput.Snake));
            else
                BenchReport.Show(terminal, figures);
            if (result.GetValue(plot) is { } picture)
            {
                BenchPlot.Write(picture, figures);
                terminal.Notice($"{picture}: {(figures.Rounds.Count > 0 ? "the rounds beside their bandwidth" : "the figures under their roofs")}");
            }

            return Task.FromResult(cancellation.IsCancellationRequested ? ExitCode.Interrupted : ExitCode.Success);
        });
        return command;
    }

    // Whether most weights could be multiplied with activations in bfloat16.
    private static bool MostAreRounded(Checkpoint checkpoint) =>
        checkpoint.Tensors.Sum(static tensor => BfloatMatMul.Has(tensor.Format) ? 2 * tensor.ByteLength : 0) > checkpoint.Tensors.Sum(static tensor => tensor.ByteLength);

    private static IReadOnlyList<MemoryAdvice> Advice(string? model, string? shape)
    {
        if (shape is not null)
            return Known(() => MemoryAdvice.For(PublishedShapes.Find(shape)));
        if (model is null)
            throw new CommandException("--advise: expected --model or --shape, found --from", "see 'hadal bench --help'", ExitCode.Usage);
        using var checkpoint = Checkpoint.Open(model);
        return [MemoryAdvice.For(checkpoint), .. MemoryAdvice.For(checkpoint.Config)];
    }

    private static SyntheticCheckpoint Synthetic(string shape, string format, bool withMtp) => Known(() =>
    {
        var (config, mix) = (PublishedShapes.Find(shape), FormatMix.Parse(format));
        return new SyntheticCheckpoint(withMtp ? config : config with { NumNextnPredictLayers = 0 }, mix);
    });

    private static T Known<T>(Func<T> make)
    {
        try
        {
            return make();
        }
        catch (ArgumentException unknown)
        {
            throw new CommandException(unknown.Message, "see 'hadal bench --help'");
        }
    }
}
