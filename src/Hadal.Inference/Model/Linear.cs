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
            var codes = Codes(products[0].Weight, x.Length, context);
            IntegerActivations.Quantize(x, cols, WeightFormats.BlockLength(products[0].Weight.Format), codes, context.Threads);
            MultiplyInt8(products, codes, rows, y, context);
            return;
        }

        if (!rows.IsEmpty)
        {
            var gathered = context.Scratch.Take(Slot.ExpertInput, (long)rows.Length * cols);
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

    /// <summary>As <see cref="Apply(ReadOnlySpan{Product}, ScaleKind, ReadOnlySpan{float}, ReadOnlySpan{int}, Span{float}, ForwardContext)"/> of silu(gate) * up.</summary>
    /// <param name="products">Matrices [M, K] of one K.</param>
    /// <param name="activationScales">How FP8 activations are scaled.</param>
    /// <param name="gate">Rows of K values.</param>
    /// <param name="up">Rows of K values; receives silu(gate) * up.</param>
    /// <param name="y">Results, each where its product says; it may lie where gate does.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public static void ApplyGated(ReadOnlySpan<Product> products, ScaleKind activationScales, ReadOnlySpan<float> gate, Span<float> up, Span<float> y, ForwardContext context)
    {
        if (!products.IsEmpty && TryPathOf(products, context, out var path) && path == ActivationPrecision.Int8)
        {
            var weight = products[0].Weight;
            var codes = Codes(weight, up.Length, context);
            IntegerActivations.QuantizeGated(gate, up, weight.Cols, WeightFormats.BlockLength(weight.Format), codes, context.Threads);
            MultiplyInt8(products, codes, [], y, context);
            return;
        }

        SwiGlu.InPlace(gate, up, context.Threads);
        Apply(products, activationScales, up, [], y, context);
    }

    // Memory for quantised rows.
    private static Span<byte> Codes(WeightMatrix weight, long values, ForwardContext context) => MemoryMarshal.AsBytes(
        context.Scratch.Take(Slot.Codes, values / weight.Cols * IntegerActivations.RowBytes(weight.Cols, WeightFormats.BlockLength(weight.Format)) / sizeof(float)));

    private static void MultiplyInt8(ReadOnlySpan<Product> products, ReadOnlySpan<byte> codes, ReadOnlySpan<int> rows, Span<float> y, ForwardContext context)
    {
        var workspace = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.Workspace, (IntegerMatMul.WorkspaceBytes(products, !rows.IsEmpty) + sizeof(float) - 1) / sizeof(float)));
        IntegerMatMul.Multiply(products, codes, rows, y, workspace, context.Threads);
    }

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

    private static ActivationPrecision PathOf(WeightMatrix weight, ForwardContext context) => context.Options.Activations switch
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
