using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// The first halves of gated MLPs with activations of 8 bits: silu(gate x) * (up x) (<see cref="SwiGlu"/>), quantised again for the down-projections. A worker takes the
/// same rows of gate and up and does the rest while their results are in its cache. The bits are those of the products, SwiGLU and quantisation one after the other.
/// </summary>
/// <remarks>Shape letters: T tokens, K input channels, I intermediate channels. All MLPs of a call are one job of the threads, of which an item is some rows of gate and up.</remarks>
public static unsafe class GatedMatMul
{
    // Rows of gate and up that are one item of a job: a whole number of the smaller blocks, and a part of the larger ones.
    private const int UnitRows = IntegerRows.UnitRows;

    // Results of gate and up that are at hand at once stay in the second-level cache.
    private const int PieceBytes = 128 << 10;

    /// <summary>Bytes of quantised results.</summary>
    public static long ResultBytes(ReadOnlySpan<GatedProduct> products)
    {
        long bytes = 0;
        foreach (ref readonly var product in products)
            bytes += (long)product.Tokens * ResultRowBytes(product);
        return bytes;
    }

    /// <summary>Bytes of working memory.</summary>
    /// <param name="products">The MLPs.</param>
    /// <param name="listed">Whether their rows are taken from a list.</param>
    public static long WorkspaceBytes(ReadOnlySpan<GatedProduct> products, bool listed)
    {
        var bytes = IntegerRows.EndsBytes(products.Length) + ((long)products.Length * sizeof(Plan));
        foreach (ref readonly var product in products)
            bytes += TokenRows.Bytes(product.Tokens, listed, RowBytes(product)) + ValueBytes(product) + CounterBytes(product);
        return bytes;
    }

    /// <summary>Computes them.</summary>
    /// <param name="products">Matrices of one K, in formats of one block length that have integer products.</param>
    /// <param name="x">Rows of <see cref="IntegerActivations.RowBytes"/> bytes.</param>
    /// <param name="rows">The list of rows that the products refer to; empty when it is 0, 1, 2 and so on.</param>
    /// <param name="y">Receives the quantised rows [T, I] of each MLP, those of one behind those of the other; <see cref="ResultBytes"/>. May not lie where x does.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes"/>.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not fit the shapes, or a format has no integer products.</exception>
    public static void Multiply(ReadOnlySpan<GatedProduct> products, ReadOnlySpan<byte> x, ReadOnlySpan<int> rows, Span<byte> y, Span<byte> workspace, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (products.IsEmpty)
            return;
        Check(products, x.Length, rows, y.Length, workspace.Length);
        var rowBytes = RowBytes(products[0]);
        fixed (GatedProduct* p = products)
        fixed (byte* px = x, py = y, work = workspace)
        fixed (int* list = rows)
        {
            var ends = (int*)work;
            var plans = (Plan*)(work + IntegerRows.EndsBytes(products.Length));
            var free = (byte*)(plans + products.Length);
            var (units, results) = (0, 0L);
            for (var i = 0; i < products.Length; i++)
            {
                ref readonly var product = ref p[i];
                units += product.Gate.Rows / UnitRows;
                ends[i] = units;
                var tokens = TokenRows.Of(px, rowBytes, list, product.FirstRow, product.Tokens, ref free);
                ref var plan = ref plans[i];
                plan = new Plan
                {
                    Gate = new StreamedRows(product.Gate, tokens, product.Tokens), Up = new StreamedRows(product.Up, tokens, product.Tokens),
                    Tokens = tokens, Count = product.Tokens, Width = product.Gate.Rows, Block = Block(product), Results = py + results,
                };
                if (!plan.Gate.AreReady || !plan.Up.AreReady)
                    plan.ScratchBytes = Math.Max(IntegerRows.ScratchBytes(product.Gate, product.Tokens), IntegerRows.ScratchBytes(product.Up, product.Tokens));
                results += (long)product.Tokens * ResultRowBytes(product);
                if (plan.Block <= UnitRows)
                    continue;
                plan.Values = (float*)free;
                plan.Counters = (int*)(free + ValueBytes(product));
                new Span<byte>(plan.Counters, (int)CounterBytes(product)).Clear();
                free += ValueBytes(product) + CounterBytes(product);
            }

            // An item is worth handing out: about 128k multiply-adds.
            var grain = (int)Math.Clamp(65536 / ((long)products[0].Gate.Cols * UnitRows * products[0].Tokens), 1, 64);
            threads.Run(units, grain, new UnitsJob(p, ends, plans, threads));
        }
    }

    // Results that get one scale, 32 or 256; a row is a whole number of them.
    private static int Block(in GatedProduct product) => WeightFormats.BlockLength(product.Down.Format);

    private static int ResultRowBytes(in GatedProduct product) => IntegerActivations.RowBytes(product.Gate.Rows, Block(product));

    private static int RowBytes(in GatedProduct product) => IntegerActivations.RowBytes(product.Gate.Cols, WeightFormats.BlockLength(product.Gate.Format));

    // Values of blocks that are made by several items, and how many items of each block are done.
    private static long ValueBytes(in GatedProduct product) => Block(product) <= UnitRows ? 0 : (long)product.Tokens * product.Gate.Rows * sizeof(float);

    private static long CounterBytes(in GatedProduct product) => Block(product) <= UnitRows ? 0 : ((product.Gate.Rows / Block(product) * sizeof(int)) + 63) & ~63;

    private static void Check(ReadOnlySpan<GatedProduct> products, int xBytes, ReadOnlySpan<int> rows, int yBytes, int workspaceBytes)
    {
        var cols = products[0].Gate.Cols;
        var block = WeightFormats.BlockLength(products[0].Gate.Format);
        var available = xBytes / RowBytes(products[0]);
        foreach (ref readonly var product in products)
        {
            Check(product.Gate, product.Gate.Rows, cols, block);
            Check(product.Up, product.Gate.Rows, cols, block);
            if (product.Down.Cols != product.Gate.Rows || !WeightFormats.HasIntegerProducts(product.Down.Format))
                throw new ArgumentException($"down takes {product.Gate.Rows} channels and has a format with integer products, but it is {product.Down.Format} [{product.Down.Rows}, {product.Down.Cols}]");
            if (product.Tokens <= 0 || product.FirstRow < 0 || product.FirstRow + (long)product.Tokens > (rows.IsEmpty ? available : rows.Length))
                throw new ArgumentException($"{product.Tokens} rows from {product.FirstRow} on: there are {available} rows of x and {rows.Length} in the list");
        }

        Product.CheckRows(rows, available);
        if (yBytes != ResultBytes(products) || workspaceBytes < WorkspaceBytes(products, !rows.IsEmpty))
            throw new ArgumentException($"{products.Length} gated products need y of {ResultBytes(products)} bytes and a workspace of {WorkspaceBytes(products, !rows.IsEmpty)}, but they have {yBytes} and {workspaceBytes}");
    }

    private static void Check(in WeightMatrix weight, int rows, int cols, int block)
    {
        if (weight.IsEmpty || weight.Cols != cols || weight.Rows != rows || WeightFormats.BlockLength(weight.Format) != block || !WeightFormats.HasIntegerProducts(weight.Format))
            throw new ArgumentException($"gate and up are [{rows}, {cols}] in formats with integer products in blocks of {block}, but one is {weight.Format} [{weight.Rows}, {weight.Cols}]");
    }

    /// <summary>What is known of an MLP before the job begins.</summary>
    private struct Plan
    {
        public StreamedRows Gate;
        public StreamedRows Up;

        public TokenRows Tokens;

        /// <summary>T.</summary>
        public int Count;

        /// <summary>I.</summary>
        public int Width;

        public int Block;
        public byte* Results;
        public float* Values;
        public int* Counters;

        /// <summary>What kernels need that are not those for streams.</summary>
        public long ScratchBytes;
    }

    private readonly struct UnitsJob(GatedProduct* products, int* ends, Plan* plans, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var i = 0; start < end; i++)
            {
                if (start >= ends[i])
                    continue;
                var stop = Math.Min(end, ends[i]);
                var firstUnit = i == 0 ? 0 : ends[i - 1];
                var (first, last) = ((start - firstUnit) * UnitRows, (stop - firstUnit) * UnitRows);
                start = stop;
                var piece = Math.Max(UnitRows, PieceBytes / (2 * sizeof(float) * plans[i].Count) / UnitRows * UnitRows);
                for (var m = first; m < last; m += piece)
                    Rows(products[i], plans[i], m, Math.Min(last, m + piece), worker);
            }
        }

        private void Rows(in GatedProduct product, in Plan plan, int start, int end, int worker)
        {
            var width = end - start;
            var results = (long)plan.Count * width * sizeof(float);
            var gates = (float*)threads.Scratch(worker, (2 * results) + plan.ScratchBytes);
            var ups = plan.Values == null ? gates + ((long)plan.Count * width) : plan.Values + start;
            var stride = plan.Values == null ? width : plan.Width;
            var scratch = (byte*)gates + (2 * results);
            if (!plan.Gate.TryMultiply(start, end, gates, width))
                IntegerRows.Multiply(product.Gate, start, end, plan.Tokens, gates, width, plan.Count, scratch);
            if (!plan.Up.TryMultiply(start, end, ups, stride))
                IntegerRows.Multiply(product.Up, start, end, plan.Tokens, ups, stride, plan.Count, scratch);
            for (var t = 0; t < plan.Count; t++)
                SwiGlu.InPlace(new ReadOnlySpan<float>(gates + ((long)t * width), width), new Span<float>(ups + ((long)t * stride), width));
            if (plan.Values == null)
                Quantize(plan, ups, stride, start, end);
            else
                QuantizeWhole(plan, start, end);
        }

        // The blocks that have all their values by now: whoever makes the last ones quantises a block.
        private static void QuantizeWhole(in Plan plan, int start, int end)
        {
            var block = plan.Block;
            for (var b = start / block; b * block < end; b++)
            {
                var units = (Math.Min(end, (b + 1) * block) - Math.Max(start, b * block)) / UnitRows;
                if (Interlocked.Add(ref plan.Counters[b], units) == block / UnitRows)
                    Quantize(plan, plan.Values + (b * block), plan.Width, b * block, (b + 1) * block);
            }
        }

        private static void Quantize(in Plan plan, float* values, long stride, int start, int end)
        {
            var resultBytes = IntegerActivations.RowBytes(plan.Width, plan.Block);
            for (var t = 0; t < plan.Count; t++)
                IntegerActivations.QuantizeBlocks(values + (t * stride), end - start, plan.Block, new IntegerRow(plan.Results + ((long)t * resultBytes), plan.Width), start);
        }
    }
}
