using CsCheck;
using Hadal.Numerics.Kernels;

namespace Hadal.Numerics.Tests.Kernels;

public sealed unsafe class AttentionTilesTests
{
    private static readonly Gen<(int Heads, int Count, int Vectors, int Stride, int Seed)> Shapes =
        Gen.Select(Gen.Int[1, 20], Gen.Int[1, 64], Gen.Int[1, 9], Gen.Int[0, 2], Gen.Int[0, 1 << 20]);

    [Fact]
    public void ScoresAreTheSumsOfSixteenLanesByHalves() => Shapes.Sample(s =>
    {
        var random = new Random(s.Seed);
        var width = 16 * s.Vectors;
        var (q, rows) = (RandomMatrix.Normals(random, s.Heads * width), RandomMatrix.Normals(random, s.Count * width));
        const int Stride = 64;
        var scores = new float[s.Heads * Stride];
        scores.AsSpan().Fill(float.NaN);
        fixed (float* pq = q, pr = rows, ps = scores)
            AttentionTiles.Scores(pq, s.Heads, pr, width, s.Count, ps, Stride, new ReadAhead((byte*)pr, rows.Length * sizeof(float)));

        for (var g = 0; g < s.Heads; g++)
        {
            for (var l = 0; l < Stride; l++)
                Assert.Equal(l < s.Count ? Score(q.AsSpan(g * width, width), rows.AsSpan(l * width, width)) : float.NaN, scores[(g * Stride) + l]);
        }
    });

    [Fact]
    public void ValuesAreAddedRowByRow() => Shapes.Sample(s =>
    {
        var random = new Random(s.Seed);
        var (width, pStride) = (16 * s.Vectors, s.Count + s.Stride);
        var (rowStride, oStride) = (width + (16 * s.Stride), width + (16 * s.Stride));
        var (p, rows, sums) = (RandomMatrix.Normals(random, s.Heads * pStride), RandomMatrix.Normals(random, s.Count * rowStride), RandomMatrix.Normals(random, s.Heads * oStride));
        var isFirst = s.Seed % 2 == 0;
        var expected = sums.ToArray();
        for (var g = 0; g < s.Heads; g++)
        {
            for (var v = 0; v < width; v++)
            {
                // What the first rows find there is nothing that counts.
                if (isFirst)
                    (expected[(g * oStride) + v], sums[(g * oStride) + v]) = (0, float.NaN);
                for (var l = 0; l < s.Count; l++)
                    expected[(g * oStride) + v] = MathF.FusedMultiplyAdd(rows[(l * rowStride) + v], p[(g * pStride) + l], expected[(g * oStride) + v]);
            }
        }

        fixed (float* pp = p, pr = rows, po = sums)
            AttentionTiles.AddValues(pp, pStride, s.Heads, pr, rowStride, s.Count, width, po, oStride, isFirst, new ReadAhead((byte*)pr, rows.Length * sizeof(float)));
        Bits.AssertEqual(expected, sums, "values");
    });

    private static float Score(ReadOnlySpan<float> q, ReadOnlySpan<float> row)
    {
        var lanes = new float[16];
        for (var k = 0; k < q.Length; k++)
            lanes[k % 16] = MathF.FusedMultiplyAdd(q[k], row[k], lanes[k % 16]);
        for (var half = 8; half > 0; half /= 2)
        {
            for (var i = 0; i < half; i++)
                lanes[i] += lanes[i + half];
        }

        return lanes[0];
    }
}
