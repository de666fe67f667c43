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

    public int Outputs => weight.Rows;

    /// <summary>Multiplies.</summary>
    /// <param name="x">[T, K].</param>
    /// <param name="y">[T, M], overwritten.</param>
    /// <param name="tokens">T.</param>
    /// <param name="context">Threads, scratch, options.</param>
    public void Apply(ReadOnlySpan<float> x, Span<float> y, int tokens, ForwardContext context)
    {
        switch (context.Options.Activations)
        {
            case ActivationPrecision.Fp8 when weight.Format == WeightFormat.F8_E4M3:
                MultiplyFp8(x, y, tokens, context);
                break;
            case ActivationPrecision.Int8 when WeightFormats.HasIntegerProducts(weight.Format):
                MultiplyInteger(x, y, tokens, context);
                break;
            default:
                MatMul.Multiply(weight, x, y, tokens, context.Threads);
                break;
        }
    }

    private void MultiplyInteger(ReadOnlySpan<float> x, Span<float> y, int tokens, ForwardContext context)
    {
        var block = WeightFormats.BlockLength(weight.Format);
        var rowBytes = IntegerActivations.RowBytes(weight.Cols, block);
        var rows = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.Codes, (long)tokens * rowBytes / sizeof(float)));
        for (var t = 0; t < tokens; t++)
            IntegerActivations.QuantizeRow(x.Slice(t * weight.Cols, weight.Cols), block, rows.Slice(t * rowBytes, rowBytes));
        var workspace = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.Workspace, IntegerMatMul.WorkspaceBytes(weight, tokens) / sizeof(float)));
        IntegerMatMul.Multiply(weight, rows, y, tokens, workspace, context.Threads);
    }

    private void MultiplyFp8(ReadOnlySpan<float> x, Span<float> y, int tokens, ForwardContext context)
    {
        var blocks = ActivationQuantization.ScaleCount(weight.Cols);
        var codes = context.Scratch.Take(Slot.Codes, (long)tokens * weight.Cols);
        var scales = context.Scratch.Take(Slot.CodeScales, (long)tokens * blocks);
        ActivationQuantization.Quantize(x, weight.Cols, codes, scales, activationScales);
        Fp8MatMul.Multiply(weight, codes, scales, y, tokens, context.Threads);
    }
}
