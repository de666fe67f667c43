using System.Numerics.Tensors;

namespace Hadal.Numerics.Kernels;

/// <summary>The gated activation of the feed-forward layers: silu(gate) * up with silu(x) = x * sigmoid(x) (arXiv 2002.05202).</summary>
public static class SwiGlu
{
    /// <summary>up = silu(gate) * up; gate is used as scratch.</summary>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static void InPlace(Span<float> gate, Span<float> up)
    {
        TensorPrimitives.Multiply(gate, up, up);
        TensorPrimitives.Sigmoid(gate, gate);
        TensorPrimitives.Multiply(gate, up, up);
    }
}
