using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>Which values an FP8 scale may take.</summary>
public enum ScaleKind
{
    /// <summary>Any float32: amax / 448 (DeepSeek-V3).</summary>
    Float32,

    /// <summary>The next power of two not below it, <c>ue8m0</c> (DeepSeek-V3.1).</summary>
    PowerOfTwo,
}

/// <summary>The scale that a tile of values shares when its quotients are stored as <see cref="F8_E4M3"/>.</summary>
internal static class Fp8Scale
{
    private const int InfinityBits = 0x7F80_0000;
    private const float SmallestNormal = 1.17549435e-38f;

    /// <summary>The largest magnitude among the finite values; 0 where there is none.</summary>
    public static float MaxMagnitude(ReadOnlySpan<float> values)
    {
        // Bits of non-negative floats are ordered as the floats are.
        var largest = Vector256<int>.Zero;
        var i = 0;
        for (; i <= values.Length - Vector256<float>.Count; i += Vector256<float>.Count)
        {
            var magnitude = Vector256.Create(values[i..]).AsInt32() & Vector256.Create(int.MaxValue);
            largest = Vector256.Max(largest, magnitude & Vector256.LessThan(magnitude, Vector256.Create(InfinityBits)));
        }

        var bits = 0;
        for (var lane = 0; lane < Vector256<int>.Count; lane++)
            bits = Math.Max(bits, largest[lane]);
        for (; i < values.Length; i++)
        {
            if (float.IsFinite(values[i]))
                bits = Math.Max(bits, BitConverter.SingleToInt32Bits(values[i]) & int.MaxValue);
        }

        return BitConverter.Int32BitsToSingle(bits);
    }

    /// <summary>
    /// maxMagnitude / 448 in float32, or the power of two not below it; never below the smallest normal number, so that a division by it
    /// is always defined.
    /// </summary>
    public static float Of(float maxMagnitude, ScaleKind kind)
    {
        var scale = Math.Max(maxMagnitude / F8_E4M3.MaxValue, SmallestNormal);
        if (kind == ScaleKind.Float32)
            return scale;

        // 2^ceil(log2 s), exactly: any mantissa bit carries into the exponent.
        var bits = BitConverter.SingleToInt32Bits(scale);
        return BitConverter.Int32BitsToSingle((bits + 0x7F_FFFF) & InfinityBits);
    }
}
