using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Tests.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

/// <summary>A matrix of random normal values (or as near as the format comes), in memory of its own.</summary>
internal sealed class RandomMatrix : IDisposable
{
    private readonly NativeBuffer data;
    private readonly NativeBuffer? scales;
    private NativeBuffer? copy;

    public RandomMatrix(WeightFormat format, int rows, int cols, Random random, double deviation = 1)
    {
        data = new NativeBuffer(rows * WeightFormats.RowBytes(format, cols));
        var bytes = data.Span<byte>(0, checked((int)data.ByteLength));
        if (format == WeightFormat.F8_E4M3)
        {
            // Codes over most of their range, and scales that differ from block to block.
            const double CodeDeviation = 100;
            scales = new NativeBuffer((rows + 127) / 128 * ((cols + 127) / 128) * sizeof(float));
            foreach (ref var scale in scales.Span<float>(0, (int)scales.ByteLength / sizeof(float)))
                scale = (float)(deviation / CodeDeviation * (0.5 + random.NextDouble()));
            WeightFormats.Encode(format, Normals(random, rows * cols, CodeDeviation), bytes);
        }
        else if (WeightFormats.CanEncode(format))
        {
            WeightFormats.Encode(format, Normals(random, rows * cols, deviation), bytes);
        }
        else
        {
            FillBlocks(format, bytes, random, deviation);
        }

        Weight = WeightMatrix.Over(format, data, rows, cols, scales);
    }

    public WeightMatrix Weight { get; }

    /// <summary>The weight as it lies, or with a copy in interleaved order beside it where this processor has kernels for that.</summary>
    public WeightMatrix InOrder(bool interleaved, KernelThreads threads)
    {
        if (!interleaved || !WeightInterleaving.Pays(Weight.Format))
            return Weight;
        copy ??= new NativeBuffer(WeightInterleaving.Bytes(Weight));
        return WeightInterleaving.Interleave(Weight, copy.Span<byte>(0, (int)copy.ByteLength), threads);
    }

    /// <summary>Stores given values.</summary>
    public static RandomMatrix Of(WeightFormat format, int rows, int cols, ReadOnlySpan<float> values)
    {
        var matrix = new RandomMatrix(format, rows, cols, new Random(0));
        WeightFormats.Encode(format, values, matrix.data.Span<byte>(0, (int)matrix.data.ByteLength));
        return matrix;
    }

    /// <summary>Normally distributed values.</summary>
    public static float[] Normals(Random random, int count, double deviation = 1)
    {
        var values = new float[count];
        for (var i = 0; i < count; i++)
            values[i] = (float)(deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        return values;
    }

    /// <summary>The value that each weight stands for, [rows, cols].</summary>
    public static float[] Decode(WeightMatrix weight)
    {
        var values = new float[weight.Rows * weight.Cols];
        for (var m = 0; m < weight.Rows; m++)
            weight.DecodeRow(m, values.AsSpan(m * weight.Cols, weight.Cols));
        return values;
    }

    public void Dispose()
    {
        data.Dispose();
        copy?.Dispose();
        scales?.Dispose();
    }

    // Random codes; the halves that scale a block are then chosen so that its values have the deviation.
    private static void FillBlocks(WeightFormat format, Span<byte> bytes, Random random, double deviation)
    {
        random.NextBytes(bytes);
        var values = new float[WeightFormats.BlockLength(format)];
        for (var start = 0; start < bytes.Length; start += WeightFormats.BlockBytes(format))
        {
            var block = bytes.Slice(start, WeightFormats.BlockBytes(format));
            SetScales(block, 1);
            WeightFormats.Decode(format, block, values);
            SetScales(block, deviation / Math.Sqrt(values.Average(v => (double)v * v)));
        }

        void SetScales(Span<byte> block, double scale)
        {
            foreach (var offset in FormatActions.HalfOffsets(format))
                MemoryMarshal.Write(block[offset..], (Half)scale);
        }
    }
}
