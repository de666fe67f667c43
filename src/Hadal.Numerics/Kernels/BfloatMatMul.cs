using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Products of activations rounded to bfloat16 with BF16 and E4M3 weights, on processors that multiply such numbers by themselves (AVX512-BF16, for E4M3 AVX512-VBMI too); summed in
/// float32 in the order of <see cref="BfloatDot"/>, so that the bits of a result are the same for one token or many, on any number of threads. Scales of E4M3 codes are taken to the
/// activations, x * scale rounded once to float32 and once to bfloat16. So do linear layers on tensor cores.
/// </summary>
/// <remarks>Shape letters: T tokens, K input channels (the weight's columns), M output channels (its rows).</remarks>
public static unsafe class BfloatMatMul
{
    private const int ManyUnits = 4;

    // Rows that are padded at once.
    private const int PanelRows = 16;

    // With more tokens than these, tiles are faster over BF16 rows than streams; measured, docs/LOG.md.
    private const int MostStreamed = 48;

    // Rows that all tokens pass before the next ones are read.
    private const int TogetherBytes = 256 << 10;

    // Columns that are taken at once of rows that several tokens pass, where so many tokens of them all would be more than the first cache can hold beside the rows.
    private const int PieceCols = 2048;
    private const int FirstCacheValues = 16 << 10;

    // Room for the sums of the rows that are taken together.
    private const int SumBytes = TogetherBytes / PieceCols * 1024;

    // Rounded tokens that pass all rows of a worker before the next do: where tiles read them for every four rows, they stay in the second cache.
    private const int TileTokenBytes = 512 << 10;
    private const int TokenBytes = 2 << 20;

    // Fewer values are not worth handing out.
    private const int LeastValues = 8192;

    /// <summary>Whether this processor has such products with weights in a format.</summary>
    public static bool Has(WeightFormat format) => BfloatKernels.Exist(format);

    /// <summary>Bytes of working memory.</summary>
    /// <param name="rows">Rows of x.</param>
    /// <param name="cols">K.</param>
    public static long WorkspaceBytes(long rows, int cols) => rows * BfloatDot.Padded(cols) * sizeof(ushort);

    /// <summary>Several products as one job; their rows are those of x.</summary>
    /// <param name="products">Matrices [M, K] of one K, in formats that <see cref="Has"/> names.</param>
    /// <param name="x">Rows of K values.</param>
    /// <param name="y">Results, each where its product says.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes"/>, aligned to 64 bytes.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not fit the shapes, or there are no such products here.</exception>
    public static void Multiply(ReadOnlySpan<Product> products, ReadOnlySpan<float> x, Span<float> y, Span<byte> workspace, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (products.IsEmpty)
            return;
        var cols = products[0].Weight.Cols;
        var count = x.Length / Math.Max(1, cols);
        Product.Check(products, [], count, y.Length);
        if (workspace.Length < WorkspaceBytes(count, cols))
            throw new ArgumentException($"{count} rows of {cols} values need {WorkspaceBytes(count, cols)} bytes of working memory, but there are {workspace.Length}");
        var (units, isRounded) = (ProductUnits.Count(products), false);
        foreach (var (weight, _, _, _) in products)
        {
            if (!Has(weight.Format))
                throw new ArgumentException($"this processor has no products of bfloat16 with {weight.Format} weights");
            isRounded |= weight.Format == WeightFormat.BF16;
        }

        fixed (Product* p = products)
        fixed (float* px = x, py = y)
        fixed (byte* work = workspace)
        {
            var rounded = (ushort*)work;
            if (isRounded)
                threads.Run(count, Math.Max(1, LeastValues / cols), new RoundJob(px, cols, rounded));

            // An item must be worth the fork: about 32k multiply-adds. Several tokens are rounded for each piece of E4M3 rows, which ought to be longer.
            var least = products[0].Tokens > 1 ? ManyUnits : 1;
            threads.Run(units, (int)Math.Clamp(32768 / ((long)cols * ProductUnits.Rows * products[0].Tokens), least, Math.Max(least, units)), new ProductsJob(p, products.Length, px, rounded, py, threads));
        }
    }

    /// <summary>y[t, m] = sum_k x[t, k] W[m, k] in plain loops: the specification.</summary>
    /// <param name="weight">W [M, K], BF16 or F8_E4M3.</param>
    /// <param name="x">[T, K].</param>
    /// <param name="y">[T, M], overwritten.</param>
    /// <param name="tokens">T.</param>
    public static void MultiplyReference(WeightMatrix weight, ReadOnlySpan<float> x, Span<float> y, int tokens)
    {
        float[] row = new float[weight.Cols], input = new float[weight.Cols];
        for (var m = 0; m < weight.Rows; m++)
        {
            WeightFormats.Decode(weight.Format, weight.Row(m), row);
            var scales = weight.RowScales(m);
            for (var t = 0; t < tokens; t++)
            {
                x.Slice(t * weight.Cols, weight.Cols).CopyTo(input);
                for (var k = 0; k < input.Length && !scales.IsEmpty; k++)
                    input[k] *= scales[k / WeightMatrix.ScaleBlock];
                y[(t * weight.Rows) + m] = BfloatDot.Reference(input, row, weight.Format);
            }
        }
    }

    private static void Rows(WeightMatrix weight, int start, int end, float* x, ushort* rounded, float* y, int tokens, KernelThreads threads, int worker)
    {
        var padded = BfloatDot.Padded(weight.Cols);
        var isPlain = weight.Format == WeightFormat.BF16;
        var tokenBytes = TakesTiles(weight.Format, tokens, padded) ? TileTokenBytes : TokenBytes;
        var most = Math.Min(tokens, Math.Max(BfloatTile.MaxTokens, tokenBytes / sizeof(ushort) / padded / BfloatTile.MaxTokens * BfloatTile.MaxTokens));

        // Scratch: sums of rows that are taken in pieces, tokens times scales, rows that are padded.
        var sums = (float*)threads.Scratch(worker, SumBytes + (((isPlain ? 0L : most) + PanelRows) * padded * sizeof(ushort)));
        var scaled = (ushort*)((byte*)sums + SumBytes);
        var panel = (byte*)(scaled + (isPlain ? 0L : (long)most * padded));
        for (int stop; start < end; start = stop)
        {
            stop = Math.Min(end, weight.ScaleBlockEnd(start));
            for (int t = 0, count; t < tokens; t += count)
            {
                count = Math.Min(most, tokens - t);
                var x_TK = rounded + ((long)t * padded);
                if (!isPlain)
                {
                    x_TK = scaled;
                    for (var i = 0; i < count; i++)
                        BfloatDot.Round(x + ((long)(t + i) * weight.Cols), weight.Cols, weight.RowScales(start), scaled + ((long)i * padded));
                }

                var results = y + ((long)t * weight.Rows);
                if (padded == weight.Cols)
                    Adjacent(weight.Format, weight.Data + (start * weight.RowBytes), stop - start, padded, x_TK, count, results + start, weight.Rows, sums);
                else
                    PaddedRows(weight, start, stop, padded, x_TK, count, results, panel, sums);
            }
        }
    }

    private static bool TakesTiles(WeightFormat format, int tokens, int padded) => format == WeightFormat.BF16 && tokens > MostStreamed && padded <= PieceCols;

    // Copies, filled up with zeros.
    private static void PaddedRows(WeightMatrix weight, int start, int end, int padded, ushort* x_TK, int tokens, float* y, byte* panel, float* sums)
    {
        var rowBytes = WeightFormats.RowBytes(weight.Format, padded);
        for (int m = start, height; m < end; m += height)
        {
            height = Math.Min(PanelRows, end - m);
            for (var r = 0; r < height; r++)
            {
                var target = new Span<byte>(panel + (r * rowBytes), (int)rowBytes);
                weight.Row(m + r).CopyTo(target);
                target[(int)weight.RowBytes..].Clear();
            }

            Adjacent(weight.Format, panel, height, padded, x_TK, tokens, y + m, weight.Rows, sums);
        }
    }

    // Rows that lie one after the other. Few tokens: blocks of rows that stay in the second cache pass some tokens at a time. The first ones bring them there, row by row; the others
    // take wide rows in pieces, so that their own values stay in the first cache. Many tokens: tiles.
    private static void Adjacent(WeightFormat format, byte* rows, int count, int padded, ushort* x_TK, int tokens, float* y, int yStride, float* sums)
    {
        var rowBytes = WeightFormats.RowBytes(format, padded);
        var r = 0;
        for (; TakesTiles(format, tokens, padded) && r <= count - BfloatTile.Rows; r += BfloatTile.Rows)
            Tiles(rows + (r * rowBytes), padded, x_TK, tokens, y + r, yStride);
        if (r == 0 && StreamHints.EveryLine)
            StreamHints.AskForStart(rows + (count / 2 * rowBytes), RowStream.PairAhead);
        var most = BfloatRows.MaxTokens(format);
        var together = tokens <= most ? count : (int)Math.Max(2, TogetherBytes / rowBytes / 2 * 2);
        for (int height; r < count; r += height)
        {
            height = Math.Min(together, count - r);

            // Equal parts, as far as whole tokens can be shared out.
            for (int t = 0, parts = (tokens + most - 1) / most, part; parts > 0; t += part, parts--)
            {
                part = (tokens - t + parts - 1) / parts;
                var kernel = BfloatKernels.Rows(format, part);
                var piece = t == 0 || part * padded <= FirstCacheValues ? padded : Math.Min(padded, PieceCols);
                for (var k = 0; k < padded; k += piece)
                {
                    var arguments = new RowStreamArguments
                    {
                        Rows = height, RowStride = rowBytes, Steps = Math.Min(piece, padded - k) / BfloatDot.Step, TokenStride = (long)padded * sizeof(ushort),
                        ResultStride = (long)yStride * sizeof(float), Sums = sums, Continues = k > 0 ? 1 : 0, Waits = k + piece < padded ? 1 : 0,
                    };
                    kernel(rows + (r * rowBytes) + WeightFormats.RowBytes(format, k), x_TK + ((long)t * padded) + k, y + ((long)t * yStride) + r, &arguments);
                }
            }
        }
    }

    // Four rows; while the first tokens pass, the next four are asked for.
    private static void Tiles(byte* rows, int padded, ushort* x_TK, int tokens, float* y, int yStride)
    {
        var tile = new BfloatTileArguments
        {
            Weights = rows, Steps = padded / BfloatDot.Step, ResultStride = (long)yStride * sizeof(float), Ahead = rows + ((long)BfloatTile.Rows * padded * sizeof(ushort)),
        };
        for (int t = 0, width; t < tokens; t += width)
        {
            width = Math.Min(BfloatTile.MaxTokens, tokens - t);
            tile.Tokens = (byte*)(x_TK + ((long)t * padded));
            tile.Results = y + ((long)t * yStride);
            BfloatKernels.Tile(width, asks: t == 0)(&tile);
        }
    }

    private readonly struct RoundJob(float* x, int cols, ushort* rounded) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var t = start; t < end; t++)
                BfloatDot.Round(x + ((long)t * cols), cols, [], rounded + ((long)t * BfloatDot.Padded(cols)));
        }
    }

    private readonly struct ProductsJob(Product* products, int count, float* x, ushort* rounded, float* y, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var units = new ProductUnits(products, count, start, end);
            while (units.Next(out var product, out var row, out var stop))
            {
                var (weight, firstRow, tokens, output) = product;
                Rows(weight, row, stop, x + ((long)firstRow * weight.Cols), rounded + ((long)firstRow * BfloatDot.Padded(weight.Cols)), y + output, tokens, threads, worker);
            }
        }
    }
}
