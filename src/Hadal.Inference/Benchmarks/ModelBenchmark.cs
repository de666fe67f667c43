using System.Diagnostics;
using Hadal.Checkpoints;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Benchmarks;

/// <summary>What a measurement found; names as <c>hadal bench --json</c> prints them, in snake case.</summary>
public sealed record BenchmarkResult
{
    /// <summary>Prompt tokens of all sequences per second.</summary>
    public required double PrefillTokensPerSecond { get; init; }

    /// <summary>Generated tokens of all sequences per second.</summary>
    public required double DecodeTokensPerSecond { get; init; }

    /// <summary>Weight bytes that one decoding step reads, divided by the tokens it decodes.</summary>
    public required double WeightBytesPerToken { get; init; }

    /// <summary>Read bandwidth of all workers together, the mean of before and after, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthGbS { get; init; }

    /// <summary>Decoding's rate of reading weights over the read bandwidth.</summary>
    public required double RooflineFraction { get; init; }

    /// <summary>Managed bytes allocated for each decoding step.</summary>
    public required double GcBytesPerToken { get; init; }

    /// <summary>Seconds of a step with one token, the median.</summary>
    public required double MedianStepSeconds { get; init; }

    /// <summary>Read bandwidth before, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthBeforeGbS { get; init; }

    /// <summary>Read bandwidth after, in 10^9 bytes per second.</summary>
    public required double ReadBandwidthAfterGbS { get; init; }
}

/// <summary>Measures prefill and decoding of a model against the memory bandwidth found in the same run.</summary>
public sealed class ModelBenchmark
{
    private const int PrefillChunk = 512;
    private const int Seed = 11;

    private readonly Checkpoint checkpoint;
    private readonly DeepSeek model;
    private readonly KernelThreads threads;
    private readonly ForwardOptions options;

    /// <summary>Prepares a measurement.</summary>
    /// <param name="checkpoint">The model's checkpoint.</param>
    /// <param name="model">The model.</param>
    /// <param name="threads">Workers to run on.</param>
    /// <param name="options">Arithmetic choices.</param>
    public ModelBenchmark(Checkpoint checkpoint, DeepSeek model, KernelThreads threads, ForwardOptions options)
    {
        this.checkpoint = checkpoint;
        this.model = model;
        this.threads = threads;
        this.options = options;
    }

    /// <summary>Runs the measurement.</summary>
    /// <param name="promptTokens">Tokens of each prompt, random ids.</param>
    /// <param name="generateTokens">Decoding steps.</param>
    /// <param name="sequences">Sequences decoded together.</param>
    /// <param name="cancellation">Ends it between two steps.</param>
    public BenchmarkResult Run(int promptTokens, int generateTokens, int sequences = 1, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(promptTokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(generateTokens, 2);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(sequences);
        var random = new Random(Seed);
        var pageTokens = (promptTokens + generateTokens + 64 + 63) / 64 * 64;
        using var pool = new CachePool(model.Config, checked(pageTokens * sequences));
        var caches = Enumerable.Range(0, sequences).Select(_ => new SequenceCache(pool)).ToArray();
        try
        {
            var context = new ForwardContext(threads, options);
            var batch = new ForwardBatch();

            // Warm-up: code, page tables and scratch memory; then start afresh.
            Prefill(caches[0], RandomTokens(random, Math.Min(32, promptTokens)), batch, context);
            Step(caches, new int[sequences], batch, context);
            foreach (var cache in caches)
                cache.Truncate(0);

            var before = ReadBandwidth.Measure(threads) / 1e9;
            var start = Stopwatch.GetTimestamp();
            foreach (var cache in caches)
            {
                cancellation.ThrowIfCancellationRequested();
                Prefill(cache, RandomTokens(random, promptTokens), batch, context);
            }

            var prefillSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            var touched = TouchedBytes(caches, RandomTokens(random, sequences), batch);
            var (decodeSeconds, steps, allocated) = Decode(caches, random, generateTokens, batch, context, cancellation);
            var after = ReadBandwidth.Measure(threads) / 1e9;
            var bandwidth = (before + after) / 2;
            return new BenchmarkResult
            {
                PrefillTokensPerSecond = (double)promptTokens * sequences / prefillSeconds,
                DecodeTokensPerSecond = (double)generateTokens * sequences / decodeSeconds,
                WeightBytesPerToken = touched / sequences,
                ReadBandwidthGbS = bandwidth,
                RooflineFraction = touched * generateTokens / decodeSeconds / (bandwidth * 1e9),
                GcBytesPerToken = (double)allocated / generateTokens,
                MedianStepSeconds = steps[steps.Length / 2],
                ReadBandwidthBeforeGbS = before,
                ReadBandwidthAfterGbS = after,
            };
        }
        finally
        {
            foreach (var cache in caches)
                cache.Dispose();
        }
    }

    /// <summary>Weight bytes of everything a token passes in any case (without embedding and routed experts), and of one routed expert in each layer.</summary>
    private static (double Always, Dictionary<int, double> Expert) WeightBytes(Checkpoint checkpoint)
    {
        var always = 0.0;
        var expert = new Dictionary<int, double>();
        var config = checkpoint.Config;
        foreach (var tensor in checkpoint.Tensors)
        {
            var parts = tensor.Name.Split('.');
            var layer = parts.Length > 2 && parts[1] == "layers" ? int.Parse(parts[2], System.Globalization.CultureInfo.InvariantCulture) : -1;
            if (layer >= config.NumHiddenLayers || (tensor.Name == "model.embed_tokens.weight" && !config.TieWordEmbeddings))
                continue;
            if (parts.Length > 4 && parts[4] == "experts")
                expert[layer] = expert.GetValueOrDefault(layer) + ((double)tensor.ByteLength / config.NRoutedExperts);
            else
                always += tensor.ByteLength;
        }

        return (always, expert);
    }

    private int[] RandomTokens(Random random, int count)
    {
        var tokens = new int[count];
        foreach (ref var t in tokens.AsSpan())
            t = random.Next(model.Config.VocabSize);
        return tokens;
    }

    private void Prefill(SequenceCache cache, int[] tokens, ForwardBatch batch, ForwardContext context)
    {
        for (var at = 0; at < tokens.Length; at += PrefillChunk)
        {
            var count = Math.Min(PrefillChunk, tokens.Length - at);
            batch.Clear();
            batch.Add(cache, tokens.AsSpan(at, count), at + count == tokens.Length ? LogitRequest.Last : LogitRequest.None);
            model.Forward(batch, context);
        }
    }

    private void Step(SequenceCache[] caches, int[] tokens, ForwardBatch batch, ForwardContext context)
    {
        batch.Clear();
        for (var i = 0; i < caches.Length; i++)
            batch.Add(caches[i], tokens.AsSpan(i, 1), LogitRequest.Last);
        model.Forward(batch, context);
    }

    private (double Seconds, double[] SortedSteps, long Allocated) Decode(
        SequenceCache[] caches, Random random, int count, ForwardBatch batch, ForwardContext context, CancellationToken cancellation)
    {
        var tokens = RandomTokens(random, caches.Length * count);
        var step = new int[caches.Length];
        var times = new double[count];
        var allocated = GC.GetTotalAllocatedBytes();
        var begin = Stopwatch.GetTimestamp();
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            var start = Stopwatch.GetTimestamp();
            tokens.AsSpan(i * caches.Length, caches.Length).CopyTo(step);
            Step(caches, step, batch, context);
            times[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        var seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        allocated = GC.GetTotalAllocatedBytes() - allocated;
        Array.Sort(times);
        return (seconds, times, allocated);
    }

    // One more step, watched: which experts do the sequences touch together?
    private double TouchedBytes(SequenceCache[] caches, int[] tokens, ForwardBatch batch)
    {
        var probe = new ExpertCount();
        Step(caches, tokens, batch, new ForwardContext(threads, options, probe));
        foreach (var cache in caches)
            cache.Truncate(cache.Length - 1);
        var (always, expert) = WeightBytes(checkpoint);
        return always + probe.Distinct.Sum(entry => entry.Value * expert.GetValueOrDefault(entry.Key));
    }

    private sealed class ExpertCount : IForwardProbe
    {
        public Dictionary<int, int> Distinct { get; } = [];

        public void Tensor(string name, int layer, ReadOnlySpan<float> values)
        {
        }

        public void Routing(int layer, ReadOnlySpan<int> ids, ReadOnlySpan<float> weights) => Distinct[layer] = new HashSet<int>(ids.ToArray()).Count;
    }
}
