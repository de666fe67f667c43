using System.Runtime.Intrinsics;
using CsCheck;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class AttentionKernelTests
{
    private const double Tolerance = 2e-5;

    private static readonly Gen<(LatentAttentionShape Shape, int First, int Tokens, int Seed)> Latents =
        Gen.Select(Gen.Int[1, 9], Gen.Int[1, 40], Gen.Int[1, 9].Select(r => 2 * r), Gen.Int[1, 150], Gen.Int[1, 40]).SelectMany((h, n, r, c, u) =>
            Gen.Select(Gen.OneOf(Gen.Int[0, 40], Gen.Int[100, 300]), Gen.Int[1, 36], Gen.Int[0, 1 << 20]).Select((first, tokens, seed) =>
                (new LatentAttentionShape(h, n, r, c, u, (float)(1 / Math.Sqrt(n + r))), first, tokens, seed)));

    [Theory]
    [InlineData(WeightFormat.F32, CacheFormat.F32)]
    [InlineData(WeightFormat.BF16, CacheFormat.BF16)]
    [InlineData(WeightFormat.F32, CacheFormat.Q8)]
    [InlineData(WeightFormat.F8_E4M3, CacheFormat.F32)]
    public void LatentAttentionAgreesWithDoubleInBothForms(WeightFormat format, CacheFormat cache)
    {
        using var two = new KernelThreads(2);
        Latents.Sample(
            s =>
            {
                var (h, n, _, c, u, _) = s.Shape;
                var random = new Random(s.Seed);
                using var up = new RandomMatrix(format, h * (n + u), c, random, 1 / Math.Sqrt(c));
                using var sequence = new PagedRows(random, s.First + s.Tokens, c + s.Shape.R, AttentionKernel.LatentRowWidth(c, s.Shape.R), cache);
                var query = RandomMatrix.Normals(random, s.Tokens * h * (n + s.Shape.R));
                var shared = KeyValueUp.Shared(up.Weight, n, u);
                var expected = Plain(s.Shape, query, RandomMatrix.Decode(up.Weight), sequence, s.First, s.Tokens, sequence.Latents(c));
                Bits.AssertNear(expected, Absorbed(s.Shape, query, shared, sequence, s.First, s.Tokens, two), Tolerance, "absorbed");
                Bits.AssertNear(expected, Naive(s.Shape, query, shared, null, sequence, s.First, s.Tokens, two), Tolerance, "naive");

                // The same values as a GGUF stores them: keys transposed within each head, and values apart.
                using var keys = RandomMatrix.Of(WeightFormat.F32, h * c, n, TransposedKeys(up.Weight, h, n, u));
                using var values = RandomMatrix.Of(WeightFormat.F32, h * u, c, Values(up.Weight, h, n, u));
                var split = KeyValueUp.Split(keys.Weight, values.Weight, c, u);
                Bits.AssertNear(expected, Absorbed(s.Shape, query, split, sequence, s.First, s.Tokens, two), Tolerance, "absorbed, split");
                Bits.AssertNear(expected, Naive(s.Shape, query, split, null, sequence, s.First, s.Tokens, two), Tolerance, "naive, split");
            },
            iter: 12,
            threads: 1);
    }

    [Theory]
    [InlineData(CacheFormat.F32, AttentionOperands.F32)]
    [InlineData(CacheFormat.BF16, AttentionOperands.F32)]
    [InlineData(CacheFormat.Q8, AttentionOperands.F32)]
    [InlineData(CacheFormat.F32, AttentionOperands.BF16)]
    [InlineData(CacheFormat.BF16, AttentionOperands.BF16)]
    [InlineData(CacheFormat.Q8, AttentionOperands.BF16)]
    public void NeitherChunksNorThreadsNorPagesChangeABit(CacheFormat cache, AttentionOperands operands)
    {
        using var one = new KernelThreads(1);
        using var three = new KernelThreads(3);
        Latents.Sample(
            s =>
            {
                var (h, n, r, c, u, _) = s.Shape;
                var random = new Random(s.Seed);
                using var up = new RandomMatrix(WeightFormat.BF16, h * (n + u), c, random, 1 / Math.Sqrt(c));
                using var sequence = new PagedRows(random, s.First + s.Tokens, c + r, AttentionKernel.LatentRowWidth(c, r), cache);
                using var moved = sequence.InOtherPages(random);
                var query = RandomMatrix.Normals(random, s.Tokens * h * (n + r));
                var shared = KeyValueUp.Shared(up.Weight, n, u);
                foreach (var absorbed in new[] { true, false })
                {
                    float[] Run(PagedRows rows, ReadOnlySpan<float> q, int first, int count, KernelThreads threads) =>
                        absorbed ? Absorbed(s.Shape, q, shared, rows, first, count, threads, operands) : Naive(s.Shape, q, shared, null, rows, first, count, threads);
                    var whole = Run(sequence, query, s.First, s.Tokens, one);
                    Bits.AssertEqual(whole, Run(sequence, query, s.First, s.Tokens, three), "3 threads");
                    Bits.AssertEqual(whole, Run(moved, query, s.First, s.Tokens, one), "other pages");
                    var cut = random.Next(s.Tokens + 1);
                    var pieces = new List<float>();
                    foreach (var (start, count) in new[] { (0, cut), (cut, s.Tokens - cut) })
                    {
                        if (count > 0)
                            pieces.AddRange(Run(sequence, query.AsSpan(start * h * (n + r), count * h * (n + r)), s.First + start, count, three));
                    }

                    Bits.AssertEqual(whole, pieces.ToArray(), $"cut at {cut} of {s.Tokens}");
                }
            },
            iter: Cases(operands, 12),
            threads: 1);
    }

    [Theory]
    [InlineData(AttentionOperands.F32, Tolerance)]
    [InlineData(AttentionOperands.BF16, 0.05)]
    public void SpansOfRowsAreMergedTheSameForOneTokenAndForMany(AttentionOperands operands, double tolerance)
    {
        using var one = new KernelThreads(1);
        using var three = new KernelThreads(3);
        var shape = new LatentAttentionShape(5, 6, 4, 24, 7, 0.4f);
        (int First, CacheFormat Cache)[] cases = [(2040, CacheFormat.BF16), (4000, CacheFormat.F32), (4090, CacheFormat.Q8), (250, CacheFormat.F32), (508, CacheFormat.Q8), (1020, CacheFormat.F32)];
        foreach (var (first, cache) in cases[..Cases(operands, cases.Length)])
        {
            var random = new Random(first);
            const int Tokens = 20;
            using var up = new RandomMatrix(WeightFormat.F32, 5 * 13, 24, random, 0.2);
            using var sequence = new PagedRows(random, first + Tokens, 28, 64, cache);
            var query = RandomMatrix.Normals(random, Tokens * 5 * 10, 2);
            var shared = KeyValueUp.Shared(up.Weight, 6, 7);
            var whole = Absorbed(shape, query, shared, sequence, first, Tokens, three, operands);
            Bits.AssertNear(Plain(shape, query, RandomMatrix.Decode(up.Weight), sequence, first, Tokens, sequence.Latents(24)), whole, tolerance, $"{cache} at {first}");
            for (var t = 0; t < Tokens; t++)
                Bits.AssertEqual(whole.AsSpan(t * 35, 35).ToArray(), Absorbed(shape, query.AsSpan(t * 50, 50), shared, sequence, first + t, 1, t % 2 == 0 ? one : three, operands), $"{cache}, token {t}");
        }
    }

    [Theory]
    [InlineData(WeightFormat.F32, 5, 3, AttentionOperands.F32)]
    [InlineData(WeightFormat.Q8_0, 5, 3, AttentionOperands.F32)]
    [InlineData(WeightFormat.F32, 9, 2, AttentionOperands.F32)]
    [InlineData(WeightFormat.F32, 18, 3, AttentionOperands.F32)]
    [InlineData(WeightFormat.F32, 18, 3, AttentionOperands.BF16)]
    public void SequencesTogetherHaveTheBitsOfEachAlone(WeightFormat format, int heads, int workers, AttentionOperands operands)
    {
        using var one = new KernelThreads(1);
        using var several = new KernelThreads(workers);
        var shape = new LatentAttentionShape(heads, 32, 4, 64, 32, 0.4f);
        var (h, n, r, c, u, _) = shape;
        Gen.Int[0, 1 << 20].Sample(
            seed =>
            {
                // Short and long runs in any order, contexts of one span and of several.
                var random = new Random(seed);
                using var up = new RandomMatrix(format, h * (n + u), c, random, 0.2);
                var shared = KeyValueUp.Shared(up.Weight, n, u) with { Integer = format != WeightFormat.F32 };
                var runs = Enumerable.Range(0, random.Next(1, Cases(operands, 6) + 1)).Select(_ => (Count: random.Next(3) == 0 ? random.Next(17, 40) : random.Next(1, 17), First: random.Next(4) switch { 0 => random.Next(2000, 4500), 1 => random.Next(900), _ => random.Next(50) })).ToArray();
                var caches = runs.Select(run => new PagedRows(random, run.First + run.Count, c + r, AttentionKernel.LatentRowWidth(c, r))).ToArray();
                var segments = new AttentionSegment[runs.Length];
                for (var i = 0; i < runs.Length; i++)
                    segments[i] = new AttentionSegment(caches[i].Pages, i == 0 ? 0 : segments[i - 1].Start + segments[i - 1].Count, runs[i].Count, runs[i].First);
                var tokens = runs.Sum(run => run.Count);
                var query = RandomMatrix.Normals(random, tokens * h * (n + r), 2);
                var together = new float[tokens * h * u];
                AttentionKernel.Absorbed(shape, query, shared, segments, together, new float[AttentionKernel.AbsorbedWorkspace(shape, segments)], several, operands);
                var alone = segments.SelectMany((s, i) => Absorbed(shape, query.AsSpan(s.Start * h * (n + r), s.Count * h * (n + r)), shared, caches[i], s.First, s.Count, one, operands)).ToArray();
                Bits.AssertEqual(alone, together, "together");
                foreach (var cache in caches)
                    cache.Dispose();
            },
            iter: Cases(operands, 25),
            threads: 1);
        using var rows = new PagedRows(new Random(1), 8, c + r, AttentionKernel.LatentRowWidth(c, r));
        using var plain = new RandomMatrix(WeightFormat.F32, h * (n + u), c, new Random(2));
        AttentionSegment[] apart = [new AttentionSegment(rows.Pages, 0, 1, 3), new AttentionSegment(rows.Pages, 2, 1, 3)];
        Assert.Throws<ArgumentException>(() => AttentionKernel.Absorbed(shape, new float[3 * h * (n + r)], KeyValueUp.Shared(plain.Weight, n, u), apart, new float[3 * h * u], new float[1 << 16], one));
        Assert.Throws<ArgumentException>(() => AttentionKernel.Absorbed(shape, [], KeyValueUp.Shared(plain.Weight, n, u), [], [], [], one));
    }

    [Fact]
    public void QuantizedLatentsAreExpandedAsTheOfficialNaiveCodeDoes()
    {
        using var threads = new KernelThreads(2);
        foreach (var (kind, c) in new[] { (ScaleKind.Float32, 160), (ScaleKind.PowerOfTwo, 128), (ScaleKind.Float32, 30) })
        {
            var shape = new LatentAttentionShape(3, 20, 8, c, 24, 0.2f);
            var random = new Random(7);
            using var up = new RandomMatrix(WeightFormat.F8_E4M3, 3 * 44, c, random, 1 / Math.Sqrt(c));
            using var sequence = new PagedRows(random, 21, c + 8, AttentionKernel.LatentRowWidth(c, 8));
            var query = RandomMatrix.Normals(random, 9 * 3 * 28);
            var latents = new double[21][];
            for (var l = 0; l < latents.Length; l++)
            {
                float[] codes = new float[c], scales = new float[ActivationQuantization.ScaleCount(c)];
                ActivationQuantization.Quantize(sequence.Pages.Read(l).AsSpan(0, c), c, codes, scales, kind);
                latents[l] = codes.Select((q, k) => (double)q * scales[k / 128]).ToArray();
            }

            var expected = Plain(shape, query, RandomMatrix.Decode(up.Weight), sequence, 12, 9, latents);
            Bits.AssertNear(expected, Naive(shape, query, KeyValueUp.Shared(up.Weight, 20, 24), kind, sequence, 12, 9, threads), Tolerance, $"{kind}, C {c}");
        }
    }

    [Fact]
    public void ShapesThatDoNotFitAreRefused()
    {
        using var threads = new KernelThreads(1);
        using var sequence = new PagedRows(new Random(8), 10, 12 + 4, 64);
        var shape = new LatentAttentionShape(2, 6, 4, 12, 5, 1);
        using var up = new RandomMatrix(WeightFormat.F32, 2 * 11, 12, new Random(9));
        using var narrow = new RandomMatrix(WeightFormat.F32, 2 * 11, 8, new Random(9));
        using var few = new RandomMatrix(WeightFormat.F32, (2 * 11) - 1, 12, new Random(9));
        var fits = KeyValueUp.Shared(up.Weight, 6, 5);
        Absorbed(shape, new float[20], fits, sequence, 9, 1, threads);
        Assert.Throws<ArgumentException>(() => Absorbed(shape, new float[19], fits, sequence, 9, 1, threads));
        Assert.Throws<ArgumentException>(() => Absorbed(shape, new float[20], fits, sequence, -1, 1, threads));
        Assert.Throws<ArgumentException>(() => Absorbed(shape, new float[20], fits, sequence, (int)sequence.Pages.Capacity, 1, threads));
        Assert.Throws<ArgumentException>(() => Absorbed(shape, [], fits, sequence, 0, 0, threads));
        foreach (var wrong in new[] { KeyValueUp.Shared(narrow.Weight, 6, 5), KeyValueUp.Shared(few.Weight, 6, 5), KeyValueUp.Shared(up.Weight, 5, 6) })
        {
            Assert.Throws<ArgumentException>(() => Absorbed(shape, new float[20], wrong, sequence, 0, 1, threads));
            Assert.Throws<ArgumentException>(() => Naive(shape, new float[20], wrong, null, sequence, 0, 1, threads));
        }

        Assert.Throws<ArgumentException>(() => Naive(shape, new float[20], fits, ScaleKind.Float32, sequence, 0, 1, threads));
        Assert.Throws<ArgumentException>(() => AttentionKernel.GroupedQuery(new float[12], 3, 2, 4, 1, sequence.Pages, 0, new float[12], 1, threads));

        // As wide as a row of two heads, but not head by head.
        Assert.Throws<ArgumentException>(() => AttentionKernel.GroupedQuery(new float[32], 2, 2, 16, 1, sequence.Pages, 0, new float[32], 1, threads));
        Assert.Throws<ArgumentOutOfRangeException>(() => sequence.Pages.Read(-1).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => sequence.Pages.Write((int)sequence.Pages.Capacity, new float[64]));
        Assert.Throws<ArgumentException>(() => sequence.Pages.Write(0, new float[65]));
        Assert.Throws<ArgumentException>(() => AttentionKernel.Absorbed(shape, new float[20], fits, [new AttentionSegment(sequence.Pages, 0, 1, 9)], new float[10], new float[10], threads));
    }

    // Products of bfloat16 without any vectors take a hundred times as long.
    private static int Cases(AttentionOperands operands, int usual) =>
        operands == AttentionOperands.F32 ? usual : Vector128.IsHardwareAccelerated ? Math.Min(usual, 8) : 1;

    private static float[] Absorbed(in LatentAttentionShape shape, ReadOnlySpan<float> query, KeyValueUp up, PagedRows rows, int first, int tokens, KernelThreads threads, AttentionOperands operands = AttentionOperands.F32)
    {
        var output = new float[tokens * shape.H * shape.U];
        AttentionSegment[] segments = [new AttentionSegment(rows.Pages, 0, tokens, first)];
        AttentionKernel.Absorbed(shape, query, up, segments, output, new float[Math.Max(0, AttentionKernel.AbsorbedWorkspace(shape, segments))], threads, operands);
        return output;
    }

    private static float[] Naive(in LatentAttentionShape shape, ReadOnlySpan<float> query, KeyValueUp up, ScaleKind? kind, PagedRows rows, int first, int tokens, KernelThreads threads)
    {
        var output = new float[tokens * shape.H * shape.U];
        AttentionKernel.Naive(shape, query, up, kind, rows.Pages, first, output, tokens, threads);
        return output;
    }

    // up is [H, N + U, C]; latents are given apart because W8A8 rounds them.
    private static double[] Plain(LatentAttentionShape shape, float[] query, float[] up, PagedRows rows, int first, int tokens, double[][] latents)
    {
        var (h, n, r, c, u, scale) = shape;
        var output = new double[tokens * h * u];
        double[] Expand(int row, int head, int from, int count)
        {
            var expanded = new double[count];
            for (var i = 0; i < count; i++)
            {
                for (var k = 0; k < c; k++)
                    expanded[i] += up[(((head * (n + u)) + from + i) * c) + k] * latents[row][k];
            }

            return expanded;
        }

        for (var head = 0; head < h; head++)
        {
            var keys = latents.Select((_, l) => Expand(l, head, 0, n)).ToArray();
            var values = latents.Select((_, l) => Expand(l, head, n, u)).ToArray();
            for (var t = 0; t < tokens; t++)
            {
                var q = query.AsSpan(((t * h) + head) * (n + r), n + r).ToArray();
                PlainAttention.Attend(
                    first + t + 1,
                    l => scale * (PlainAttention.Dot(q[..n], keys[l]) + PlainAttention.Dot(q[n..], rows.Pages.Read(l)[c..(c + r)])),
                    l => values[l],
                    output.AsSpan(((t * h) + head) * u, u));
            }
        }

        return output;
    }

    private static float[] TransposedKeys(WeightMatrix up, int h, int n, int u)
    {
        var (w, c) = (RandomMatrix.Decode(up), up.Cols);
        var keys = new float[h * c * n];
        for (var i = 0; i < keys.Length; i++)
        {
            var (head, column, row) = (i / n / c, i / n % c, i % n);
            keys[i] = w[(((head * (n + u)) + row) * c) + column];
        }

        return keys;
    }

    private static float[] Values(WeightMatrix up, int h, int n, int u)
    {
        var (w, c) = (RandomMatrix.Decode(up), up.Cols);
        return Enumerable.Range(0, h).SelectMany(head => w[(((head * (n + u)) + n) * c)..((head + 1) * (n + u) * c)]).ToArray();
    }
}
