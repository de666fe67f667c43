using BenchmarkDotNet.Attributes;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.Threading;

namespace Hadal.Benchmarks.Kernels.Integer;

/// <summary>Products of 8-bit activations with a [2048, 2048] matrix in GGUF's formats.</summary>
public class IntegerMatMulBenchmarks
{
    private const int Size = 2048;

    private KernelThreads threads = null!;
    private NativeBuffer data = null!;
    private WeightMatrix weight;
    private byte[] x = [];
    private byte[] workspace = [];
    private float[] y = [];

    /// <summary>How the weights are stored.</summary>
    [Params(WeightFormat.Q8_0, WeightFormat.Q4_0, WeightFormat.Q5_0, WeightFormat.Q4_K, WeightFormat.Q5_K, WeightFormat.Q6_K)]
    public WeightFormat Format { get; set; }

    /// <summary>Tokens.</summary>
    [Params(1, 4, 64)]
    public int Tokens { get; set; }

    /// <summary>Makes random weights and quantises activations.</summary>
    [GlobalSetup]
    public void Setup()
    {
        threads = new KernelThreads();
        var random = new Random(1);
        var row = new float[Size];
        var bytes = (int)WeightFormats.RowBytes(Format, Size);
        data = new NativeBuffer((long)bytes * Size);
        for (var r = 0; r < Size; r++)
        {
            foreach (ref var value in row.AsSpan())
                value = random.NextSingle() - 0.5f;
            WeightFormats.Encode(Format, row, data.Span<byte>((long)r * bytes, bytes));
        }

        weight = WeightMatrix.Over(Format, data, Size, Size);
        var block = WeightFormats.BlockLength(Format);
        var rowBytes = IntegerActivations.RowBytes(Size, block);
        x = new byte[Tokens * rowBytes];
        for (var t = 0; t < Tokens; t++)
            IntegerActivations.QuantizeRow(row, block, x.AsSpan(t * rowBytes, rowBytes));
        workspace = new byte[IntegerMatMul.WorkspaceBytes(weight, Tokens)];
        y = new float[Tokens * Size];
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        threads.Dispose();
        data.Dispose();
    }

    /// <summary>y = W x.</summary>
    [Benchmark]
    public void Multiply() => IntegerMatMul.Multiply(weight, x, y, Tokens, workspace, threads);
}
