using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

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
        if (context.Options.Activations == ActivationPrecision.F32 || weight.Format != WeightFormat.F8_E4M3)
        {
            MatMul.Multiply(weight, x, y, tokens, context.Threads);
            return;
        }

        var blocks = ActivationQuantization.ScaleCount(weight.Cols);
        var codes = context.Scratch.Take(Slot.Codes, (long)tokens * weight.Cols);
        var scales = context.Scratch.Take(Slot.CodeScales, (long)tokens * blocks);
        ActivationQuantization.Quantize(x, weight.Cols, codes, scales, activationScales);
        Fp8MatMul.Multiply(weight, codes, scales, y, tokens, context.Threads);
    }
}
