using System.Diagnostics;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Benchmarks;

/// <summary>What attention costs behind many cached tokens. The cache is filled with random rows, which takes a second instead of a prefill of minutes.</summary>
internal sealed class ContextBenchmark(DeepSeek model, KernelThreads threads, ForwardOptions options)
{
    /// <summary>Tokens of the prefill chunk.</summary>
    public const int ChunkTokens = 128;

    private const int Steps = 9;
    private const int Seed = 12;

    /// <summary>Tokens of cache that a context needs here.</summary>
    public static int CacheTokens(int context) => context + Math.Max(ChunkTokens, Steps);

    /// <summary>Measures.</summary>
    /// <param name="context">Cached tokens.</param>
    /// <param name="bandwidth">Read bandwidth, bytes per second.</param>
    /// <param name="peak">Float32 arithmetic, operations per second.</param>
    /// <param name="cancellation">Ends it between two steps.</param>
    public ContextResult Run(int context, double bandwidth, double peak, CancellationToken cancellation)
    {
        using var pool = new CachePool(model.Config, CacheTokens(context), format: options.Cache);
        using var cache = new SequenceCache(pool);
        Fill(cache, pool, context);
        var forward = new ForwardContext(threads, options);
        var batch = new ForwardBatch();
        double[] attention = new double[Steps], steps = new double[Steps];
        var random = new Random(Seed);
        for (var i = 0; i < Steps; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            (steps[i], attention[i]) = Time(batch, cache, [random.Next(model.Config.VocabSize)], forward);
            cache.Truncate(context);
        }

        var chunk = new int[ChunkTokens];
        foreach (ref var token in chunk.AsSpan())
            token = random.Next(model.Config.VocabSize);
        var (prefill, prefillAttention) = Time(batch, cache, chunk, forward);
        Array.Sort(attention);
        Array.Sort(steps);
        var decode = attention[Steps / 2];
        var read = (long)context * pool.Layout.RowBytes * model.Config.NumHiddenLayers;
        var flops = 2.0 * MultipliesPerRow() * model.Config.NumHiddenLayers;
        return new ContextResult
        {
            Context = context,
            DecodeAttentionSeconds = decode,
            DecodeStepSeconds = steps[Steps / 2],
            CacheBytesRead = read,
            CacheReadGbS = read / decode / 1e9,
            CacheReadFraction = read / decode / bandwidth,
            DecodeGflops = flops * context / decode / 1e9,
            PrefillTokens = ChunkTokens,
            PrefillAttentionSeconds = prefillAttention,
            PrefillSeconds = prefill,
            PrefillGflops = flops * ChunkTokens * (context + (ChunkTokens / 2.0)) / prefillAttention / 1e9,
            PeakGflops = peak / 1e9,
        };
    }

    private (double Seconds, double Attention) Time(ForwardBatch batch, SequenceCache cache, int[] tokens, ForwardContext forward)
    {
        batch.Clear();
        batch.Add(cache, tokens, LogitRequest.Last);
        var (start, attention) = (Stopwatch.GetTimestamp(), forward.AttentionTicks);
        model.Forward(batch, forward);
        return (Stopwatch.GetElapsedTime(start).TotalSeconds, (double)(forward.AttentionTicks - attention) / Stopwatch.Frequency);
    }

    // Multiply-adds of one token with one cached row: for each head the key and the value, both of them the latent in absorbed form.
    private double MultipliesPerRow()
    {
        var config = model.Config;
        return config.IsLatentAttention
            ? config.NumAttentionHeads * ((2.0 * config.KvLoraRank) + config.QkRopeHeadDim)
            : config.NumAttentionHeads * 2.0 * config.HeadDim;
    }

    private static void Fill(SequenceCache cache, CachePool pool, int rows)
    {
        const int Distinct = 61;
        var random = new Random(Seed);
        var values = new float[Distinct * pool.Layout.Width];
        foreach (ref var v in values.AsSpan())
            v = (random.NextSingle() + random.NextSingle() + random.NextSingle() - 1.5f) * 2;
        cache.Reserve(rows);
        for (var layer = 0; layer < pool.Layers; layer++)
        {
            var pages = cache.Pages(layer);
            for (var l = 0; l < rows; l++)
                pages.Write(l, values.AsSpan(l % Distinct * pool.Layout.Width, pool.Layout.Width));
        }

        cache.Advance(null, rows);
    }
}
