using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Products of activations quantised to 8 bits (<see cref="IntegerActivations"/>) with weights in integer formats, summed in the order of
/// <see cref="IntegerDot"/>: the bits of a result are the same for one token or many, on any number of threads and any instruction set.
/// </summary>
/// <remarks>
/// Shape letters: T tokens, K input channels (the weight's columns), M output channels (its rows).
/// All products of a call are one job of the threads, of which an item is some rows of a weight (<see cref="IntegerRows"/>).
/// </remarks>
public static unsafe class IntegerMatMul
{
    private const int UnitRows = IntegerRows.UnitRows;

    /// <summary>y[t, m] = sum_k x[t, k] W[m, k].</summary>
    /// <param name="weight">W [M, K], in a format with <see cref="WeightFormats.HasIntegerProducts"/>.</param>
    /// <param name="x">[T] rows of <see cref="IntegerActivations.RowBytes"/> bytes, quantised in blocks of the weight's block length.</param>
    /// <param name="y">[T, M], overwritten.</param>
    /// <param name="tokens">T.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes(WeightMatrix, int)"/>.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not fit the shapes, or the format has no integer products.</exception>
    public static void Multiply(WeightMatrix weight, ReadOnlySpan<byte> x, Span<float> y, int tokens, Span<byte> workspace, KernelThreads threads)
    {
        var rowBytes = IntegerActivations.RowBytes(weight.Cols, WeightFormats.BlockLength(weight.Format));
        if (tokens <= 0 || x.Length != (long)tokens * rowBytes || y.Length != (long)tokens * weight.Rows)
            throw new ArgumentException($"{tokens} tokens x W [{weight.Rows}, {weight.Cols}] need x of {(long)tokens * rowBytes} bytes and y of {(long)tokens * weight.Rows} values, but they have {x.Length} and {y.Length}");
        Multiply([new Product(weight, 0, tokens, 0)], x, [], y, workspace, threads);
    }

    /// <summary>Several products as one job.</summary>
    /// <param name="products">Matrices [M, K] of one K, in formats of one block length that have integer products.</param>
    /// <param name="x">Rows of <see cref="IntegerActivations.RowBytes"/> bytes.</param>
    /// <param name="rows">The list of rows that the products refer to; empty when it is 0, 1, 2 and so on.</param>
    /// <param name="y">Results, each where its product says.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes(ReadOnlySpan{Product}, bool)"/>.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not fit the shapes, or a format has no integer products.</exception>
    public static void Multiply(ReadOnlySpan<Product> products, ReadOnlySpan<byte> x, ReadOnlySpan<int> rows, Span<float> y, Span<byte> workspace, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (products.IsEmpty)
            return;
        var block = WeightFormats.BlockLength(products[0].Weight.Format);
        var rowBytes = IntegerActivations.RowBytes(products[0].Weight.Cols, block);
        Product.Check(products, rows, x.Length / rowBytes, y.Length);
        if (workspace.Length < WorkspaceBytes(products, !rows.IsEmpty))
            throw new ArgumentException($"{products.Length} products need a workspace of {WorkspaceBytes(products, !rows.IsEmpty)} bytes, but it has {workspace.Length}");
        fixed (Product* p = products)
        fixed (byte* px = x, work = workspace)
        fixed (float* py = y)
        fixed (int* list = rows)
        {
            var ends = (int*)work;
            var plans = (Plan*)(work + IntegerRows.EndsBytes(products.Length));
            var free = (byte*)(plans + products.Length);
            var units = 0;
            for (var i = 0; i < products.Length; i++)
            {
                ref readonly var product = ref p[i];
                if (WeightFormats.BlockLength(product.Weight.Format) != block || !WeightFormats.HasIntegerProducts(product.Weight.Format))
                    throw new ArgumentException($"{product.Weight.Format} has no integer products in blocks of {block}");
                units += (product.Weight.Rows + UnitRows - 1) / UnitRows;
                ends[i] = units;
                var tokens = i > 0 && SharesTokens(product, p[i - 1]) ? plans[i - 1].Tokens : TokenRows.Of(px, rowBytes, list, product.FirstRow, product.Tokens, ref free);
                plans[i] = new Plan { Rows = new StreamedRows(product.Weight, tokens, product.Tokens), Tokens = tokens, Y = py + product.Output, Height = product.Weight.Rows };
            }

            var job = new Job { Ends = ends, Plans = plans, Products = p, Threads = threads };
            threads.Run(units, Grain(products, block), new UnitsJob(job));
        }
    }

    /// <summary>The specification of <see cref="Multiply(WeightMatrix, ReadOnlySpan{byte}, Span{float}, int, Span{byte}, KernelThreads)"/>, in plain loops over unpacked blocks.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="x">[T] quantised rows.</param>
    /// <param name="y">[T, M], overwritten.</param>
    /// <param name="tokens">T.</param>
    public static void MultiplyReference(WeightMatrix weight, ReadOnlySpan<byte> x, Span<float> y, int tokens)
    {
        var rowBytes = IntegerActivations.RowBytes(weight.Cols, WeightFormats.BlockLength(weight.Format));
        if (x.Length != (long)tokens * rowBytes || y.Length != (long)tokens * weight.Rows)
            throw new ArgumentException($"{tokens} tokens x W [{weight.Rows}, {weight.Cols}] do not fit x of {x.Length} bytes and y of {y.Length} values");
        fixed (byte* px = x)
        fixed (float* py = y)
        {
            var action = new ReferenceAction { Weight = weight, X = px, XStride = rowBytes, Y = py, Tokens = tokens };
            if (!WeightFormats.TryDispatchInteger(weight.Format, ref action))
                throw new ArgumentException($"{weight.Format} has no integer products");
        }
    }

    /// <summary>Bytes of working memory for a product of <paramref name="tokens"/> tokens.</summary>
    public static long WorkspaceBytes(WeightMatrix weight, int tokens) => WorkspaceBytes([new Product(weight, 0, tokens, 0)], false);

    /// <summary>Bytes of working memory for several products as one job.</summary>
    /// <param name="products">The products.</param>
    /// <param name="listed">Whether their rows are taken from a list.</param>
    public static long WorkspaceBytes(ReadOnlySpan<Product> products, bool listed)
    {
        if (products.IsEmpty)
            return 0;
        var rowBytes = IntegerActivations.RowBytes(products[0].Weight.Cols, WeightFormats.BlockLength(products[0].Weight.Format));
        var bytes = IntegerRows.EndsBytes(products.Length) + ((long)products.Length * sizeof(Plan));
        for (var i = 0; i < products.Length; i++)
        {
            if (i == 0 || !SharesTokens(products[i], products[i - 1]))
                bytes += TokenRows.Bytes(products[i].Tokens, listed, rowBytes);
        }

        return bytes;
    }

    /// <summary>As the product of one matrix on the calling worker alone, from float32 input that is quantised on the way; x and y may be strided.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="x">[T, K], rows <paramref name="xStride"/> apart.</param>
    /// <param name="xStride">Values from one token's input to the next.</param>
    /// <param name="y">[T, M], rows <paramref name="yStride"/> apart.</param>
    /// <param name="yStride">Values from one token's output to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    internal static void MultiplyOnWorker(WeightMatrix weight, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        var block = WeightFormats.BlockLength(weight.Format);
        var rowBytes = IntegerActivations.RowBytes(weight.Cols, block);
        var quantizedBytes = (long)tokens * rowBytes;
        var quantized = threads.Scratch(worker, quantizedBytes + IntegerRows.ScratchBytes(weight, tokens));
        for (var t = 0; t < tokens; t++)
            IntegerActivations.QuantizeRow(new ReadOnlySpan<float>(x + ((long)t * xStride), weight.Cols), block, new Span<byte>(quantized + ((long)t * rowBytes), rowBytes));
        var rows = new TokenRows((nint)quantized, rowBytes);
        if (!new StreamedRows(weight, rows, tokens).TryMultiply(0, weight.Rows, y, yStride))
            IntegerRows.Multiply(weight, 0, weight.Rows, rows, y, yStride, tokens, quantized + quantizedBytes);
    }

    private static bool SharesTokens(in Product a, in Product b) => a.FirstRow == b.FirstRow && a.Tokens == b.Tokens;

    // An item must be worth handing out: about 64k multiply-adds.
    private static int Grain(ReadOnlySpan<Product> products, int block)
    {
        var work = (long)products[0].Weight.Cols * UnitRows * products[0].Tokens;
        return (int)Math.Clamp(65536 / work, 1, 64);
    }

    /// <summary>What is known of a product before the job begins.</summary>
    private struct Plan
    {
        public StreamedRows Rows;

        public TokenRows Tokens;

        public float* Y;

        /// <summary>M.</summary>
        public int Height;
    }

    private struct Job
    {
        /// <summary>Behind the last item of each product.</summary>
        public int* Ends;

        public Plan* Plans;
        public Product* Products;
        public KernelThreads Threads;
    }

    private struct ReferenceAction : IIntegerAction
    {
        public WeightMatrix Weight;
        public byte* X;
        public int XStride;
        public float* Y;
        public int Tokens;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            for (var t = 0; t < Tokens; t++)
            {
                var x = new IntegerRow(X + ((long)t * XStride), Weight.Cols);
                for (var m = 0; m < Weight.Rows; m++)
                    Y[((long)t * Weight.Rows) + m] = IntegerDot.DotReference<TFormat>(Weight.Data + (m * Weight.RowBytes), x, Weight.Cols / TFormat.BlockLength);
            }
        }
    }

    private readonly struct UnitsJob(Job job) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var i = 0; start < end; i++)
            {
                if (start >= job.Ends[i])
                    continue;
                var stop = Math.Min(end, job.Ends[i]);
                var firstUnit = i == 0 ? 0 : job.Ends[i - 1];
                ref readonly var plan = ref job.Plans[i];
                var (firstRow, lastRow) = ((start - firstUnit) * UnitRows, Math.Min((stop - firstUnit) * UnitRows, plan.Height));
                start = stop;
                if (!plan.Rows.TryMultiply(firstRow, lastRow, plan.Y + firstRow, plan.Height))
                    Multiply(job.Products[i], plan, firstRow, lastRow, worker);
            }
        }

        private void Multiply(in Product product, in Plan plan, int firstRow, int lastRow, int worker)
        {
            var scratchBytes = IntegerRows.ScratchBytes(product.Weight, product.Tokens);
            var scratch = scratchBytes > 0 ? job.Threads.Scratch(worker, scratchBytes) : null;
            IntegerRows.Multiply(product.Weight, firstRow, lastRow, plan.Tokens, plan.Y + firstRow, plan.Height, product.Tokens, scratch);
        }
    }
}
