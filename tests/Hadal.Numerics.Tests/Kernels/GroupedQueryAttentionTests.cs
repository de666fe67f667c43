using CsCheck;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;
using Xunit;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class GroupedQueryAttentionTests
{
    private const double Tolerance = 2e-5;

    [Theory]
    [InlineData(CacheFormat.F32)]
    [InlineData(CacheFormat.BF16)]
    [InlineData(CacheFormat.Q8)]
    public void GroupedQueryAttentionAgreesWithDoubleAndDoesNotDependOnTheRun(CacheFormat cache)
    {
        using var one = new KernelThreads(1);
        using var three = new KernelThreads(3);
        Gen.Select(Gen.Int[1, 3], Gen.Int[1, 4], Gen.OneOf(Gen.Int[1, 40], Gen.Int[1, 5].Select(v => 16 * v)), Gen.Int[0, 300], Gen.Int[1, 20], Gen.Bool.Select(small => small ? 8 : 64), Gen.Int[0, 1 << 20]).Sample(
            (g, ratio, a, first, tokens, page, seed) =>
            {
                var (h, random) = (g * ratio, new Random(seed));
                using var sequence = new PagedRows(random, first + tokens, 2 * g * a, CacheLayout.KeysAndValues(cache, g, a), page);
                var query = RandomMatrix.Normals(random, tokens * h * a);
                var scale = (float)(1 / Math.Sqrt(a));
                float[] Run(ReadOnlySpan<float> q, int start, int count, KernelThreads threads)
                {
                    var output = new float[count * h * a];
                    AttentionKernel.GroupedQuery(q, h, g, a, scale, sequence.Pages, start, output, count, threads);
                    return output;
                }

                var expected = new double[tokens * h * a];
                for (var t = 0; t < tokens; t++)
                {
                    for (var head = 0; head < h; head++)
                    {
                        var q = query.AsSpan(((t * h) + head) * a, a).ToArray();
                        var group = head / ratio;
                        PlainAttention.Attend(
                            first + t + 1,
                            l => scale * PlainAttention.Dot(q, sequence.Pages.Read(l)[(group * a)..((group + 1) * a)]),
                            l => sequence.Pages.Read(l)[((g + group) * a)..((g + group + 1) * a)].Select(v => (double)v).ToArray(),
                            expected.AsSpan(((t * h) + head) * a, a));
                    }
                }

                var whole = Run(query, first, tokens, one);
                Bits.AssertNear(expected, whole, Tolerance, "grouped-query");
                Bits.AssertEqual(whole, Run(query, first, tokens, three), "3 threads");
                Bits.AssertEqual(whole.AsSpan((tokens - 1) * h * a).ToArray(), Run(query.AsSpan((tokens - 1) * h * a), first + tokens - 1, 1, three), "the last token alone");
                var cut = tokens / 2;
                if (cut > 0)
                    Bits.AssertEqual(whole, [.. Run(query.AsSpan(0, cut * h * a), first, cut, three), .. Run(query.AsSpan(cut * h * a), first + cut, tokens - cut, one)], "in two runs");
            },
            iter: 40,
            threads: 1);
    }
}
