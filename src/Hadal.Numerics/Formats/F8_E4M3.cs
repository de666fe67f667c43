using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// FP8 E4M3 without infinities: sign, 4 exponent bits (bias 7), 3 mantissa bits; 0x7f and 0xff are NaN, the largest value is 448, the smallest
/// 2^-9. Here stand the codes alone; their float32 scales (128x128 for weights, 1x128 for activations) lie beside them.
/// </summary>
/// <remarks>
/// Source: OCP 8-bit Floating Point Specification 1.0; the e4m3fn of PyTorch, but saturating as the GPU conversion with <c>satfinite</c>:
/// values beyond 448, infinities too, become ±448. A NaN keeps its sign.
/// </remarks>
public readonly struct F8_E4M3 : IWeightFormat<F8_E4M3>, IWeightEncoder<F8_E4M3>
{
    /// <summary>The largest finite value.</summary>
    public const float MaxValue = 448;

    /// <summary>What <see cref="Units"/> leaves out: its results times 2^120 are the values.</summary>
    internal const int UnitExponent = 120;

    private const int NaNCode = 0x7F;
    private const int MaxCode = 0x7E;

    // A code's exponent and mantissa, moved to where float32 has them, mean the value times 2^-120 (bias 127 - 7), subnormals included.
    internal const int FieldsMask = unchecked((int)0x87F0_0000);
    internal const int FieldsShift = 20;

    // 2^UnitExponent.
    internal const float Rebias = 1.329228e36f;

    private const int RebiasedOne = 120 << 3;

    // Adding 2^14 leaves 9 fraction bits in the sum: the addition itself rounds a subnormal to a multiple of 2^-9, ties to even.
    private const float SubnormalRounder = 16384;
    private const int SubnormalRounderBits = 0x4680_0000;
    private const int SmallestNormalBits = 0x3C80_0000;
    private const int InfinityBits = 0x7F80_0000;
    private const int QuietNaNBits = 0x7FC0_0000;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.F8_E4M3;

    /// <inheritdoc/>
    public static int BlockLength => 1;

    /// <inheritdoc/>
    public static int BlockBytes => 1;

    /// <summary>The value of a code, exactly.</summary>
    public static float ToSingle(byte code)
    {
        var sign = (code & 0x80) << 24;
        var magnitude = code & 0x7F;
        var value = BitConverter.Int32BitsToSingle(sign | (magnitude << FieldsShift)) * Rebias;
        return magnitude == NaNCode ? BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits(value) | QuietNaNBits) : value;
    }

    /// <summary>The nearest code, ties to even; beyond ±448 saturates, NaN stays NaN.</summary>
    public static byte FromSingle(float value)
    {
        var bits = BitConverter.SingleToInt32Bits(value);
        var magnitude = bits & int.MaxValue;
        var sign = (bits >>> 24) & 0x80;
        int code;
        if (magnitude > InfinityBits)
            code = NaNCode;
        else if (magnitude < SmallestNormalBits)
            code = BitConverter.SingleToInt32Bits(BitConverter.Int32BitsToSingle(magnitude) + SubnormalRounder) - SubnormalRounderBits;
        else
            code = Math.Min(((magnitude + 0x7_FFFF + ((magnitude >> FieldsShift) & 1)) >> FieldsShift) - RebiasedOne, MaxCode);
        return (byte)(sign | code);
    }

    /// <summary>The values of the codes in the highest bytes of eight lanes, 2^-<see cref="UnitExponent"/> times too small; no code may be NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Units(Vector256<int> codes) =>
        ((codes >> (24 - FieldsShift)) & Vector256.Create(FieldsMask)).AsSingle();

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var i = 0; i < blocks.Length; i++)
            values[i] = ToSingle(blocks[i]);
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values) => Decode(blocks, 1, values);

    /// <summary>values[i] = the value of codes[i] times a scale, rounded once.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer values than codes.</exception>
    internal static unsafe void Decode(ReadOnlySpan<byte> codes, float scale, Span<float> values)
    {
        const int Many = 64;
        values = values[..codes.Length];
        var i = 0;

        // The power of two that fields leave out goes with the scale, as far as the two together are a number.
        var factor = Rebias * scale;
        fixed (byte* from = codes)
        fixed (float* to = values)
        {
            for (; float.IsFinite(factor) && i <= codes.Length - Many; i += Many)
            {
                if (Vector512.EqualsAny(Vector512.Load(from + i) & Vector512.Create((byte)NaNCode), Vector512.Create((byte)NaNCode)))
                {
                    ScaleReference(codes.Slice(i, Many), scale, values.Slice(i, Many));
                    continue;
                }

                for (var k = i; k < i + Many; k += Lanes.Count)
                {
                    var sixteen = Vector128.Load(from + k).AsSByte();
                    if (Vector512.IsHardwareAccelerated)
                    {
                        (((Lanes.Widen512(sixteen) << FieldsShift) & Vector512.Create(FieldsMask)).AsSingle() * factor).Store(to + k);
                    }
                    else
                    {
                        var (lower, upper) = Lanes.Widen256(sixteen);
                        (((lower << FieldsShift) & Vector256.Create(FieldsMask)).AsSingle() * factor).Store(to + k);
                        (((upper << FieldsShift) & Vector256.Create(FieldsMask)).AsSingle() * factor).Store(to + k + Vector256<float>.Count);
                    }
                }
            }
        }

        ScaleReference(codes[i..], scale, values[i..]);
    }

    private static void ScaleReference(ReadOnlySpan<byte> codes, float scale, Span<float> values)
    {
        for (var i = 0; i < codes.Length; i++)
            values[i] = ToSingle(codes[i]) * scale;
    }

    /// <inheritdoc/>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks) => EncodeQuotients(values, 1, blocks);

    /// <summary>codes[i] = e4m3(values[i] / divisor), with a true division.</summary>
    internal static void EncodeQuotients(ReadOnlySpan<float> values, float divisor, Span<byte> codes)
    {
        var i = 0;
        for (; i <= values.Length - Lanes.Count; i += Lanes.Count)
        {
            var from = values.Slice(i, Lanes.Count);
            Vector128<byte> packed;
            if (Vector512.IsHardwareAccelerated)
            {
                packed = Lanes.Narrow(FromSingle(Vector512.Create(from) / divisor));
            }
            else
            {
                var lower = FromSingle(Vector256.Create(from) / divisor);
                var upper = FromSingle(Vector256.Create(from[Vector256<float>.Count..]) / divisor);
                packed = Lanes.Narrow(lower, upper);
            }

            packed.CopyTo(codes.Slice(i, Lanes.Count));
        }

        for (; i < values.Length; i++)
            codes[i] = FromSingle(values[i] / divisor);
    }

    /// <summary>rounded[i] = the float32 value of e4m3(values[i] / divisor). The spans may be the same memory.</summary>
    internal static void RoundQuotients(ReadOnlySpan<float> values, float divisor, Span<float> rounded)
    {
        var i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= values.Length - Vector512<float>.Count; i += Vector512<float>.Count)
                ToSingle(FromSingle(Vector512.Create(values[i..]) / divisor)).CopyTo(rounded[i..]);
        }
        else
        {
            for (; i <= values.Length - Vector256<float>.Count; i += Vector256<float>.Count)
                ToSingle(FromSingle(Vector256.Create(values[i..]) / divisor)).CopyTo(rounded[i..]);
        }

        for (; i < values.Length; i++)
            rounded[i] = ToSingle(FromSingle(values[i] / divisor));
    }

    // Lanes hold a code in their low 8 bits; bit 7 may be sign-extended or not.
    private static Vector512<float> ToSingle(Vector512<int> codes)
    {
        var fields = (codes << 24 >> 4) & Vector512.Create(FieldsMask);
        var value = (fields.AsSingle() * Rebias).AsInt32();
        var isNaN = Vector512.Equals(codes & Vector512.Create(NaNCode), Vector512.Create(NaNCode));
        return (value | (isNaN & Vector512.Create(QuietNaNBits))).AsSingle();
    }

    private static Vector256<float> ToSingle(Vector256<int> codes)
    {
        var fields = (codes << 24 >> 4) & Vector256.Create(FieldsMask);
        var value = (fields.AsSingle() * Rebias).AsInt32();
        var isNaN = Vector256.Equals(codes & Vector256.Create(NaNCode), Vector256.Create(NaNCode));
        return (value | (isNaN & Vector256.Create(QuietNaNBits))).AsSingle();
    }

    private static Vector512<int> FromSingle(Vector512<float> values)
    {
        var bits = values.AsInt32();
        var magnitude = bits & Vector512.Create(int.MaxValue);
        var sign = (bits >>> 24) & Vector512.Create(0x80);
        var subnormal = (magnitude.AsSingle() + Vector512.Create(SubnormalRounder)).AsInt32() - Vector512.Create(SubnormalRounderBits);
        var odd = (magnitude >>> FieldsShift) & Vector512<int>.One;
        var normal = ((magnitude + Vector512.Create(0x7_FFFF) + odd) >>> FieldsShift) - Vector512.Create(RebiasedOne);
        var code = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(SmallestNormalBits)), subnormal, normal);
        code = Vector512.Min(code, Vector512.Create(MaxCode));
        code = Vector512.ConditionalSelect(Vector512.GreaterThan(magnitude, Vector512.Create(InfinityBits)), Vector512.Create(NaNCode), code);
        return code | sign;
    }

    private static Vector256<int> FromSingle(Vector256<float> values)
    {
        var bits = values.AsInt32();
        var magnitude = bits & Vector256.Create(int.MaxValue);
        var sign = (bits >>> 24) & Vector256.Create(0x80);
        var subnormal = (magnitude.AsSingle() + Vector256.Create(SubnormalRounder)).AsInt32() - Vector256.Create(SubnormalRounderBits);
        var odd = (magnitude >>> FieldsShift) & Vector256<int>.One;
        var normal = ((magnitude + Vector256.Create(0x7_FFFF) + odd) >>> FieldsShift) - Vector256.Create(RebiasedOne);
        var code = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(SmallestNormalBits)), subnormal, normal);
        code = Vector256.Min(code, Vector256.Create(MaxCode));
        code = Vector256.ConditionalSelect(Vector256.GreaterThan(magnitude, Vector256.Create(InfinityBits)), Vector256.Create(NaNCode), code);
        return code | sign;
    }
}
