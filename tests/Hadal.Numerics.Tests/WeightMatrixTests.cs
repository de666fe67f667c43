using Hadal.Numerics.Formats;
using Hadal.Numerics.Tests.Kernels;

namespace Hadal.Numerics.Tests;

public sealed class WeightMatrixTests
{
    [Fact]
    public unsafe void ShapesThatDoNotFitTheFormatAreRefused()
    {
        using var buffer = new NativeBuffer(1000);
        Assert.Throws<ArgumentException>(() => new WeightMatrix(WeightFormat.Q8_0, buffer.Pointer, 1, 33));
        Assert.Throws<ArgumentException>(() => new WeightMatrix(WeightFormat.F8_E4M3, buffer.Pointer, 1, 33));
        Assert.Throws<ArgumentException>(() => new WeightMatrix(WeightFormat.F32, buffer.Pointer, 1, 33, (float*)buffer.Pointer));
        Assert.Throws<ArgumentException>(() => new WeightMatrix(WeightFormat.F8_E4M3, buffer.Pointer, 1, int.MaxValue, (float*)buffer.Pointer));
        Assert.Throws<ArgumentOutOfRangeException>(() => new WeightMatrix(WeightFormat.F32, buffer.Pointer, 0, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new WeightMatrix(WeightFormat.F32, buffer.Pointer, 1, -1));
        Assert.Throws<ArgumentNullException>(() => new WeightMatrix(WeightFormat.F32, null, 1, 1));
        Assert.Throws<ArgumentException>(() => WeightMatrix.Over(WeightFormat.F32, buffer, 126, 2));
        Assert.Throws<ArgumentException>(() => WeightMatrix.Over(WeightFormat.F8_E4M3, buffer, 500, 2, new NativeBuffer(15)));
    }

    [Fact]
    public void RowsOutsideAreRefused()
    {
        using var matrix = new RandomMatrix(WeightFormat.F8_E4M3, 5, 3, new Random(1));
        foreach (var row in new[] { -1, 5, int.MinValue, int.MaxValue })
        {
            Assert.Throws<ArgumentOutOfRangeException>(() => matrix.Weight.Row(row).Length);
            Assert.Throws<ArgumentOutOfRangeException>(() => matrix.Weight.RowScales(row).Length);
            Assert.Throws<ArgumentOutOfRangeException>(() => matrix.Weight.DecodeRow(row, new float[3]));
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => matrix.Weight.SliceRows(4, 2).Rows);
        Assert.Throws<ArgumentOutOfRangeException>(() => matrix.Weight.SliceRows(-1, 2).Rows);
        Assert.Throws<ArgumentOutOfRangeException>(() => matrix.Weight.SliceRows(6, -1).Rows);
        Assert.Equal(0, matrix.Weight.SliceRows(5, 0).Rows);
        Assert.Throws<ArgumentException>(() => matrix.Weight.DecodeRow(0, new float[4]));
    }
}
