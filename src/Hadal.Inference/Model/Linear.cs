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
    public void Apply(Activations x, Span<float> y, int tokens, ForwardContext context) =>
        Apply([new Product(weight, 0, tokens, 0)], activationScales, x, [], y, context);

    /// <summary>Several products as one job of the threads, their input quantised once where it is to be.</summary>
    /// <param name="products">Matrices [M, K] of one K.</param>
    /// <param name="activationScales">How FP8 activations are scaled.</param>
    /// <param name="x">Rows of K values.</param>
    /// <param name="rows">Which of them the products refer to; empty when it is 0, 1, 2 and so on.</param>
    /// <param name="y">Results, each where its product says.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public static void Apply(ReadOnlySpan<Product> products, ScaleKind activationScales, Activations x, ReadOnlySpan<int> rows, Span<float> y, ForwardContext context)
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
            var codes = Quantized(products[0].Weight, x, context);
            IntegerMatMul.Multiply(products, codes, rows, y, Workspace(IntegerMatMul.WorkspaceBytes(products, !rows.IsEmpty), context), context.Threads);
            return;
        }

        var values = x.Values;
        if (!rows.IsEmpty)
        {
            var gathered = context.Scratch.Take(Slot.ExpertRows, (long)rows.Length * cols);
            for (var i = 0; i < rows.Length; i++)
                values.Slice(rows[i] * cols, cols).CopyTo(gathered[(i * cols)..]);
            values = gathered;
        }

        if (path == ActivationPrecision.F32)
        {
            MatMul.Multiply(products, values, y, context.Threads);
            return;
        }

        if (path == ActivationPrecision.BF16)
        {
            BfloatMatMul.Multiply(products, values, y, Workspace(BfloatMatMul.WorkspaceBytes(values.Length / cols, cols), context), context.Threads);
            return;
        }

        foreach (var (weight, first, tokens, output) in products)
            new Linear(weight, activationScales).MultiplyFp8(values.Slice(first * cols, tokens * cols), y.Slice(output, tokens * weight.Rows), tokens, context);
    }

    /// <summary>silu(gate x) * (up x) of several gated MLPs: one job of the threads that quantises it at once, where the down-projections take it so.</summary>
    /// <param name="gated">Matrices gate and up of one K.</param>
    /// <param name="activationScales">How FP8 activations are scaled.</param>
    /// <param name="x">Rows of K values.</param>
    /// <param name="rows">Which of them the products refer to; empty when it is 0, 1, 2 and so on.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public static Activations ApplyGated(ReadOnlySpan<GatedProduct> gated, ScaleKind activationScales, Activations x, ReadOnlySpan<int> rows, ForwardContext context)
    {
        if (TakesInt8(gated, context))
        {
            var codes = Quantized(gated[0].Gate, x, context);
            var results = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.GatedCodes, GatedMatMul.ResultBytes(gated) / sizeof(float)));
            GatedMatMul.Multiply(gated, codes, rows, results, Workspace(GatedMatMul.WorkspaceBytes(gated, !rows.IsEmpty), context), context.Threads);
            return new Activations([], results, WeightFormats.BlockLength(gated[0].Down.Format));
        }

        var count = (int)GatedProduct.Values(gated);
        var values = context.Scratch.Take(Slot.Intermediate, 2L * count);
        var products = context.Scratch.TakeProducts(2 * gated.Length);
        GatedProduct.Split(gated, products);
        Apply(products, activationScales, x, rows, values, context);
        SwiGlu.InPlace(values[..count], values[count..], context.Threads);
        return values[count..];
    }

    /// <summary>In what blocks activations of a matrix are quantised; 0 where they are not, or as FP8.</summary>
    public static int QuantizedBlock(WeightMatrix weight, ForwardContext context) =>
        PathOf(weight, context) == ActivationPrecision.Int8 ? WeightFormats.BlockLength(weight.Format) : 0;

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

    private static ReadOnlySpan<byte> Quantized(WeightMatrix weight, Activations x, ForwardContext context)
    {
        var block = WeightFormats.BlockLength(weight.Format);
        if (x.Block == block)
            return x.Codes;
        var codes = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.Codes, (long)x.Values.Length / weight.Cols * IntegerActivations.RowBytes(weight.Cols, block) / sizeof(float)));
        IntegerActivations.Quantize(x.Values, weight.Cols, block, codes, context.Threads);
        return codes;
    }

    private static Span<byte> Workspace(long bytes, ForwardContext context) => MemoryMarshal.AsBytes(context.Scratch.Take(Slot.Workspace, (bytes + sizeof(float) - 1) / sizeof(float)));

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
        _ when context.Options.HasIntegerActivations && WeightFormats.HasIntegerProducts(weight.Format) => ActivationPrecision.Int8,
        ActivationPrecision.BF16 when BfloatMatMul.Has(weight.Format) => ActivationPrecision.BF16,
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

/// <summary>Rows that products take: as numbers, quantised to 8 bits, or both.</summary>
/// <param name="values">The numbers; empty where only codes are left.</param>
/// <param name="codes">Rows of <see cref="IntegerActivations.RowBytes"/> bytes.</param>
/// <param name="block">Values that have one scale; 0 where there are no codes.</param>
internal readonly ref struct Activations(ReadOnlySpan<float> values, ReadOnlySpan<byte> codes, int block)
{
    public ReadOnlySpan<float> Values { get; } = values;

    public ReadOnlySpan<byte> Codes { get; } = codes;

    public int Block { get; } = block;

    public static implicit operator Activations(ReadOnlySpan<float> values) => new(values, [], 0);

    public static implicit operator Activations(Span<float> values) => new(values, [], 0);

    /// <summary>Of what <see cref="Linear.ApplyGated"/> has made: the first <paramref name="count"/> rows, for <paramref name="first"/>, and the others, for <paramref name="second"/>.</summary>
    public void Split(int count, WeightMatrix first, WeightMatrix second, out Activations rows, out Activations others)
    {
        if (Block == 0)
        {
            rows = Values[..(count * first.Cols)];
            others = Values[(count * first.Cols)..];
            return;
        }

        var bytes = count * IntegerActivations.RowBytes(first.Cols, Block);
        rows = new Activations([], Codes[..bytes], Block);
        others = new Activations([], Codes[bytes..], WeightFormats.BlockLength(second.Format));
    }
}
