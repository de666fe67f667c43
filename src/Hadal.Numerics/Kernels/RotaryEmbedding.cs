using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Rotary position embedding (arXiv 2104.09864): pair i of a vector of R values is turned by the angle position * frequency[i]. The pairs are either
/// neighbours (2i, 2i + 1), as in DeepSeek V2/V3 checkpoints and every GGUF, or halves (i, i + R/2), as in Llama's Hugging Face checkpoints.
/// </summary>
public sealed class RotaryEmbedding
{
    private readonly double[] frequencies;
    private readonly double magnitude;

    /// <summary>Takes the angle for each step of position.</summary>
    /// <param name="frequencies">[R/2] radians for each position.</param>
    /// <param name="interleaved">Whether pairs are neighbours rather than halves.</param>
    /// <param name="magnitude">Factor on cos and sin; 1 except for unusual YaRN settings.</param>
    public RotaryEmbedding(double[] frequencies, bool interleaved, double magnitude = 1)
    {
        this.frequencies = frequencies;
        this.magnitude = magnitude;
        Interleaved = interleaved;
    }

    /// <summary>Values that are turned (R).</summary>
    public int Dimension => 2 * frequencies.Length;

    /// <summary>Whether pairs are neighbours rather than halves.</summary>
    public bool Interleaved { get; }

    /// <summary>Radians for each position, [R/2].</summary>
    public ReadOnlySpan<double> Frequencies => frequencies;

    /// <summary>Plain frequencies: base^(-2i/R).</summary>
    public static double[] PlainFrequencies(int dimension, double theta)
    {
        var plain = new double[dimension / 2];
        for (var i = 0; i < plain.Length; i++)
            plain[i] = Math.Pow(theta, -2.0 * i / dimension);
        return plain;
    }

    /// <summary>
    /// YaRN frequencies (arXiv 2309.00071): fast dimensions keep their frequency, slow ones are divided by the factor, with a linear ramp between. Source:
    /// <c>precompute_freqs_cis</c> of deepseek-ai/DeepSeek-V3 inference/model.py, bounds and rounding included.
    /// </summary>
    /// <param name="dimension">R.</param>
    /// <param name="theta">Base.</param>
    /// <param name="factor">Context extension s.</param>
    /// <param name="betaFast">Rotations over the original context above which a dimension is kept.</param>
    /// <param name="betaSlow">Rotations below which it is divided by the factor.</param>
    /// <param name="originalContext">Context length of pre-training.</param>
    public static double[] YarnFrequencies(int dimension, double theta, double factor, double betaFast, double betaSlow, int originalContext)
    {
        double CorrectionDimension(double rotations) =>
            dimension * Math.Log(originalContext / (rotations * 2 * Math.PI)) / (2 * Math.Log(theta));
        var low = Math.Max(Math.Floor(CorrectionDimension(betaFast)), 0);
        var high = Math.Min(Math.Ceiling(CorrectionDimension(betaSlow)), dimension - 1);
        if (low == high)
            high += 0.001;
        var scaled = PlainFrequencies(dimension, theta);
        for (var i = 0; i < scaled.Length; i++)
        {
            var kept = 1 - Math.Clamp((i - low) / (high - low), 0, 1);
            scaled[i] = (scaled[i] / factor * (1 - kept)) + (scaled[i] * kept);
        }

        return scaled;
    }

    /// <summary>Cosines and sines for one position.</summary>
    /// <param name="position">0-based position.</param>
    /// <param name="cos">[R/2].</param>
    /// <param name="sin">[R/2].</param>
    public void Angles(int position, Span<float> cos, Span<float> sin)
    {
        for (var i = 0; i < frequencies.Length; i++)
        {
            var (s, c) = Math.SinCos(position * frequencies[i]);
            cos[i] = (float)(c * magnitude);
            sin[i] = (float)(s * magnitude);
        }
    }

    /// <summary>Turns one vector in place.</summary>
    /// <param name="x">[R].</param>
    /// <param name="cos">[R/2] of its position.</param>
    /// <param name="sin">[R/2] of its position.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public void Rotate(Span<float> x, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin)
    {
        if (x.Length != 2 * cos.Length || sin.Length != cos.Length)
            throw new ArgumentException($"{x.Length} values are turned by half as many angles, but there are {cos.Length} cosines and {sin.Length} sines");
        var i = Interleaved ? RotatePairs(x, cos, sin) : RotateHalves(x, cos, sin);
        var (step, partner) = Interleaved ? (2, 1) : (1, cos.Length);
        for (; i < cos.Length; i++)
        {
            ref var a = ref x[i * step];
            ref var b = ref x[(i * step) + partner];
            (a, b) = ((a * cos[i]) - (b * sin[i]), (a * sin[i]) + (b * cos[i]));
        }
    }

    // Four pairs of neighbours at a time: (a, b) times the cosine, plus (b, a) times the sine, negative for a. The bits are those of one at a time. Returns how many.
    private static int RotatePairs(Span<float> x, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin)
    {
        ref var first = ref MemoryMarshal.GetReference(x);
        ref var cosines = ref MemoryMarshal.GetReference(cos);
        ref var sines = ref MemoryMarshal.GetReference(sin);
        var i = 0;
        for (; i <= cos.Length - 4; i += 4)
        {
            var (c, s) = (Vector128.LoadUnsafe(ref cosines, (nuint)i), Vector128.LoadUnsafe(ref sines, (nuint)i));
            Turn(ref first, 2 * i, Vector128.Shuffle(c, Vector128.Create(0, 0, 1, 1)), Vector128.Shuffle(s, Vector128.Create(0, 0, 1, 1)));
            Turn(ref first, (2 * i) + 4, Vector128.Shuffle(c, Vector128.Create(2, 2, 3, 3)), Vector128.Shuffle(s, Vector128.Create(2, 2, 3, 3)));
        }

        return i;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Turn(ref float x, int at, Vector128<float> cos, Vector128<float> sin)
    {
        var pairs = Vector128.LoadUnsafe(ref x, (nuint)at);
        var swapped = Vector128.Shuffle(pairs, Vector128.Create(1, 0, 3, 2));
        ((pairs * cos) + (swapped * (sin ^ Vector128.Create(-0f, 0, -0f, 0)))).StoreUnsafe(ref x, (nuint)at);
    }

    private static int RotateHalves(Span<float> x, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin)
    {
        ref var first = ref MemoryMarshal.GetReference(x);
        ref var second = ref MemoryMarshal.GetReference(x[cos.Length..]);
        var i = 0;
        for (; i <= cos.Length - 4; i += 4)
        {
            var (a, b) = (Vector128.LoadUnsafe(ref first, (nuint)i), Vector128.LoadUnsafe(ref second, (nuint)i));
            var (c, s) = (Vector128.LoadUnsafe(in MemoryMarshal.GetReference(cos), (nuint)i), Vector128.LoadUnsafe(in MemoryMarshal.GetReference(sin), (nuint)i));
            ((a * c) - (b * s)).StoreUnsafe(ref first, (nuint)i);
            ((a * s) + (b * c)).StoreUnsafe(ref second, (nuint)i);
        }

        return i;
    }
}
