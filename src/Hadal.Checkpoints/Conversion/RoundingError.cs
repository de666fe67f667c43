using System.Numerics.Tensors;

namespace Hadal.Checkpoints.Conversion;

/// <summary>Sums from which the errors of a <see cref="TensorReport"/> follow.</summary>
internal struct RoundingError
{
    private double largest;
    private double squaredDifference;
    private double squaredSource;
    private double squaredResult;

    /// <summary>max |x - y|.</summary>
    public readonly double MaxAbsolute => largest;

    /// <summary>sqrt(sum (x - y)^2 / sum x^2).</summary>
    public readonly double RelativeRms => squaredDifference == 0 ? 0 : Math.Sqrt(squaredDifference / squaredSource);

    /// <summary>1 - 2 &lt;x,y&gt; / (|x|^2 + |y|^2), computed as |x - y|^2 / (|x|^2 + |y|^2), which loses no digits when x and y are close.</summary>
    public readonly double CalcDiff => squaredDifference == 0 ? 0 : squaredDifference / (squaredSource + squaredResult);

    /// <summary>Adds values; <paramref name="result"/> is overwritten.</summary>
    public void Add(ReadOnlySpan<float> source, Span<float> result)
    {
        squaredSource += TensorPrimitives.SumOfSquares(source);
        squaredResult += TensorPrimitives.SumOfSquares(result);
        TensorPrimitives.Subtract(source, result, result);
        squaredDifference += TensorPrimitives.SumOfSquares(result);
        largest = Math.Max(largest, Math.Abs(TensorPrimitives.MaxMagnitude((ReadOnlySpan<float>)result)));
    }

    /// <summary>Adds the sums of another part of the tensor.</summary>
    public void Add(in RoundingError other)
    {
        largest = Math.Max(largest, other.largest);
        squaredDifference += other.squaredDifference;
        squaredSource += other.squaredSource;
        squaredResult += other.squaredResult;
    }
}
