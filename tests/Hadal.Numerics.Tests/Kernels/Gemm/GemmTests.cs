using CsCheck;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels.Gemm;

public sealed unsafe class GemmTests
{
    public static TheoryData<WeightFormat> Formats => [WeightFormat.F32, WeightFormat.BF16];

    private static readonly Gen<(int M, int N, int K, int Seed)> Shapes = Gen.Select(Gen.Int[1, 120], Gen.Int[1, 90], Gen.Int[1, 600], Gen.Int[0, 1 << 20]);

    [Theory]
    [MemberData(nameof(Formats))]
    public void EveryTileVariantHasTheBitsOfTheSpecification(WeightFormat format)
    {
        var random = new Random(1);
        foreach (var columns in new[] { 16, 32 })
        {
            foreach (var steps in new[] { 0, 1, 2, 37, 256 })
            {
                var a = Operands(format, random, GemmTile.Rows * steps);
                var b = Operands(format, random, 32 * steps);
                float[] plain = new float[GemmTile.Rows * 32], best = new float[plain.Length], portable = new float[plain.Length];
                fixed (uint* pa = a, pb = b)
                fixed (float* p = plain, q = best, r = portable)
                {
                    for (var accumulate = 0; accumulate < 2; accumulate++)
                    {
                        var tile = new GemmTile { A = (byte*)pa, ARow = steps * 4, AStep = 4, B = (byte*)pb, C = (byte*)p, CRow = 128, Steps = steps, Accumulate = accumulate, Columns = columns };
                        GemmTile.Reference(format, &tile);
                        tile.C = (byte*)q;
                        GemmTile.Multiply(format, &tile);
                        tile.C = (byte*)r;
                        if (format == WeightFormat.F32)
                            Float32Tile.Multiply(&tile);
                        else
                            Bf16Tile.Multiply(&tile);
                        Assert.Equal(plain, best);
                        Assert.Equal(plain, portable);
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    public void TheSmallestTileHasTheSameBitsAndLeavesWhatLiesBehindIt(int columns)
    {
        const int Steps = 70;
        var random = new Random(2);
        uint[] a = Operands(WeightFormat.BF16, random, GemmTile.Rows * Steps), b = Operands(WeightFormat.BF16, random, 32 * Steps);
        fixed (uint* pa = a, pb = b)
        {
            for (var accumulate = 0; accumulate < 2; accumulate++)
            {
                var before = Enumerable.Range(0, GemmTile.Rows * 32).Select(_ => random.NextSingle()).ToArray();
                float[] all = [.. before], few = [.. before];
                fixed (float* p = all, q = few)
                {
                    var tile = new GemmTile { A = (byte*)pa, ARow = Steps * 4, AStep = 4, B = (byte*)pb, C = (byte*)p, CRow = 128, Steps = Steps, Accumulate = accumulate, Columns = columns };
                    GemmTile.Reference(WeightFormat.BF16, &tile);
                    tile.C = (byte*)q;
                    tile.Few = 1;
                    tile.Ahead = (byte*)pb;
                    tile.AheadStep = 64;
                    GemmTile.Multiply(WeightFormat.BF16, &tile);
                }

                var end = GemmTile.FewRows * 32;
                Assert.Equal(all[..end], few[..end]);
                Assert.Equal(before[end..], few[end..]);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void ProductsAreTheSumsOfTheRoundedOperandsOnAnyNumberOfThreads(WeightFormat format)
    {
        using var one = new KernelThreads(1);
        using var three = new KernelThreads(3);
        Shapes.Sample(
            s =>
            {
                var random = new Random(s.Seed);
                using var x = new Rows(format, s.M, s.K, random);
                using var w = new Rows(WeightFormat.F32, s.N, s.K, random);
                using var dy = new Rows(format, s.M, s.N, random);
                using var memory = new NativeBuffer(PackedMatrix.ByteLength(format, s.K, s.N) + PackedMatrix.ByteLength(format, s.N, s.K));
                var forward = PackedMatrix.Over(memory, 0, format, s.K, s.N);
                var backward = PackedMatrix.Over(memory, PackedMatrix.ByteLength(format, s.K, s.N), format, s.N, s.K);
                float[]? first = null;
                foreach (var threads in new[] { one, three })
                {
                    using var y = new Rows(WeightFormat.F32, s.M, s.N);
                    using var dx = new Rows(WeightFormat.F32, s.M, s.K);
                    using var dw = new Rows(WeightFormat.F32, s.N, s.K);
                    ThreadedGemm.PackTransposed(forward, w.View, threads);
                    ThreadedGemm.PackRows(backward, w.View, threads);
                    ThreadedGemm.Multiply(x.View, forward, y.View, threads);
                    ThreadedGemm.Multiply(dy.View, backward, dx.View, threads);
                    ThreadedGemm.AddWeightGradient(dy.View, x.View, dw.View, threads);
                    float[] all = [.. y.Values(), .. dx.Values(), .. dw.Values()];
                    first ??= all;
                    Assert.Equal(first, all);
                    ThreadedGemm.Multiply(x.View, forward, y.View, threads, accumulate: true);

                    // Pieces of the sum are added one after the other, so a long sum is not exactly doubled.
                    foreach (var (twice, once) in y.Values().Zip(first))
                        Close(2.0 * once, twice, s.K);
                    double Weight(int n, int k) => format == WeightFormat.F32 ? w[n, k] : BF16.ToSingle(BF16.FromSingle((float)w[n, k]));
                    for (var check = 0; check < 20; check++)
                    {
                        var (m, n, k) = (random.Next(s.M), random.Next(s.N), random.Next(s.K));
                        Close(Enumerable.Range(0, s.K).Sum(i => x[m, i] * Weight(n, i)), first[(m * s.N) + n], s.K);
                        Close(Enumerable.Range(0, s.N).Sum(i => dy[m, i] * Weight(i, k)), dx[m, k], s.N);
                        Close(Enumerable.Range(0, s.M).Sum(i => dy[i, n] * x[i, k]), dw[n, k], s.M);
                    }
                }
            },
            iter: 40,
            threads: 1);
    }

    private static void Close(double expected, double actual, int terms) => Assert.True(Math.Abs(expected - actual) <= 1e-6 * (4 + terms), $"expected {expected}, found {actual}");

    private static uint[] Operands(WeightFormat format, Random random, int count)
    {
        // With bfloat16 also numbers whose products are subnormal.
        uint Half() => BF16.FromSingle((float)((random.NextDouble() - 0.5) * Math.Pow(2, -random.Next(80))));
        return [.. Enumerable.Range(0, count).Select(_ => format == WeightFormat.F32 ? BitConverter.SingleToUInt32Bits(random.NextSingle() - 0.5f) : Half() | (Half() << 16))];
    }

    // BF16 rows of odd width have a zero behind them.
    private sealed class Rows : IDisposable
    {
        private readonly NativeBuffer buffer;

        public Rows(WeightFormat format, int rows, int cols, Random? random = null)
        {
            var stride = format == WeightFormat.BF16 ? cols + (cols % 2) : cols;
            buffer = new NativeBuffer((long)rows * stride * (format == WeightFormat.F32 ? 4 : 2));
            View = MatrixView.Over(buffer, 0, format, rows, stride).SliceColumns(0, cols);
            for (var row = 0; row < rows && random is not null; row++)
            {
                for (var col = 0; col < cols; col++)
                {
                    var value = random.NextSingle() - 0.5f;
                    if (format == WeightFormat.F32)
                        View.Row(row)[col] = value;
                    else
                        buffer.Span<ushort>(((long)row * stride) + col, 1)[0] = BF16.FromSingle(value);
                }
            }
        }

        public MatrixView View { get; }

        public double this[int row, int col]
        {
            get
            {
                var values = new float[View.Cols];
                View.ReadRow(row, values);
                return values[col];
            }
        }

        public float[] Values() => [.. Enumerable.Range(0, View.Rows).SelectMany(row => View.Row(row).ToArray())];

        public void Dispose() => buffer.Dispose();
    }
}
