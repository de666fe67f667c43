using System.Runtime.InteropServices;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Inference.Model;

/// <summary>y = W x without bias: the place where the precision of activations is decided.</summary>
internal readonly struct Linear(WeightMatrix weight, ScaleKind activationScales)
{
    public WeightMatrix Weight => weight;

    public ScaleKind ActivationScales => activationScales;

    public int Outputs => weight.Rows;

    /// <summary>Multiplies.</summary>
    /// <param name="x">[T, K].</param>
    /// <param name="y">[T, M], overwritten.</param>
    /// <param name="tokens">T.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public void Apply(ReadOnlySpan<float> x, Span<float> y, int tokens, ForwardContext context) =>
        Apply([new Product(weight, 0, tokens, 0)], activationScales, x, [], y, context);

    /// <summary>Several products as one job of the threads, their input quantised once where it is to be.</summary>
    /// <param name="products">Matrices [M, K] of one K.</param>
    /// <param name="activationScales">How FP8 activations are scaled.</param>
    /// <param name="x">Rows of K values.</param>
    /// <param name="rows">Which of them the products refer to; empty when it is 0, 1, 2 and so on.</param>
    /// <param name="y">Results, each where its product says.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public static void Apply(ReadOnlySpan<Product> products, ScaleKind activationScales, ReadOnlySpan<float> x, ReadOnlySpan<int> rows, Span<float> y, ForwardContext context)
    {
        if (products.IsEmpty)
            return;
        if (!TryPathOf(products, context, out var path))
        {
            // A mixture: one after the other.
            foreach (var each in products)
                Apply([each], activationScales, x, rows, y, context);
            return;
        }

        var cols = products[0].Weight.Cols;
        if (path == ActivationPrecision.Int8)
        {
            MultiplyInt8(products, Quantized(products[0].Weight, x, context), rows, y, context);
            return;
        }

        if (!rows.IsEmpty)
        {
            var gathered = context.Scratch.Take(Slot.ExpertRows, (long)rows.Length * cols);
            for (var i = 0; i < rows.Length; i++)
                x.Slice(rows[i] * cols, cols).CopyTo(gathered[(i * cols)..]);
            x = gathered;
        }

        if (path == ActivationPrecision.F32)
        {
            MatMul.Multiply(products, x, y, context.Threads);
            return;
        }

        foreach (var (weight, first, tokens, output) in products)
            new Linear(weight, activationScales).MultiplyFp8(x.Slice(first * cols, tokens * cols), y.Slice(output, tokens * weight.Rows), tokens, context);
    }

    /// <summary>silu(gate x) * (up x) of several gated MLPs: one job of the threads that quantises it at once, where the down-projections take it so.</summary>
    /// <param name="gated">Matrices gate and up of one K.</param>
    /// <param name="activationScales">How FP8 activations are scaled.</param>
    /// <param name="x">Rows of K values.</param>
    /// <param name="rows">Which of them the products refer to; empty when it is 0, 1, 2 and so on.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public static GatedRows ApplyGated(ReadOnlySpan<GatedProduct> gated, ScaleKind activationScales, ReadOnlySpan<float> x, ReadOnlySpan<int> rows, ForwardContext context)
    {
        if (TakesInt8(gated, context))
        {
            var codes = Quantized(gated[0].Gate, x, context);
            var results = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.GatedCodes, GatedMatMul.ResultBytes(gated) / sizeof(float)));
            GatedMatMul.Multiply(gated, codes, rows, results, Workspace(GatedMatMul.WorkspaceBytes(gated, !rows.IsEmpty), context), context.Threads);
            return new GatedRows([], results);
        }

        var count = (int)GatedProduct.Values(gated);
        var values = context.Scratch.Take(Slot.Intermediate, 2L * count);
        var products = context.Scratch.TakeProducts(2 * gated.Length);
        GatedProduct.Split(gated, products);
        Apply(products, activationScales, x, rows, values, context);
        SwiGlu.InPlace(values[..count], values[count..], context.Threads);
        return new GatedRows(values[count..], []);
    }

    /// <summary>Several products with what <see cref="ApplyGated"/> made.</summary>
    /// <param name="products">Matrices [M, I].</param>
    /// <param name="activationScales">How FP8 activations are scaled.</param>
    /// <param name="x">Rows of I values.</param>
    /// <param name="y">Results, each where its product says.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public static void Apply(ReadOnlySpan<Product> products, ScaleKind activationScales, GatedRows x, Span<float> y, ForwardContext context)
    {
        if (x.Codes.IsEmpty)
            Apply(products, activationScales, x.Values, [], y, context);
        else
            MultiplyInt8(products, x.Codes, [], y, context);
    }

    // All matrices are in integer formats, and rows of results of one length are quantised alike.
    private static bool TakesInt8(ReadOnlySpan<GatedProduct> gated, ForwardContext context)
    {
        var block = WeightFormats.BlockLength(gated[0].Gate.Format);
        var first = gated[0].Down;
        foreach (ref readonly var each in gated)
        {
            if (PathOf(each.Gate, context) != ActivationPrecision.Int8 || PathOf(each.Up, context) != ActivationPrecision.Int8 || PathOf(each.Down, context) != ActivationPrecision.Int8
                || WeightFormats.BlockLength(each.Gate.Format) != block || WeightFormats.BlockLength(each.Up.Format) != block
                || (each.Down.Cols == first.Cols && WeightFormats.BlockLength(each.Down.Format) != WeightFormats.BlockLength(first.Format)))
                return false;
        }

        return true;
    }

    private static Span<byte> Quantized(WeightMatrix weight, ReadOnlySpan<float> x, ForwardContext context)
    {
        var block = WeightFormats.BlockLength(weight.Format);
        var codes = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.Codes, (long)x.Length / weight.Cols * IntegerActivations.RowBytes(weight.Cols, block) / sizeof(float)));
        IntegerActivations.Quantize(x, weight.Cols, block, codes, context.Threads);
        return codes;
    }

    private static Span<byte> Workspace(long bytes, ForwardContext context) => MemoryMarshal.AsBytes(context.Scratch.Take(Slot.Workspace, (bytes + sizeof(float) - 1) / sizeof(float)));

    private static void MultiplyInt8(ReadOnlySpan<Product> products, ReadOnlySpan<byte> codes, ReadOnlySpan<int> rows, Span<float> y, ForwardContext context) =>
        IntegerMatMul.Multiply(products, codes, rows, y, Workspace(IntegerMatMul.WorkspaceBytes(products, !rows.IsEmpty), context), context.Threads);

    // The path that all products take, unless they are of several kinds.
    private static bool TryPathOf(ReadOnlySpan<Product> products, ForwardContext context, out ActivationPrecision path)
    {
        path = PathOf(products[0].Weight, context);
        var block = WeightFormats.BlockLength(products[0].Weight.Format);
        foreach (var product in products)
        {
            if (PathOf(product.Weight, context) != path || (path == ActivationPrecision.Int8 && WeightFormats.BlockLength(product.Weight.Format) != block))
                return false;
        }

        return true;
    }

    private static ActivationPrecision PathOf(in WeightMatrix weight, ForwardContext context) => context.Options.Activations switch
    {
        ActivationPrecision.Fp8 when weight.Format == WeightFormat.F8_E4M3 => ActivationPrecision.Fp8,
        ActivationPrecision.Int8 when WeightFormats.HasIntegerProducts(weight.Format) => ActivationPrecision.Int8,
        _ => ActivationPrecision.F32,
    };

    private void MultiplyFp8(ReadOnlySpan<float> x, Span<float> y, int tokens, ForwardContext context)
    {
        var blocks = ActivationQuantization.ScaleCount(weight.Cols);
        var codes = context.Scratch.Take(Slot.Codes, (long)tokens * weight.Cols);
        var scales = context.Scratch.Take(Slot.CodeScales, (long)tokens * blocks);
        ActivationQuantization.Quantize(x, weight.Cols, codes, scales, activationScales);
        Fp8MatMul.Multiply(weight, codes, scales, y, tokens, context.Threads);
    }
}

/// <summary>Rows of silu(gate x) * (up x), those of one MLP behind those of the other: as numbers, or quantised as integer products take them.</summary>
internal readonly ref struct GatedRows(ReadOnlySpan<float> values, ReadOnlySpan<byte> codes)
{
    public ReadOnlySpan<float> Values { get; } = values;

    public ReadOnlySpan<byte> Codes { get; } = codes;

    /// <summary>The first <paramref name="count"/> rows, which are multiplied with <paramref name="down"/>, and the others.</summary>
    public void Split(int count, WeightMatrix down, out GatedRows first, out GatedRows others)
    {
        var bytes = Codes.IsEmpty ? 0 : count * IntegerActivations.RowBytes(down.Cols, WeightFormats.BlockLength(down.Format));
        var numbers = Codes.IsEmpty ? count * down.Cols : 0;
        first = new GatedRows(Values[..numbers], Codes[..bytes]);
        others = new GatedRows(Values[numbers..], Codes[bytes..]);
    }
}
