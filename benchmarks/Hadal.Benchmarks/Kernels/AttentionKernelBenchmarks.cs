using BenchmarkDotNet.Attributes;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Benchmarks.Kernels;

/// <summary>Absorbed latent attention of one layer with the shapes of DeepSeek-V2-Lite, behind many cached tokens.</summary>
public class AttentionKernelBenchmarks
{
    private const int PageTokens = 64;

    private readonly LatentAttentionShape shape = new(16, 128, 64, 512, 128, 0.07f);
    private KernelThreads threads = null!;
    private NativeBuffer keys = null!;
    private NativeBuffer values = null!;
    private NativeBuffer memory = null!;
    private NativeBuffer table = null!;
    private KeyValueUp up;
    private AttentionSegment[] segments = [];
    private float[] query = [];
    private float[] output = [];
    private float[] workspace = [];

    /// <summary>Cached tokens.</summary>
    [Params(1024, 8192)]
    public int Context { get; set; }

    /// <summary>New tokens: one decodes, many prefill.</summary>
    [Params(1, 64)]
    public int Tokens { get; set; }

    /// <summary>How the cache is stored.</summary>
    [ParamsAllValues]
    public CacheFormat Cache { get; set; }

    /// <summary>Fills the cache with random rows.</summary>
    [GlobalSetup]
    public void Setup()
    {
        threads = new KernelThreads();
        keys = new NativeBuffer(WeightFormats.RowBytes(WeightFormat.BF16, shape.N) * shape.H * shape.C);
        values = new NativeBuffer(WeightFormats.RowBytes(WeightFormat.BF16, shape.C) * shape.H * shape.U);
        up = KeyValueUp.Split(
            WeightMatrix.Over(WeightFormat.BF16, keys, shape.H * shape.C, shape.N), WeightMatrix.Over(WeightFormat.BF16, values, shape.H * shape.U, shape.C), shape.C, shape.U);
        var layout = CacheLayout.Latent(Cache, shape.C, shape.R);
        var count = (Context + Tokens + PageTokens - 1) / PageTokens;
        memory = new NativeBuffer((long)count * PageTokens * layout.RowBytes);
        table = new NativeBuffer(count * sizeof(int));
        for (var page = 0; page < count; page++)
            table.Span<int>(page, 1)[0] = page;
        var pages = new CachePages(memory, 0, table, PageTokens, layout);
        segments = [new AttentionSegment(pages, 0, Tokens, Context)];
        var random = new Random(1);
        var row = new float[layout.Width];
        for (var l = 0; l < Context + Tokens; l++)
        {
            Fill(random, row);
            pages.Write(l, row);
        }

        query = new float[Tokens * shape.H * (shape.N + shape.R)];
        Fill(random, query);
        output = new float[Tokens * shape.H * shape.U];
        workspace = new float[AttentionKernel.AbsorbedWorkspace(shape, segments)];
    }

    /// <summary>Frees it.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        threads.Dispose();
        foreach (var buffer in (NativeBuffer[])[keys, values, memory, table])
            buffer.Dispose();
    }

    /// <summary>One layer's attention.</summary>
    [Benchmark]
    public void Absorbed() => AttentionKernel.Absorbed(shape, query, up, segments, output, workspace, threads);

    private static void Fill(Random random, float[] target)
    {
        foreach (ref var value in target.AsSpan())
            value = random.NextSingle() - 0.5f;
    }
}
