using CsCheck;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Numerics.Tests.Kernels;

public sealed unsafe class BfloatAttentionTests
{
    // A weight of softmax is off by half a unit of 8 bits at most.
    private const double WeightRounding = 1.0 / 256;

    private static readonly Gen<(int Tokens, int Heads, int Blocks, int Values, int Rows, int Page, int Seed)> Cases = Gen.Select(
        Gen.Int[1, 16], Gen.OneOf(Gen.Int[1, 20], Gen.Int[1, 3].Select(g => 8 * g)), Gen.Int[1, 3], Gen.Int[1, 12], Gen.Int[1, 200], Gen.Bool.Select(whole => whole ? 64 : 8), Gen.Int[0, 1 << 20]);

    [Theory]
    [InlineData(CacheFormat.F32)]
    [InlineData(CacheFormat.BF16)]
    [InlineData(CacheFormat.Q8)]
    public void StatesAreThoseOfRoundedOperands(CacheFormat format) => Cases.Sample(
        s =>
        {
            var (tokens, heads, width, valueWidth, rows) = (s.Tokens, s.Heads, 64 * s.Blocks, Math.Min(16 * s.Values, 64 * s.Blocks), s.Rows);
            var random = new Random(s.Seed);
            using var memory = new NativeBuffer(((rows + 63L) / 64 * 64) * CacheRow.Bytes(format, width));
            memory.Span<byte>(0, (int)memory.ByteLength).Fill(0xFF);
            using var table = new NativeBuffer((rows + 7) / 8 * sizeof(int));
            for (var i = 0; i < (rows + 7) / 8; i++)
                table.Span<int>(i, 1)[0] = i;
            var cache = new CachePages(memory, 0, table, s.Page, new CacheLayout(format, 1, width));
            for (var l = 0; l < rows; l++)
                cache.Write(l, RandomMatrix.Normals(random, width));
            var queries = RandomMatrix.Normals(random, tokens * heads * width);

            // Later tokens see one row more each; the first may see none of a chunk. States lie together, or apart as those of some of a model's heads do.
            var seen = random.Next(Math.Max(1, rows - tokens), rows + 1) - tokens + 1;
            var stateWidth = RunningSoftmax.StateWidth(valueWidth);
            var stride = (heads + random.Next(2)) * stateWidth;
            using var states = new NativeBuffer(sizeof(float) * (long)tokens * stride);
            states.Span<float>(0, tokens * stride).Fill(float.NaN);
            using var scratch = new NativeBuffer(sizeof(float) * BfloatAttention.Values(tokens, heads, width, valueWidth));
            scratch.Span<byte>(0, (int)scratch.ByteLength).Fill(0xFF);
            var attention = new BfloatAttention(tokens, heads, width, valueWidth, (float*)scratch.Pointer);
            fixed (float* q = queries)
            {
                for (var t = 0; t < tokens; t++)
                {
                    attention.SetQueries(t, q + (t * heads * width));
                    RunningSoftmax.Begin((float*)states.Pointer + (t * stride), heads, valueWidth);
                }
            }

            var scale = 1f / MathF.Sqrt(width);
            for (var l = 0; l < rows; l += 64)
                attention.Add(cache, l, Math.Min(64, rows - l), seen - l, tokens, scale, (float*)states.Pointer, stride, l == 0, cache.Ahead(l + 64, Math.Min(64, rows - l - 64)));
            for (var t = 0; t < tokens; t++)
            {
                for (var g = 0; g < heads; g++)
                {
                    if (seen + t > 0)
                        Check(queries.AsSpan(((t * heads) + g) * width, width), cache, Math.Min(rows, seen + t), scale, states.Span<float>((t * stride) + (g * stateWidth), stateWidth), valueWidth);
                }
            }
        },
        iter: 25,
        threads: 1);

    private static void Check(ReadOnlySpan<float> query, CachePages cache, int count, float scale, Span<float> state, int valueWidth)
    {
        var rows = Enumerable.Range(0, count).Select(l => Array.ConvertAll(cache.Read(l), Rounded)).ToArray();
        var q = Array.ConvertAll(query.ToArray(), Rounded);
        var scores = rows.Select(row => scale * row.Zip(q, (a, b) => a * b).Sum()).ToArray();
        var largest = scores.Max();
        var weights = scores.Select(score => Math.Exp(score - largest)).ToArray();
        Assert.Equal(largest, state[valueWidth], 1e-5 * (1 + Math.Abs(largest)));
        Assert.Equal(weights.Sum(), state[valueWidth + 1], 1e-4 * weights.Sum());
        for (var k = 0; k < valueWidth; k++)
        {
            double expected = 0, magnitude = 0;
            for (var l = 0; l < count; l++)
            {
                expected += weights[l] * rows[l][k];
                magnitude += weights[l] * Math.Abs(rows[l][k]);
            }

            Assert.True(Math.Abs(expected - state[k]) <= (WeightRounding * magnitude) + 1e-5, $"value {k}: {state[k]}, expected {expected} of a sum of {magnitude}");
        }
    }

    private static double Rounded(float value) => BF16.ToSingle(BF16.FromSingle(value));
}
