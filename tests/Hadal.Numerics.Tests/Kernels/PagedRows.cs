using Hadal.Numerics.Kernels;

namespace Hadal.Numerics.Tests.Kernels;

/// <summary>Rows of random values, padded with zeros, in pages scattered over memory whose other values would be noticed.</summary>
internal sealed class PagedRows : IDisposable
{
    private const int Layer = 12;

    private readonly NativeBuffer memory;
    private readonly NativeBuffer table;
    private readonly int rows;
    private readonly int used;

    public PagedRows(Random random, int rows, int used, int width, CacheFormat format = CacheFormat.F32)
        : this(random, rows, used, new CacheLayout(format, 1, width))
    {
    }

    public PagedRows(Random random, int rows, int used, CacheLayout layout, int pageTokens = 8)
    {
        this.rows = rows;
        this.used = used;
        var count = (rows + pageTokens - 1) / pageTokens;
        var pages = Enumerable.Range(0, count + 5).ToArray();
        random.Shuffle(pages);
        memory = new NativeBuffer(Layer + ((long)pages.Length * pageTokens * layout.RowBytes));
        memory.Span<byte>(0, (int)memory.ByteLength).Fill(0xFF);
        table = new NativeBuffer(count * sizeof(int));
        pages.AsSpan(0, count).CopyTo(table.Span<int>(0, count));
        Pages = new CachePages(memory, Layer, table, pageTokens, layout);
        for (var l = 0; l < rows; l++)
        {
            var row = RandomMatrix.Normals(random, used);
            Pages.Write(l, row.AsSpan(0, l % used), row.AsSpan(l % used));
        }
    }

    public CachePages Pages { get; }

    public double[][] Latents(int c) => Enumerable.Range(0, rows).Select(l => Pages.Read(l)[..c].Select(v => (double)v).ToArray()).ToArray();

    public PagedRows InOtherPages(Random random)
    {
        var other = new PagedRows(random, rows, used, Pages.Layout, Pages.PageTokens);
        for (var l = 0; l < rows; l++)
            other.Pages.Write(l, Pages.Read(l));
        return other;
    }

    public void Dispose()
    {
        memory.Dispose();
        table.Dispose();
    }
}
