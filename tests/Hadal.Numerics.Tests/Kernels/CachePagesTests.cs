using CsCheck;
using Hadal.Numerics.Kernels;
using Xunit;

namespace Hadal.Numerics.Tests.Kernels;

public sealed class CachePagesTests
{
    [Fact]
    public void CacheRowsComeBackAsNearAsTheirFormatAllows()
    {
        Gen.Select(Gen.Int[1, 4], Gen.Int[1, 300], Gen.Int[0, 1 << 20], Gen.Double[-30, 30]).Sample(
            (parts, partWidth, seed, exponent) =>
            {
                var (width, random) = (parts * partWidth, new Random(seed));
                var values = RandomMatrix.Normals(random, width, Math.Pow(10, exponent));
                foreach (var format in Enum.GetValues<CacheFormat>())
                {
                    var layout = new CacheLayout(format, parts, partWidth);
                    using var memory = new NativeBuffer(2L * layout.RowBytes);
                    using var table = new NativeBuffer(sizeof(int));
                    var pages = new CachePages(memory, 0, table, 2, layout);
                    var cut = random.Next(width + 1);
                    pages.Write(1, values.AsSpan(0, cut), values.AsSpan(cut));
                    Assert.All(pages.Read(0), v => Assert.Equal(0, v));
                    var read = pages.Read(1);
                    for (var k = 0; k < width; k++)
                    {
                        var group = values.AsSpan(k / partWidth * partWidth, partWidth)[(k % partWidth / CacheRow.Group * CacheRow.Group)..];
                        var largest = group[..Math.Min(CacheRow.Group, group.Length)].ToArray().Max(Math.Abs);
                        var allowed = format switch { CacheFormat.F32 => 0, CacheFormat.BF16 => Math.Abs(values[k]) / 256, _ => largest / 127 * 0.5001 };
                        Assert.True(Math.Abs(read[k] - values[k]) <= allowed, $"{layout} at {k}: {values[k]} came back as {read[k]}");
                    }

                    // What was read is stored again without loss.
                    pages.Write(0, read);
                    Bits.AssertEqual(read, pages.Read(0), $"{format} again");
                    pages.Write(0, []);
                    Assert.All(pages.Read(0), v => Assert.Equal(0, v));
                    values[width / 2] = float.NaN;
                    pages.Write(0, values);
                    Assert.True(float.IsNaN(pages.Read(0)[width / 2]), $"{format} loses a NaN");
                    values[width / 2] = 1;
                }
            },
            iter: 60,
            threads: 1);
    }
}
