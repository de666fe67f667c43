using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Products of float32 activations with weights in any format. Weights are decoded to float32 exactly and summed in the order of <see cref="DotProduct"/>,
/// so the bits of a result are the same for one token or many, on any number of threads. Scales of E4M3 codes are taken to the activations, x * scale rounded once, and the
/// codes multiplied with that.
/// </summary>
/// <remarks>
/// Shape letters: T tokens, K input channels (the weight's columns), M output channels (its rows).
/// A few tokens pass rows that are decoded in registers, one after the other (<see cref="DirectDot"/>). Many: rows are decoded into memory first; with vectors of 512 bits tiles of
/// 4 rows x 6 tokens keep sixteen of each 64 running sums in registers; elsewhere tiles of 2 rows x 3 tokens all 64 of each.
/// </remarks>
public static unsafe partial class MatMul
{
    // 2 rows x 3 tokens x 4 vectors of 16 = 24 registers of sums, 5 of operands.
    private const int RowTile = 2;
    private const int TokenTile = 3;
    private const int CacheBytes = 512 * 1024;

    /// <summary>y[t, m] = sum_k x[t, k] W[m, k].</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="x">[T, K].</param>
    /// <param name="y">[T, M], overwritten; must not overlap x.</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not fit the shapes.</exception>
    public static void Multiply(WeightMatrix weight, ReadOnlySpan<float> x, Span<float> y, int tokens, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (tokens <= 0 || weight.IsEmpty || x.Length != (long)tokens * weight.Cols || y.Length != (long)tokens * weight.Rows)
            throw new ArgumentException($"{tokens} tokens x W [{weight.Rows}, {weight.Cols}] need x of {(long)tokens * weight.Cols} and y of {(long)tokens * weight.Rows} values, but they have {x.Length} and {y.Length}");
        Multiply([new Product(weight, 0, tokens, 0)], x, y, threads);
    }

    /// <summary>Several products as one job; their rows are those of x.</summary>
    /// <param name="products">Matrices [M, K] of one K.</param>
    /// <param name="x">Rows of K values.</param>
    /// <param name="y">Results, each where its product says.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not fit the shapes.</exception>
    public static void Multiply(ReadOnlySpan<Product> products, ReadOnlySpan<float> x, Span<float> y, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (products.IsEmpty)
            return;
        var cols = products[0].Weight.Cols;
        Product.Check(products, [], x.Length / cols, y.Length);
        var units = ProductUnits.Count(products);
        fixed (Product* p = products)
        fixed (float* px = x, py = y)
        {
            // An item must be worth the fork: about 32k multiply-adds.
            var grain = (int)Math.Clamp(32768 / ((long)cols * ProductUnits.Rows * products[0].Tokens), 1, units);
            threads.Run(units, grain, new ProductsJob(p, products.Length, px, py, threads));
        }
    }

    /// <summary>As <see cref="Multiply(WeightMatrix, ReadOnlySpan{float}, Span{float}, int, KernelThreads)"/> on the calling worker alone, for use inside a job; x and y may be strided.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="x">[T, K], rows <paramref name="xStride"/> apart.</param>
    /// <param name="xStride">Values from one token's input to the next.</param>
    /// <param name="y">[T, M], rows <paramref name="yStride"/> apart.</param>
    /// <param name="yStride">Values from one token's output to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    public static void MultiplyOnWorker(WeightMatrix weight, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker) =>
        Rows(weight, 0, weight.Rows, x, xStride, y, yStride, tokens, threads, worker);

    /// <summary>y[k] += factor * x[k] by fused multiply-add.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void AddScaled(float* x, float factor, float* y, int count)
    {
        var f = Vector512.Create(factor);
        var k = 0;
        for (; k <= count - 16; k += 16)
            Vector512.FusedMultiplyAdd(Vector512.Load(x + k), f, Vector512.Load(y + k)).Store(y + k);
        for (; k < count; k++)
            y[k] = MathF.FusedMultiplyAdd(x[k], factor, y[k]);
    }

    private static void Rows(WeightMatrix weight, int start, int end, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        for (int stop; start < end; start = stop)
        {
            stop = Math.Min(end, weight.ScaleBlockEnd(start));
            if (tokens <= DirectDot.MostTokens(weight.Format) && weight.Cols % DotProduct.Lanes == 0 && DirectDot.TryRows(weight, start, stop, x, xStride, y, yStride, tokens, threads, worker))
                continue;
            var arranged = Vector512.IsHardwareAccelerated ? (stop - start) / LaneRows * LaneRows : 0;
            if (arranged > 0)
                ArrangedRows(weight, start, start + arranged, x, xStride, y, yStride, tokens, threads, worker);
            if (start + arranged < stop)
                PanelRows(weight, start + arranged, stop, x, xStride, y, yStride, tokens, threads, worker);
        }
    }

    // Rows with the same scales, if they have any.
    private static void PanelRows(WeightMatrix weight, int start, int end, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        var cols = weight.Cols;
        var padded = (cols + DotProduct.Lanes - 1) / DotProduct.Lanes * DotProduct.Lanes;
        var tokenBlock = Math.Min(tokens, Math.Max(TokenTile, CacheBytes / sizeof(float) / padded / TokenTile * TokenTile));
        var scales = weight.RowScales(start);
        var copyX = padded != cols || !scales.IsEmpty;

        // Scratch: 2 decoded rows, then the tokens of a tile where K is no multiple of 64, padded with zeros, or where there are scales, times those.
        var panel = (float*)threads.Scratch(worker, (RowTile + (copyX ? (long)tokenBlock : 0)) * padded * sizeof(float));
        var xTile = panel + ((long)RowTile * padded);
        var direct = weight.Format == WeightFormat.F32 && !copyX;
        for (var r = 0; r < RowTile; r++)
            new Span<float>(panel + ((long)r * padded) + cols, padded - cols).Clear();

        for (var t0 = 0; t0 < tokens; t0 += tokenBlock)
        {
            var count = Math.Min(tokenBlock, tokens - t0);
            var xs = x + ((long)t0 * xStride);
            var stride = xStride;
            if (copyX)
            {
                ScaledTokens(xs, xStride, count, cols, scales, xTile, padded);
                xs = xTile;
                stride = padded;
            }

            for (var m = start; m < end; m += RowTile)
            {
                var rows = Math.Min(RowTile, end - m);
                var w = panel;
                var wStride = padded;
                if (direct)
                {
                    w = (float*)(weight.Data + (m * weight.RowBytes));
                    wStride = cols;
                }
                else
                {
                    for (var r = 0; r < rows; r++)
                        WeightFormats.Decode(weight.Format, weight.Row(m + r), new Span<float>(panel + ((long)r * padded), cols));
                }

                var ys = y + ((long)t0 * yStride) + m;
                var t = 0;
                if (rows == RowTile)
                {
                    for (; t <= count - TokenTile; t += TokenTile)
                        Tile2x3(w, w + wStride, xs + ((long)t * stride), stride, padded, ys + ((long)t * yStride), 1, yStride);
                }

                for (; t < count; t++)
                {
                    for (var r = 0; r < rows; r++)
                        ys[((long)t * yStride) + r] = Tile1x1(w + ((long)r * wStride), xs + ((long)t * stride), padded);
                }
            }
        }
    }

    // Tokens padded with zeros, times the scales of the rows' blocks.
    private static void ScaledTokens(float* x, int xStride, int count, int cols, ReadOnlySpan<float> scales, float* target, int padded)
    {
        for (var t = 0; t < count; t++)
        {
            var row = new Span<float>(target + ((long)t * padded), padded);
            new ReadOnlySpan<float>(x + ((long)t * xStride), cols).CopyTo(row);
            row[cols..].Clear();
            for (var b = 0; b < scales.Length; b++)
            {
                var block = row.Slice(b * WeightMatrix.ScaleBlock, Math.Min(WeightMatrix.ScaleBlock, padded - (b * WeightMatrix.ScaleBlock)));
                TensorPrimitives.Multiply(block, scales[b], block);
            }
        }
    }

    internal static float Tile1x1(float* w, float* x, int cols)
    {
        Vector512<float> a = default, b = default, c = default, d = default;
        for (var k = 0; k < cols; k += DotProduct.Lanes)
        {
            a = Vector512.FusedMultiplyAdd(Vector512.Load(w + k), Vector512.Load(x + k), a);
            b = Vector512.FusedMultiplyAdd(Vector512.Load(w + k + 16), Vector512.Load(x + k + 16), b);
            c = Vector512.FusedMultiplyAdd(Vector512.Load(w + k + 32), Vector512.Load(x + k + 32), c);
            d = Vector512.FusedMultiplyAdd(Vector512.Load(w + k + 48), Vector512.Load(x + k + 48), d);
        }

        return DotProduct.Sum(a, b, c, d);
    }

    internal static void Tile2x3(float* w0, float* w1, float* x, int xStride, int cols, float* y, int wStep, int xStep)
    {
        var x1 = x + xStride;
        var x2 = x1 + xStride;
        if (!Vector512.IsHardwareAccelerated && Vector256.IsHardwareAccelerated)
        {
            Tile2x3Narrow(w0, w1, x, x1, x2, cols, y, wStep, xStep);
            return;
        }

        Vector512<float> a00 = default, a01 = default, a02 = default, a10 = default, a11 = default, a12 = default;
        Vector512<float> b00 = default, b01 = default, b02 = default, b10 = default, b11 = default, b12 = default;
        Vector512<float> c00 = default, c01 = default, c02 = default, c10 = default, c11 = default, c12 = default;
        Vector512<float> d00 = default, d01 = default, d02 = default, d10 = default, d11 = default, d12 = default;
        for (var k = 0; k < cols; k += DotProduct.Lanes)
        {
            Step(w0 + k, w1 + k, x + k, x1 + k, x2 + k, ref a00, ref a01, ref a02, ref a10, ref a11, ref a12);
            Step(w0 + k + 16, w1 + k + 16, x + k + 16, x1 + k + 16, x2 + k + 16, ref b00, ref b01, ref b02, ref b10, ref b11, ref b12);
            Step(w0 + k + 32, w1 + k + 32, x + k + 32, x1 + k + 32, x2 + k + 32, ref c00, ref c01, ref c02, ref c10, ref c11, ref c12);
            Step(w0 + k + 48, w1 + k + 48, x + k + 48, x1 + k + 48, x2 + k + 48, ref d00, ref d01, ref d02, ref d10, ref d11, ref d12);
        }

        y[0] = DotProduct.Sum(a00, b00, c00, d00);
        y[wStep] = DotProduct.Sum(a10, b10, c10, d10);
        y += xStep;
        y[0] = DotProduct.Sum(a01, b01, c01, d01);
        y[wStep] = DotProduct.Sum(a11, b11, c11, d11);
        y += xStep;
        y[0] = DotProduct.Sum(a02, b02, c02, d02);
        y[wStep] = DotProduct.Sum(a12, b12, c12, d12);
    }

    // The same with sixteen registers of eight lanes: sixteen of the 64 running sums at a time.
    private static void Tile2x3Narrow(float* w0, float* w1, float* x0, float* x1, float* x2, int cols, float* y, int wStep, int xStep)
    {
        var sums = stackalloc float[6 * DotProduct.Lanes];
        for (var lane = 0; lane < DotProduct.Lanes; lane += 16)
        {
            Vector256<float> l00 = default, l01 = default, l02 = default, l10 = default, l11 = default, l12 = default;
            Vector256<float> h00 = default, h01 = default, h02 = default, h10 = default, h11 = default, h12 = default;
            for (nint k = lane; k < cols; k += DotProduct.Lanes)
            {
                Step(w0 + k, w1 + k, x0 + k, x1 + k, x2 + k, ref l00, ref l01, ref l02, ref l10, ref l11, ref l12);
                Step(w0 + k + 8, w1 + k + 8, x0 + k + 8, x1 + k + 8, x2 + k + 8, ref h00, ref h01, ref h02, ref h10, ref h11, ref h12);
            }

            Store(sums + lane, l00, h00);
            Store(sums + DotProduct.Lanes + lane, l10, h10);
            Store(sums + (2 * DotProduct.Lanes) + lane, l01, h01);
            Store(sums + (3 * DotProduct.Lanes) + lane, l11, h11);
            Store(sums + (4 * DotProduct.Lanes) + lane, l02, h02);
            Store(sums + (5 * DotProduct.Lanes) + lane, l12, h12);
        }

        for (var t = 0; t < 3; t++, y += xStep, sums += 2 * DotProduct.Lanes)
        {
            y[0] = Sum(sums);
            y[wStep] = Sum(sums + DotProduct.Lanes);
        }

        static void Store(float* target, Vector256<float> lower, Vector256<float> upper)
        {
            lower.Store(target);
            upper.Store(target + 8);
        }

        static float Sum(float* lanes) => DotProduct.Sum(Vector512.Load(lanes), Vector512.Load(lanes + 16), Vector512.Load(lanes + 32), Vector512.Load(lanes + 48));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(
        float* w0, float* w1, float* x0, float* x1, float* x2,
        ref Vector256<float> s00, ref Vector256<float> s01, ref Vector256<float> s02,
        ref Vector256<float> s10, ref Vector256<float> s11, ref Vector256<float> s12)
    {
        var u = Vector256.Load(w0);
        var v = Vector256.Load(w1);
        var p = Vector256.Load(x0);
        s00 = Vector256.FusedMultiplyAdd(u, p, s00);
        s10 = Vector256.FusedMultiplyAdd(v, p, s10);
        p = Vector256.Load(x1);
        s01 = Vector256.FusedMultiplyAdd(u, p, s01);
        s11 = Vector256.FusedMultiplyAdd(v, p, s11);
        p = Vector256.Load(x2);
        s02 = Vector256.FusedMultiplyAdd(u, p, s02);
        s12 = Vector256.FusedMultiplyAdd(v, p, s12);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(
        float* w0, float* w1, float* x0, float* x1, float* x2,
        ref Vector512<float> s00, ref Vector512<float> s01, ref Vector512<float> s02,
        ref Vector512<float> s10, ref Vector512<float> s11, ref Vector512<float> s12)
    {
        var u = Vector512.Load(w0);
        var v = Vector512.Load(w1);
        var p = Vector512.Load(x0);
        s00 = Vector512.FusedMultiplyAdd(u, p, s00);
        s10 = Vector512.FusedMultiplyAdd(v, p, s10);
        p = Vector512.Load(x1);
        s01 = Vector512.FusedMultiplyAdd(u, p, s01);
        s11 = Vector512.FusedMultiplyAdd(v, p, s11);
        p = Vector512.Load(x2);
        s02 = Vector512.FusedMultiplyAdd(u, p, s02);
        s12 = Vector512.FusedMultiplyAdd(v, p, s12);
    }

    private readonly struct ProductsJob(Product* products, int count, float* x, float* y, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var units = new ProductUnits(products, count, start, end);
            while (units.Next(out var product, out var row, out var stop))
            {
                var (weight, firstRow, tokens, output) = product;
                Rows(weight, row, stop, x + ((long)firstRow * weight.Cols), weight.Cols, y + output, weight.Rows, tokens, threads, worker);
            }
        }
    }
}
