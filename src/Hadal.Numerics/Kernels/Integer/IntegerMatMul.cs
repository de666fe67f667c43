using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Products of activations quantised to 8 bits (<see cref="IntegerActivations"/>) with weights in integer formats, summed in the order of
/// <see cref="IntegerDot"/>: the bits of a result are the same for one token or many, on any number of threads and any instruction set.
/// </summary>
/// <remarks>Shape letters: T tokens, K input channels (the weight's columns), M output channels (its rows).</remarks>
public static unsafe class IntegerMatMul
{
    private const int TileThreshold = 6;

    /// <summary>y[t, m] = sum_k x[t, k] W[m, k].</summary>
    /// <param name="weight">W [M, K], in a format with <see cref="WeightFormats.HasIntegerProducts"/>.</param>
    /// <param name="x">[T] rows of <see cref="IntegerActivations.RowBytes"/> bytes, quantised in blocks of the weight's block length.</param>
    /// <param name="y">[T, M], overwritten.</param>
    /// <param name="tokens">T.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes"/>.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not fit the shapes, or the format has no integer products.</exception>
    public static void Multiply(WeightMatrix weight, ReadOnlySpan<byte> x, Span<float> y, int tokens, Span<byte> workspace, KernelThreads threads)
    {
        var rowBytes = IntegerActivations.RowBytes(weight.Cols, WeightFormats.BlockLength(weight.Format));
        if (workspace.Length < WorkspaceBytes(weight, tokens))
            throw new ArgumentException($"{tokens} tokens x W [{weight.Rows}, {weight.Cols}] need a workspace of {WorkspaceBytes(weight, tokens)} bytes, but it has {workspace.Length}");
        if (tokens <= 0 || x.Length != (long)tokens * rowBytes || y.Length != (long)tokens * weight.Rows)
            throw new ArgumentException($"{tokens} tokens x W [{weight.Rows}, {weight.Cols}] need x of {(long)tokens * rowBytes} bytes and y of {(long)tokens * weight.Rows} values, but they have {x.Length} and {y.Length}");
        fixed (byte* px = x, work = workspace)
        fixed (float* py = y)
        {
            var action = new MultiplyAction { Weight = weight, X = px, XStride = rowBytes, Y = py, YStride = weight.Rows, Tokens = tokens, Work = work, Threads = threads };
            if (!WeightFormats.TryDispatchInteger(weight.Format, ref action))
                throw new ArgumentException($"{weight.Format} has no integer products");
        }
    }

    /// <summary>The specification of <see cref="Multiply"/>, in plain loops over unpacked blocks.</summary>
    /// <inheritdoc cref="Multiply" path="/param"/>
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

    /// <summary>Bytes of working memory for <paramref name="tokens"/> tokens; 0 for a few.</summary>
    public static long WorkspaceBytes(WeightMatrix weight, int tokens)
    {
        var size = new WorkspaceAction { Weight = weight, Tokens = tokens };
        WeightFormats.TryDispatchInteger(weight.Format, ref size);
        return size.Bytes;
    }

    /// <summary>As <see cref="Multiply"/> on the calling worker alone, from float32 input that is quantised on the way; x and y may be strided.</summary>
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
        var quantized = threads.Scratch(worker, (long)tokens * rowBytes);
        for (var t = 0; t < tokens; t++)
            IntegerActivations.QuantizeRow(new ReadOnlySpan<float>(x + ((long)t * xStride), weight.Cols), block, new Span<byte>(quantized + ((long)t * rowBytes), rowBytes));
        var action = new MultiplyAction { Weight = weight, X = quantized, XStride = rowBytes, Y = y, YStride = yStride, Tokens = tokens };
        if (!WeightFormats.TryDispatchInteger(weight.Format, ref action))
            throw new ArgumentException($"{weight.Format} has no integer products");
    }

    // Unpacking a panel costs as much as some tokens of row products, so a few tokens go row by row. Where exactly it turns is not measured yet;
    // both ways give the same bits.
    private static bool UsesTiles(IntegerPanel panel, int tokens) => tokens >= TileThreshold && TileKernels.Find(panel, IntegerPanel.MaxTokens) != null;

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

    private struct WorkspaceAction : IIntegerAction
    {
        public WeightMatrix Weight;
        public int Tokens;
        public long Bytes;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> =>
            Bytes = UsesTiles(TFormat.Panel, Tokens) ? IntegerTiles.PackedBytes(TFormat.Panel, Weight.Cols / TFormat.BlockLength, Tokens) : 0;
    }

    private struct MultiplyAction : IIntegerAction
    {
        public WeightMatrix Weight;
        public byte* X;
        public int XStride;
        public float* Y;
        public int YStride;
        public int Tokens;
        public byte* Work;
        public KernelThreads? Threads;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            var job = new RowsJob<TFormat>(this);
            if (Threads is null)
            {
                job.Invoke(0, Weight.Rows, 0);
            }
            else if (UsesTiles(TFormat.Panel, Tokens))
            {
                Threads.Run((Tokens + IntegerPanel.MaxTokens - 1) / IntegerPanel.MaxTokens, 1, new PackJob<TFormat>(this));
                Threads.Run((Weight.Rows + IntegerPanel.Rows - 1) / IntegerPanel.Rows, 1, new TilesJob<TFormat>(this));
            }
            else
            {
                Threads.Run(Weight.Rows, (int)Math.Clamp((65536L / ((long)Weight.Cols * Tokens)) + 1, 1, Weight.Rows), job);
            }
        }
    }

    private readonly struct PackJob<TFormat>(MultiplyAction a) : IKernelJob
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        public void Invoke(int start, int end, int worker)
        {
            var cols = a.Weight.Cols;
            var fullBytes = (long)cols / TFormat.BlockLength * TFormat.Panel.TokenBytes(IntegerPanel.MaxTokens);
            for (var tile = start; tile < end; tile++)
            {
                var first = tile * IntegerPanel.MaxTokens;
                var width = IntegerTiles.TileTokens(first, a.Tokens);
                IntegerTiles.PackTokens(TFormat.Panel, a.X + ((long)first * a.XStride), a.XStride, cols, Math.Min(width, a.Tokens - first), width, a.Work + (tile * fullBytes));
            }
        }
    }

    private readonly struct TilesJob<TFormat>(MultiplyAction a) : IKernelJob
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        public void Invoke(int start, int end, int worker)
        {
            var panel = TFormat.Panel;
            var blocks = a.Weight.Cols / TFormat.BlockLength;
            var fullBytes = (long)blocks * panel.TokenBytes(IntegerPanel.MaxTokens);
            var weights = a.Threads!.Scratch(worker, (long)blocks * panel.WeightBytes);
            for (var p = start; p < end; p++)
            {
                var m = p * IntegerPanel.Rows;
                var rows = Math.Min(IntegerPanel.Rows, a.Weight.Rows - m);
                IntegerTiles.PackWeights<TFormat>(a.Weight.Data + (m * a.Weight.RowBytes), a.Weight.RowBytes, rows, blocks, weights);
                for (var first = 0; first < a.Tokens; first += IntegerPanel.MaxTokens)
                {
                    var width = IntegerTiles.TileTokens(first, a.Tokens);
                    IntegerTiles.Multiply(
                        panel, TileKernels.Find(panel, width), weights, a.Work + (first / IntegerPanel.MaxTokens * fullBytes), blocks, width,
                        a.Y + ((long)first * a.YStride) + m, a.YStride, rows, Math.Min(width, a.Tokens - first));
                }
            }
        }
    }

    private readonly struct RowsJob<TFormat>(MultiplyAction a) : IKernelJob
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        public void Invoke(int start, int end, int worker)
        {
            var cols = a.Weight.Cols;
            var blocks = cols / TFormat.BlockLength;
            for (var m = start; m < end; m++)
            {
                var row = a.Weight.Data + (m * a.Weight.RowBytes);
                for (var t = 0; t < a.Tokens; t++)
                    a.Y[((long)t * a.YStride) + m] = IntegerDot.Dot<TFormat>(row, new IntegerRow(a.X + ((long)t * a.XStride), cols), blocks);
            }
        }
    }
}
