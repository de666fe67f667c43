using System.Diagnostics;
using System.Runtime;
using Hadal.Checkpoints;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Benchmarks;

/// <summary>Measures prefill and decoding of a model against the memory bandwidth found in the same run.</summary>
public sealed class ModelBenchmark
{
    private const int PrefillChunk = 512;
    private const int FirstPrompt = 32;
    private const int Seed = 11;

    // The runtime compiles a method anew after thirty calls, once nothing new has been called for a tenth of a second.
    private const int StepsToSettle = 32;
    private static readonly TimeSpan Settled = TimeSpan.FromSeconds(0.4);
    private static readonly TimeSpan LongestSettling = TimeSpan.FromSeconds(4);

    private readonly Checkpoint checkpoint;
    private readonly DeepSeek model;
    private readonly KernelThreads threads;
    private readonly ForwardOptions options;
    private readonly ForwardBatch batch = new();
    private readonly WorkerAllocations allocations;

    /// <summary>Prepares a measurement.</summary>
    /// <param name="checkpoint">The model's checkpoint.</param>
    /// <param name="model">The model.</param>
    /// <param name="threads">Workers to run on.</param>
    /// <param name="options">Arithmetic choices.</param>
    public ModelBenchmark(Checkpoint checkpoint, DeepSeek model, KernelThreads threads, ForwardOptions options)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(threads);
        ArgumentNullException.ThrowIfNull(options);
        this.checkpoint = checkpoint;
        this.model = model;
        this.threads = threads;
        this.options = options;
        allocations = new WorkerAllocations(threads);
    }

    /// <summary>Tokens of cache that a plan needs at once.</summary>
    public static int CacheTokens(BenchmarkPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var each = (plan.PromptTokens + plan.GenerateTokens + 64 + 63) / 64 * 64;
        return Math.Max(checked(each * plan.Batch), plan.Contexts.Select(ContextBenchmark.CacheTokens).DefaultIfEmpty().Max());
    }

    /// <summary>Runs the measurement.</summary>
    /// <param name="plan">What to measure.</param>
    /// <param name="progress">Told which part of the rounds is done, between two of them.</param>
    /// <param name="cancellation">Ends it between two steps: the rounds and contexts that are whole by then are the result; where no round is, it throws.</param>
    public BenchmarkResult Run(BenchmarkPlan plan, IProgress<double>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(plan);
        plan.Validate();
        var firstToken = plan.FirstToken ? FirstToken() : (double?)null;

        // Its scratch memory would be counted beside that of what follows.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        var random = new Random(Seed);
        using var pool = new CachePool(model.Config, CacheTokens(plan with { Contexts = [] }), format: options.Cache);
        var caches = Enumerable.Range(0, plan.Batch).Select(_ => new SequenceCache(pool)).ToArray();
        try
        {
            var traffic = new WeightTraffic(checkpoint);
            var context = new ForwardContext(threads, options, traffic);

            // Warm-up: page tables, code and scratch memory.
            foreach (var tensor in checkpoint.Tensors.Where(t => t.Shape.Count == 2 && !model.IsRepacked))
                ReadBandwidth.Touch(checkpoint.Matrix(tensor.Name, (int)tensor.Shape[0], (int)tensor.Shape[1]), threads);
            Prefill(caches[0], RandomTokens(random, Math.Min(PrefillChunk, plan.PromptTokens)), context);
            Settle(caches, context, cancellation);

            // What measuring the bandwidth takes is not the model's: so the peak is read before it, and what there is without it once everything has been used.
            var memory = Memory(peak: true);
            using var bandwidths = new ReadBandwidth(threads);
            var before = bandwidths.Measure() / 1e9;
            var plain = new List<double> { bandwidths.MeasurePlain() / 1e9 };
            var start = Stopwatch.GetTimestamp();
            foreach (var cache in caches)
            {
                cancellation.ThrowIfCancellationRequested();
                Prefill(cache, RandomTokens(random, plan.PromptTokens), context);
            }

            var prefillSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            var rounds = new List<Round>();
            while (rounds.Count < plan.Rounds)
            {
                foreach (var cache in caches)
                    cache.Truncate(plan.PromptTokens);
                if (Decode(caches, random, plan.GenerateTokens, traffic, context, cancellation) is not { } round)
                    break;
                memory = Math.Max(memory, Memory(peak: false) - bandwidths.ByteLength);
                rounds.Add(round with { Before = rounds.Count == 0 ? before : rounds[^1].After, After = bandwidths.Measure() / 1e9 });
                plain.Add(bandwidths.MeasurePlain() / 1e9);
                progress?.Report((double)rounds.Count / plan.Rounds);
            }

            if (rounds.Count == 0)
                cancellation.ThrowIfCancellationRequested();

            var bandwidth = rounds.Average(static r => r.Bandwidth);
            var weightBytes = rounds.Average(static r => r.WeightBytes);
            var seconds = rounds.Sum(static r => r.Seconds);
            double[] steps = [.. rounds.SelectMany(static r => r.Steps).Order()];
            var peak = ArithmeticPeak.Measure(threads);
            var rate = (double)steps.Length * plan.Batch / seconds;
            var wall = bandwidth * 1e9 / weightBytes * plan.Batch;
            return new BenchmarkResult
            {
                Model = checkpoint.Path,
                Threads = threads.Count,
                Activations = options.Activations.ToString().ToLowerInvariant(),
                Repacked = model.IsRepacked,
                HugePagesBytes = HugePages.OwnBytes,
                HugePagesWanted = options.HasIntegerActivations ? RepackedWeights.HugePagesFor(MemoryPlan.For(checkpoint, CacheTokens(plan), options.Cache)) : 0,
                CacheType = options.Cache.ToString().ToLowerInvariant(),
                PromptTokens = plan.PromptTokens,
                GenerateTokens = plan.GenerateTokens,
                Batch = plan.Batch,
                PrefillTokensPerSecond = (double)plan.PromptTokens * plan.Batch / prefillSeconds,
                DecodeTokensPerSecond = rate,
                WeightBytesPerStep = weightBytes,
                WeightBytesPerToken = weightBytes / plan.Batch,
                ReadBandwidthGbS = bandwidth,
                ReadBandwidthBeforeGbS = before,
                ReadBandwidthAfterGbS = rounds[^1].After,
                PlainReadBandwidthGbS = plain.Average(),
                WallTokensPerSecond = wall,
                RooflineFraction = rate / wall,
                GcBytesPerToken = (double)rounds.Sum(static r => r.Allocated) / steps.Length,
                MedianStepSeconds = steps[steps.Length / 2],
                AttentionFraction = rounds.Sum(static r => r.Attention) / seconds,
                Rounds = plan.Rounds == 1 ? [] : [.. rounds.Select(r => r.Result(plan.GenerateTokens * plan.Batch))],
                PeakGflops = peak / 1e9,
                ActivatedParameters = ParameterCount.Of(checkpoint).Activated,
                WeightsBytes = checkpoint.Tensors.Sum(t => t.ByteLength),
                CacheBytes = pool.ByteLength,
                FirstTokenSeconds = firstToken,
                Contexts = rounds.Count < plan.Rounds ? [] : Contexts(plan, bandwidth * 1e9, peak, cancellation),
                PeakRssBytes = memory,
            };
        }
        finally
        {
            foreach (var cache in caches)
                cache.Dispose();
        }
    }

    private static long Memory(bool peak)
    {
        using var process = Process.GetCurrentProcess();

        // What was copied into huge pages has been in ordinary ones before, which the peak of these counts.
        var own = HugePages.OwnBytes;
        return peak && own == 0 ? process.PeakWorkingSet64 : process.WorkingSet64 + own;
    }

    private List<ContextResult> Contexts(BenchmarkPlan plan, double bandwidth, double peak, CancellationToken cancellation)
    {
        var benchmark = new ContextBenchmark(model, threads, options);
        var results = new List<ContextResult>();
        try
        {
            foreach (var context in plan.Contexts)
                results.Add(benchmark.Run(context, bandwidth, peak, cancellation));
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // What was measured before is the result.
        }

        return results;
    }

    // Everything that a user waits for before the first word: the runtime's start, opening the files, compilation, touching the weights.
    private double FirstToken()
    {
        using var pool = new CachePool(model.Config, FirstPrompt, format: options.Cache);
        using var cache = new SequenceCache(pool);
        Prefill(cache, RandomTokens(new Random(Seed), FirstPrompt), new ForwardContext(threads, options));
        using var process = Process.GetCurrentProcess();
        return (TimeProvider.System.GetUtcNow().UtcDateTime - process.StartTime.ToUniversalTime()).TotalSeconds;
    }

    private int[] RandomTokens(Random random, int count)
    {
        var tokens = new int[count];
        foreach (ref var t in tokens.AsSpan())
            t = random.Next(model.Config.VocabSize);
        return tokens;
    }

    private void Prefill(SequenceCache cache, int[] tokens, ForwardContext context)
    {
        for (var at = 0; at < tokens.Length; at += PrefillChunk)
        {
            var count = Math.Min(PrefillChunk, tokens.Length - at);
            batch.Clear();
            batch.LogitsOnly = true;
            batch.Add(cache, tokens.AsSpan(at, count), at + count == tokens.Length ? LogitRequest.Last : LogitRequest.None);
            model.Forward(batch, context);
        }
    }

    private void Step(SequenceCache[] caches, int[] tokens, ForwardContext context)
    {
        batch.Clear();
        for (var i = 0; i < caches.Length; i++)
            batch.Add(caches[i], tokens.AsSpan(i, 1), LogitRequest.Last);
        model.Forward(batch, context);
    }

    // Steps until the runtime has compiled anew what they call often, which it does in the background on one of the cores; then the caches are empty.
    private void Settle(SequenceCache[] caches, ForwardContext context, CancellationToken cancellation)
    {
        var tokens = new int[caches.Length];
        var compiled = -1L;
        var begin = Stopwatch.GetTimestamp();
        var last = begin;
        for (var i = 0; i == 0 || (Stopwatch.GetElapsedTime(begin) < LongestSettling && (i < StepsToSettle || Stopwatch.GetElapsedTime(last) < Settled)); i++)
        {
            cancellation.ThrowIfCancellationRequested();
            Step(caches, tokens, context);
            allocations.Count();
            foreach (var cache in caches)
                cache.Truncate(cache.Length - 1);
            var now = JitInfo.GetCompiledMethodCount(currentThread: false);
            if (now != compiled)
                (compiled, last) = (now, Stopwatch.GetTimestamp());
        }

        foreach (var cache in caches)
            cache.Truncate(0);
    }

    // Null where it was cancelled.
    private Round? Decode(SequenceCache[] caches, Random random, int count, WeightTraffic traffic, ForwardContext context, CancellationToken cancellation)
    {
        var tokens = RandomTokens(random, caches.Length * count);
        var step = new int[caches.Length];
        var times = new double[count];
        traffic.Restart();
        var attention = context.AttentionTicks;
        var allocated = allocations.Count();
        var begin = Stopwatch.GetTimestamp();
        for (var i = 0; i < count; i++)
        {
            if (cancellation.IsCancellationRequested)
                return null;
            var start = Stopwatch.GetTimestamp();
            tokens.AsSpan(i * caches.Length, caches.Length).CopyTo(step);
            Step(caches, step, context);
            times[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        var seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        allocated = allocations.Count() - allocated;
        return new Round(seconds, times, allocated, traffic.BytesPerStep(count), (double)(context.AttentionTicks - attention) / Stopwatch.Frequency);
    }

    // Some steps, of which attention is the seconds that it took, and the bandwidth before and after them.
    private readonly record struct Round(double Seconds, double[] Steps, long Allocated, double WeightBytes, double Attention)
    {
        public double Before { get; init; }

        public double After { get; init; }

        public double Bandwidth => (Before + After) / 2;

        public RoundResult Result(int tokens) => new()
        {
            ReadBandwidthBeforeGbS = Before,
            ReadBandwidthAfterGbS = After,
            DecodeTokensPerSecond = tokens / Seconds,
            RooflineFraction = WeightBytes * Steps.Length / Seconds / 1e9 / Bandwidth,
        };
    }
}
