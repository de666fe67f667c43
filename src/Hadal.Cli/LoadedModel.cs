using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Tokenization;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Inference.Engine;
using Hadal.Inference.Model;
using Hadal.Inference.Speculation;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Cli;

/// <summary>A model that is open and ready to run, with the threads to run it on.</summary>
internal sealed class LoadedModel : IDisposable
{
    private readonly RepackedWeights? repacked;

    private LoadedModel(Checkpoint checkpoint, DeepSeek model, KernelThreads threads, RepackedWeights? repacked)
    {
        Checkpoint = checkpoint;
        Model = model;
        Threads = threads;
        this.repacked = repacked;
    }

    /// <summary>The files.</summary>
    public Checkpoint Checkpoint { get; }

    /// <summary>What the model is.</summary>
    public ModelConfig Config => Checkpoint.Config;

    /// <summary>The model.</summary>
    public DeepSeek Model { get; }

    /// <summary>The threads.</summary>
    public KernelThreads Threads { get; }

    /// <summary>Opens a model: says what memory it will take, refuses what does not fit, shows progress.</summary>
    /// <param name="path">Folder or file.</param>
    /// <param name="cacheTokens">Tokens of cache to reckon with, given the model's context.</param>
    /// <param name="cache">How the cache is going to be stored.</param>
    /// <param name="threads">Threads to run on, or null for all processors.</param>
    /// <param name="dropMtp">Whether MTP modules are left out.</param>
    /// <param name="terminal">Where notices go.</param>
    /// <param name="repack">Whether weights may be copied into an order that this processor multiplies faster with 8-bit activations.</param>
    /// <param name="cancellation">Ends the work early.</param>
    public static LoadedModel Open(string path, Func<ModelConfig, int> cacheTokens, CacheFormat cache, int? threads, bool dropMtp, Terminal terminal, bool repack, CancellationToken cancellation)
    {
        var checkpoint = Checkpoint.Open(path);
        KernelThreads? pool = null;
        RepackedWeights? copies = null;
        try
        {
            foreach (var assumption in checkpoint.Config.Assumptions)
                terminal.Notice($"assumed: {assumption}");
            var plan = MemoryPlan.For(checkpoint, cacheTokens(checkpoint.Config), cache);
            terminal.Notice($"weights {Display.Bytes(plan.WeightBytes)}, cache {Display.Bytes(plan.CacheBytes)} for {plan.CacheTokens} tokens; {Display.Bytes(plan.AvailableBytes)} available");
            pool = new KernelThreads(threads);
            copies = RepackedWeights.Plan(checkpoint, plan, pool, repack);
            if (copies is not null)
                terminal.Notice(copies.InHugePages ? "copying weights into huge pages" : "repacking weights into the order that this processor multiplies fastest");
            using var progress = new ProgressLine(terminal, "loading" + Copying(copies));
            return new LoadedModel(checkpoint, new DeepSeek(checkpoint, dropMtp, progress, copies, cancellation), pool, copies);
        }
        catch
        {
            copies?.Dispose();
            pool?.Dispose();
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>What a line of progress says of copies that are made while a model is loaded.</summary>
    public static string Copying(RepackedWeights? copies) => copies switch
    {
        null => string.Empty,
        { InHugePages: true } => " and copying",
        _ => " and repacking",
    };

    /// <summary>The model's tokenizer, or null where it has none.</summary>
    public Tokenizer? TokenizerOrNull() => ModelTokenizer.OpenOrNull(Checkpoint.Path);

    /// <summary>An engine on this model, for one conversation.</summary>
    /// <param name="tokenizer">For text, or null for ids alone.</param>
    /// <param name="contextTokens">Tokens of prompt and output together.</param>
    /// <param name="options">Arithmetic choices.</param>
    /// <param name="speculation">Speculative decoding, or null.</param>
    public InferenceEngine Engine(Tokenizer? tokenizer, int contextTokens, ForwardOptions options, SpeculationOptions? speculation) => new(
        Model, tokenizer, Threads, new EngineOptions { CacheTokens = Math.Min(contextTokens, Config.MaxPositionEmbeddings), Forward = options, Speculation = speculation, SidePart = 0 });

    /// <inheritdoc/>
    public void Dispose()
    {
        repacked?.Dispose();
        Threads.Dispose();
        Checkpoint.Dispose();
    }
}
