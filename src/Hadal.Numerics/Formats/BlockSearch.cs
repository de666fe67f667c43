using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Finds the scales (and minima) with which blocks of values round best to small integer codes: those that minimise sum w (x - decoded)^2 with
/// w = rms(block) + |x|, as large weights matter more than their number. Eight blocks are searched at once, one in each vector lane: element i
/// of block l lies at [8 i + l], nothing is ever summed across lanes, and no operation is fused, so every machine finds the same bits.
/// </summary>
/// <remarks>
/// Method: for each of a range of trial scales, round, then solve the weighted least squares for the rounded codes; the best is refined
/// by rounding and solving in turn (Lloyd). The weighting and the range of trials follow ggml's reference quantisers.
/// </remarks>
internal static class BlockSearch
{
    /// <summary>Blocks searched at once.</summary>
    public const int Blocks = 8;

    /// <summary>The longest block.</summary>
    public const int MaxLength = 32;

    /// <summary>Magnitudes beyond the largest finite F16 are clamped to it: no scale could reach much farther.</summary>
    public const float MaxMagnitude = 65504;

    private const int Refinements = 3;

    // Steps by which the trial scales overshoot or undershoot the one that just spans the block, in codes.
    private static ReadOnlySpan<float> Trials =>
        [-1, -0.9f, -0.8f, -0.7f, -0.6f, -0.5f, -0.4f, -0.3f, -0.2f, -0.1f, 0, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f, 1];

    /// <summary>Lays out up to eight blocks for the search. Missing blocks are zero, NaN counts as zero, infinities as the largest magnitude.</summary>
    /// <param name="values">At most 8 * <paramref name="length"/> values, whole blocks.</param>
    /// <param name="length">Values of one block.</param>
    /// <param name="x">Receives 8 * length values, interleaved.</param>
    /// <param name="w">Receives their weights.</param>
    public static void Load(ReadOnlySpan<float> values, int length, Span<float> x, Span<float> w)
    {
        x[..(Blocks * length)].Clear();
        for (var block = 0; block < values.Length / length; block++)
        {
            for (var i = 0; i < length; i++)
            {
                var value = values[block * length + i];
                x[Blocks * i + block] = float.IsNaN(value) ? 0 : Math.Clamp(value, -MaxMagnitude, MaxMagnitude);
            }
        }

        var squares = Vector256<float>.Zero;
        for (var i = 0; i < length; i++)
            squares += At(x, i) * At(x, i);
        var rms = Vector256.Sqrt(squares / length);
        for (var i = 0; i < length; i++)
            (rms + Vector256.Abs(At(x, i))).CopyTo(w[(Blocks * i)..]);
    }

    /// <summary>Scale (at least 0) and minimum of each block for x = scale * q + minimum, q in 0..<paramref name="maxCode"/>.</summary>
    /// <param name="x">Values, from <see cref="Load"/>.</param>
    /// <param name="w">Weights, from <see cref="Load"/>.</param>
    /// <param name="maxCode">The largest code.</param>
    /// <param name="canBePositive">Whether the format can hold a minimum above zero.</param>
    public static (Vector256<float> Scale, Vector256<float> Minimum) Affine(ReadOnlySpan<float> x, ReadOnlySpan<float> w, int maxCode, bool canBePositive)
    {
        var low = At(x, 0);
        var high = low;
        for (var i = 1; i < x.Length / Blocks; i++)
        {
            low = Vector256.Min(low, At(x, i));
            high = Vector256.Max(high, At(x, i));
        }

        if (!canBePositive)
            low = Vector256.Min(low, Vector256<float>.Zero);
        var fit = new AffineFit(x, w, low, maxCode, canBePositive);
        foreach (var trial in Trials)
            fit.Try(Inverse((high - low) / (maxCode + trial)), Vector256<float>.Zero);
        for (var round = 0; round < Refinements; round++)
            fit.Try(Inverse(fit.Scale), fit.Offset);
        return (fit.Scale, low + fit.Offset);
    }

    /// <summary>The scale of each block, of either sign, for x = scale * q, q in -<paramref name="half"/>..<paramref name="half"/> - 1.</summary>
    public static Vector256<float> Symmetric(ReadOnlySpan<float> x, ReadOnlySpan<float> w, int half)
    {
        var max = Vector256<float>.Zero;
        for (var i = 0; i < x.Length / Blocks; i++)
            max = Vector256.Max(max, Vector256.Abs(At(x, i)));

        var best = Vector256<float>.Zero;
        var bestGain = Vector256<float>.Zero;
        foreach (var trial in Trials)
        {
            Try(Inverse(max / (half + trial)), ref best, ref bestGain, x, w, half);
            Try(-Inverse(max / (half + trial)), ref best, ref bestGain, x, w, half);
        }

        for (var round = 0; round < Refinements; round++)
            Try(Inverse(best), ref best, ref bestGain, x, w, half);
        return best;

        // With codes q the best scale is sum wxq / sum wqq, and the error it leaves is sum wxx - (sum wxq)^2 / sum wqq.
        static void Try(Vector256<float> inverse, ref Vector256<float> best, ref Vector256<float> bestGain, ReadOnlySpan<float> x, ReadOnlySpan<float> w, int half)
        {
            var sumXQ = Vector256<float>.Zero;
            var sumQQ = Vector256<float>.Zero;
            for (var i = 0; i < x.Length / Blocks; i++)
            {
                var q = SymmetricCode(At(x, i), inverse, half);
                var wq = At(w, i) * q;
                sumXQ += wq * At(x, i);
                sumQQ += wq * q;
            }

            var scale = sumXQ * Inverse(sumQQ);
            var gain = scale * sumXQ;
            var better = Vector256.GreaterThan(gain, bestGain);
            best = Vector256.ConditionalSelect(better, scale, best);
            bestGain = Vector256.ConditionalSelect(better, gain, bestGain);
        }
    }

    /// <summary>The weighted squared error of each block once its values are rounded with this scale and minimum.</summary>
    public static Vector256<float> AffineError(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector256<float> scale, Vector256<float> minimum, int maxCode)
    {
        var inverse = Inverse(scale);
        var sum = Vector256<float>.Zero;
        for (var i = 0; i < x.Length / Blocks; i++)
        {
            var error = At(x, i) - (AffineCode(At(x, i) - minimum, inverse, maxCode) * scale + minimum);
            sum += At(w, i) * error * error;
        }

        return sum;
    }

    /// <summary>The weighted squared error of each block once its values are rounded with this scale.</summary>
    public static Vector256<float> SymmetricError(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector256<float> scale, int half)
    {
        var inverse = Inverse(scale);
        var sum = Vector256<float>.Zero;
        for (var i = 0; i < x.Length / Blocks; i++)
        {
            var error = At(x, i) - (SymmetricCode(At(x, i), inverse, half) * scale);
            sum += At(w, i) * error * error;
        }

        return sum;
    }

    /// <summary>The codes of eight blocks, block after block.</summary>
    public static void AffineCodes(ReadOnlySpan<float> x, Vector256<float> scale, Vector256<float> minimum, int maxCode, Span<byte> codes)
    {
        var inverse = Inverse(scale);
        for (var i = 0; i < x.Length / Blocks; i++)
            Scatter(AffineCode(At(x, i) - minimum, inverse, maxCode), i, x.Length / Blocks, codes);
    }

    /// <summary>The codes of eight blocks, block after block, with <paramref name="half"/> added so that none is negative.</summary>
    public static void SymmetricCodes(ReadOnlySpan<float> x, Vector256<float> scale, int half, Span<byte> codes)
    {
        var inverse = Inverse(scale);
        for (var i = 0; i < x.Length / Blocks; i++)
            Scatter(SymmetricCode(At(x, i), inverse, half) + Vector256.Create((float)half), i, x.Length / Blocks, codes);
    }

    /// <summary>1 / value where that is a finite number, else 0: a scale of zero encodes everything as zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Inverse(Vector256<float> value)
    {
        var inverse = Vector256<float>.One / value;
        return inverse & Vector256.LessThan(Vector256.Abs(inverse), Vector256.Create(float.PositiveInfinity));
    }

    /// <summary>Each lane rounded to binary16.</summary>
    public static Vector256<float> RoundToHalf(Vector256<float> value)
    {
        for (var lane = 0; lane < Blocks; lane++)
            value = value.WithElement(lane, (float)(Half)Math.Clamp(value[lane], -MaxMagnitude, MaxMagnitude));
        return value;
    }

    /// <summary>The smallest binary16 number that is not below a value that is not negative.</summary>
    public static Half HalfNotBelow(float value)
    {
        var half = (Half)value;
        return (float)half < value ? Half.BitIncrement(half) : half;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> At(ReadOnlySpan<float> interleaved, int i) => Vector256.Create(interleaved.Slice(Blocks * i, Blocks));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> AffineCode(Vector256<float> aboveMinimum, Vector256<float> inverse, int maxCode) =>
        Vector256.Min(Vector256.Max(Vector256.Round(aboveMinimum * inverse), Vector256<float>.Zero), Vector256.Create((float)maxCode));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> SymmetricCode(Vector256<float> x, Vector256<float> inverse, int half) =>
        Vector256.Min(Vector256.Max(Vector256.Round(x * inverse), Vector256.Create((float)-half)), Vector256.Create((float)(half - 1)));

    private static void Scatter(Vector256<float> codes, int i, int length, Span<byte> to)
    {
        var integers = Vector256.ConvertToInt32(codes);
        for (var lane = 0; lane < Blocks; lane++)
            to[lane * length + i] = (byte)integers[lane];
    }

    /// <summary>The best scale and offset above the lowest value found so far, in each lane.</summary>
    private ref struct AffineFit
    {
        private readonly ReadOnlySpan<float> x;
        private readonly ReadOnlySpan<float> w;
        private readonly Vector256<float> low;
        private readonly int maxCode;
        private readonly bool canBePositive;
        private readonly Vector256<float> sumW;
        private readonly Vector256<float> sumY;
        private readonly Vector256<float> sumYY;
        private Vector256<float> error;

        /// <summary>Begins with scale 0: every value decodes to the lowest one. y = x - low.</summary>
        public AffineFit(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector256<float> low, int maxCode, bool canBePositive)
        {
            this.x = x;
            this.w = w;
            this.low = low;
            this.maxCode = maxCode;
            this.canBePositive = canBePositive;
            for (var i = 0; i < x.Length / Blocks; i++)
            {
                var y = At(x, i) - low;
                var wy = At(w, i) * y;
                sumW += At(w, i);
                sumY += wy;
                sumYY += wy * y;
            }

            error = sumYY;
        }

        public Vector256<float> Scale { get; private set; }

        public Vector256<float> Offset { get; private set; }

        /// <summary>Rounds with a trial scale and offset, solves for the best scale and offset with those codes, keeps them where they are better.</summary>
        public void Try(Vector256<float> inverse, Vector256<float> offset)
        {
            var sumQ = Vector256<float>.Zero;
            var sumQQ = Vector256<float>.Zero;
            var sumYQ = Vector256<float>.Zero;
            for (var i = 0; i < x.Length / Blocks; i++)
            {
                var y = At(x, i) - low;
                var q = AffineCode(y - offset, inverse, maxCode);
                var wq = At(w, i) * q;
                sumQ += wq;
                sumQQ += wq * q;
                sumYQ += wq * y;
            }

            var scale = (sumW * sumYQ - sumQ * sumY) * Inverse(sumW * sumQQ - sumQ * sumQ);
            var solved = (sumY - scale * sumQ) * Inverse(sumW);
            if (!canBePositive)
            {
                var above = Vector256.GreaterThan(solved, -low);
                solved = Vector256.ConditionalSelect(above, -low, solved);
                scale = Vector256.ConditionalSelect(above, (sumYQ - solved * sumQ) * Inverse(sumQQ), scale);
            }

            var left = sumYY - scale * sumYQ - scale * sumYQ - solved * sumY - solved * sumY
                + scale * scale * sumQQ + (scale + scale) * solved * sumQ + solved * solved * sumW;
            var better = Vector256.LessThan(left, error) & Vector256.GreaterThan(scale, Vector256<float>.Zero);
            Scale = Vector256.ConditionalSelect(better, scale, Scale);
            Offset = Vector256.ConditionalSelect(better, solved, Offset);
            error = Vector256.ConditionalSelect(better, left, error);
        }
    }
}
