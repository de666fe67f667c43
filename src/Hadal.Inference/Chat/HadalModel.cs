using Hadal.Checkpoints;
using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Cache;
using Hadal.Inference.Engine;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Chat;

/// <summary>How to load a model.</summary>
public sealed record HadalModelOptions
{
    /// <summary>Threads to compute with; null for one per processor. No influence on results.</summary>
    public int? Threads { get; init; }

    /// <summary>Memory, batching, speculation, arithmetic.</summary>
    public EngineOptions Engine { get; init; } = new();

    /// <summary>
    /// Whether weights in integer formats are copied at load into an order that this processor multiplies faster, where there is one (AVX2) and memory for it;
    /// the file's pages are given back. Where the system has huge pages for all of them, they are copied into these, and so are weights of other formats. No influence on results.
    /// </summary>
    public bool Repack { get; init; } = true;

    /// <summary>
    /// Folder that the prefix cache is kept in from one run to the next, so that conversations are found again: read at load, written when the engine stops, a file for each
    /// model and arithmetic (<see cref="ModelFingerprint"/>). Null for none. The files hold what was said.
    /// </summary>
    public string? PrefixCacheFolder { get; init; }

    /// <summary>Makes <see cref="PrefixCacheFolder"/>, if there is to be one. Loading does it, too; a program that loads later learns sooner that it cannot be.</summary>
    /// <exception cref="IOException">It cannot be made, or no file can be made in it.</exception>
    public void MakePrefixCacheFolder()
    {
        try
        {
            if (PrefixCacheFolder is null)
                return;
            Directory.CreateDirectory(PrefixCacheFolder);
            using var probe = new FileStream(Path.Combine(PrefixCacheFolder, $"{Guid.NewGuid():N}.probe"), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new IOException($"{PrefixCacheFolder}: expected a folder for the prefix cache that can be written to, or a place where one can be made: {e.Message}", e);
        }
    }

    /// <summary>Name of the chat template; null for the model's own. See <see cref="ChatTemplates.All"/>.</summary>
    public string? ChatTemplate { get; init; }
}

/// <summary>
/// A model ready to serve: files mapped (weights are copied only where <see cref="HadalModelOptions.Repack"/> says), tokenizer, chat template, engine. Any number of chat clients share one. Safe for use
/// from several threads.
/// </summary>
public sealed class HadalModel : IDisposable
{
    private readonly KernelThreads threads;
    private readonly RepackedWeights? repacked;

    private HadalModel(Checkpoint checkpoint, MemoryPlan plan, Tokenizer tokenizer, ChatTemplate template, HadalModelOptions options, IProgress<double>? progress, Action<string>? notice, CancellationToken cancellation)
    {
        Checkpoint = checkpoint;
        Tokenizer = tokenizer;
        Template = template;
        threads = new KernelThreads(options.Threads);
        try
        {
            repacked = RepackedWeights.Plan(checkpoint, plan, threads, options.Repack && options.Engine.Forward.HasIntegerActivations);
            var model = new DeepSeek(checkpoint, progress: progress, repacked: repacked, cancellation: cancellation);
            Engine = new InferenceEngine(model, tokenizer, threads, options.Engine);
            if (options.PrefixCacheFolder is { } folder)
                KeepPrefixes(folder, options.Engine.Forward, notice ?? (static _ => { }));
        }
        catch
        {
            Engine?.Dispose();
            repacked?.Dispose();
            threads.Dispose();
            throw;
        }
    }

    /// <summary>The files.</summary>
    public Checkpoint Checkpoint { get; }

    /// <summary>Text to ids and back.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>The prompt format.</summary>
    public ChatTemplate Template { get; }

    /// <summary>What generates.</summary>
    public InferenceEngine Engine { get; }

    /// <summary>Opens a model folder or a .gguf file.</summary>
    /// <param name="path">The folder or file.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="progress">Told the fraction of layers done.</param>
    /// <param name="notice">Told in one line why a saved prefix cache is not used, or could not be written.</param>
    /// <param name="cancellation">Ends the work early.</param>
    /// <exception cref="IOException">It is not there or cannot be opened, or the folder of the prefix cache cannot be made.</exception>
    /// <exception cref="InvalidDataException">A file is damaged or not supported, or the model has no tokenizer or no known chat template.</exception>
    /// <exception cref="InsufficientMemoryException">Weights and cache do not fit this machine.</exception>
    public static HadalModel Load(string path, HadalModelOptions? options = null, IProgress<double>? progress = null, Action<string>? notice = null, CancellationToken cancellation = default)
    {
        options ??= new HadalModelOptions();
        options.MakePrefixCacheFolder();
        var tokenizer = Tokenizer.OfModel(path) ?? throw new InvalidDataException($"{path}: expected a tokenizer, found none");
        var template = ChatTemplates.Choose(tokenizer, options.ChatTemplate);
        var checkpoint = Checkpoint.Open(path);
        try
        {
            var plan = MemoryPlan.For(checkpoint, options.Engine.CacheTokens, options.Engine.Forward.Cache);
            return new HadalModel(checkpoint, plan, tokenizer, template, options, progress, notice, cancellation);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>A client on this model; the model must outlive it.</summary>
    public HadalChatClient CreateChatClient() => new(Engine, Tokenizer, Template, Path.GetFileName(Path.TrimEndingDirectorySeparator(Checkpoint.Path)));

    /// <summary>Stops the engine, which saves its prefixes, and unmaps the files.</summary>
    public void Dispose()
    {
        Engine.Dispose();
        repacked?.Dispose();
        threads.Dispose();
        Checkpoint.Dispose();
    }

    // What cannot be read is said and written anew at the end: it is a cache.
    private void KeepPrefixes(string folder, ForwardOptions forward, Action<string> notice)
    {
        const int NameLength = 16;
        var fingerprint = ModelFingerprint.Compute(Checkpoint, forward);
        var path = Path.Combine(folder, $"{Convert.ToHexStringLower(fingerprint)[..NameLength]}.prefixes");
        try
        {
            if (File.Exists(path) && Engine.RestorePrefixesAsync(path, fingerprint).GetAwaiter().GetResult() is { } refusal)
                notice(refusal);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            notice($"{path}: the saved prefix cache is not used: {e.Message}");
        }

        Engine.SavePrefixesAtEnd(path, fingerprint, notice);
    }
}
