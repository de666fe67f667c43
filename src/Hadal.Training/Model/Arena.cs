using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;

namespace Hadal.Training.Model;

/// <summary>Memory that modules take when they are made and keep for the life of the model. Pages that are never written cost nothing.</summary>
internal sealed class Arena : IDisposable
{
    private const long SlabBytes = 64L << 20;
    private const long Alignment = 64;

    private readonly List<NativeBuffer> slabs = [];
    private long used = long.MaxValue;

    /// <summary>Bytes taken from the system.</summary>
    public long ByteLength => slabs.Sum(slab => slab.ByteLength);

    /// <summary>Zeroed rows. BF16 rows of odd width have one more value, which stays zero: products read pairs.</summary>
    public MatrixView Rows(WeightFormat format, int rows, int cols)
    {
        var size = format == WeightFormat.F32 ? 4 : 2;
        var stride = format == WeightFormat.BF16 && cols % 2 != 0 ? cols + 1 : cols;
        var start = Take((long)rows * stride * size);
        return MatrixView.Over(slabs[^1], start / size, format, rows, stride).SliceColumns(0, cols);
    }

    /// <summary>Memory for the right operand of a product.</summary>
    public PackedMatrix Packed(WeightFormat format, int length, int columns)
    {
        var start = Take(PackedMatrix.ByteLength(format, length, columns));
        return PackedMatrix.Over(slabs[^1], start, format, length, columns);
    }

    public void Dispose() => slabs.ForEach(slab => slab.Dispose());

    private long Take(long bytes)
    {
        bytes = (bytes + Alignment - 1) / Alignment * Alignment;
        if (slabs.Count == 0 || used + bytes > slabs[^1].ByteLength)
        {
            slabs.Add(new NativeBuffer(Math.Max(SlabBytes, bytes)));
            used = 0;
        }

        used += bytes;
        return used - bytes;
    }
}
