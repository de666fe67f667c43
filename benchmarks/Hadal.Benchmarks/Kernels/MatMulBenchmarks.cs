using BenchmarkDotNet.Attributes;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Benchmarks.Kernels;

/// <summary>Products of float32 activations with a [2048, 2048] matrix in the formats that keep float32 activations.</summary>
public class MatMulBenchmarks
{
    private const int Size = 2048;

    private KernelThreads threads = null!;
    private NativeBuffer data = null!;
    private NativeBuffer? scales;
    private WeightMatrix weight;
    private float[] x = [];
    private float[] y = [];

    /// <summary>How the weights are stored.</summary>
    [Params(WeightFormat.F32, WeightFormat.BF16, WeightFormat.F8_E4M3)]
    public WeightFormat Format { get; set; }

    /// <summary>Tokens.</summary>
    [Params(1, 64)]
    public int Tokens { get; set; }

    /// <summary>Makes random weights.</summary>
    [GlobalSetup]
    public void Setup()
    {
        threads = new KernelThreads();
        var random = new Random(1);
        var row = new float[Size];
        data = new NativeBuffer(WeightFormats.RowBytes(Format, Size) * Size);
        for (var r = 0; r < Size; r++)
        {
            foreach (ref var value in row.AsSpan())
                value = random.NextSingle() - 0.5f;
            var bytes = (int)WeightFormats.RowBytes(Format, Size);
            WeightFormats.Encode(Format, row, data.Span<byte>((long)r * bytes, bytes));
        }

        const int Blocks = (Size + WeightMatrix.ScaleBlock - 1) / WeightMatrix.ScaleBlock;
        scales = Format == WeightFormat.F8_E4M3 ? new NativeBuffer(Blocks * Blocks * sizeof(float)) : null;
        scales?.Span<float>(0, Blocks * Blocks).Fill(1);
        weight = WeightMatrix.Over(Format, data, Size, Size, scales);
        x = new float[Tokens * Size];
        x.AsSpan().Fill(0.5f);
        y = new float[Tokens * Size];
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        threads.Dispose();
        data.Dispose();
        scales?.Dispose();
    }

    /// <summary>y = W x.</summary>
    [Benchmark]
    public void Multiply() => MatMul.Multiply(weight, x, y, Tokens, threads);
}
