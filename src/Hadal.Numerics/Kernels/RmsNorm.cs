using System.Numerics.Tensors;

namespace Hadal.Numerics.Kernels;

/// <summary>Root-mean-square normalisation: y = x / sqrt(mean(x^2) + eps) * weight (arXiv 1910.07467).</summary>
public static class RmsNorm
{
    /// <summary>Normalises rows; x and y may be the same memory.</summary>
    /// <param name="x">[T, D].</param>
    /// <param name="weight">[D].</param>
    /// <param name="y">[T, D].</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Apply(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, Span<float> y, double epsilon)
    {
        if (weight.IsEmpty || x.Length % weight.Length != 0 || y.Length != x.Length)
            throw new ArgumentException($"rows of {weight.Length} values in x of {x.Length} and y of {y.Length}");
        for (var start = 0; start < x.Length; start += weight.Length)
        {
            var row = x.Slice(start, weight.Length);
            var target = y.Slice(start, weight.Length);
            var meanSquare = DotProduct.Dot(row, row) / (double)weight.Length;
            TensorPrimitives.Multiply(row, (float)(1 / Math.Sqrt(meanSquare + epsilon)), target);
            TensorPrimitives.Multiply(target, weight, target);
        }
    }
}
