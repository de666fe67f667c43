using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Formats;

/// <summary>bfloat16: sign, 8 exponent bits and 7 mantissa bits, the upper half of a binary32. Decoding is exact; encoding rounds to nearest even.</summary>
public readonly struct BF16 : IWeightFormat<BF16>, IWeightEncoder<BF16>
{
    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.BF16;

    /// <inheritdoc/>
    public static int BlockLength => 1;

    /// <inheritdoc/>
    public static int BlockBytes => 2;

    /// <summary>The value of a code.</summary>
    public static float ToSingle(ushort code) => BitConverter.UInt32BitsToSingle((uint)code << 16);

    /// <summary>The nearest code, ties to even; a NaN stays a (quiet) NaN.</summary>
    public static ushort FromSingle(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
            return (ushort)((bits >> 16) | 0x0040);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>Sixteen values from 32 bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static unsafe Vector512<float> Load16(byte* codes)
    {
        var packed = Vector256.Load((ushort*)codes);
        var wide = Avx512F.IsSupported
            ? Avx512F.ConvertToVector512Int32(packed)
            : Vector512.Create(Vector256.WidenLower(packed), Vector256.WidenUpper(packed)).AsInt32();
        return (wide << 16).AsSingle();
    }

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        var codes = MemoryMarshal.Cast<byte, ushort>(blocks);
        for (var i = 0; i < codes.Length; i++)
            values[i] = ToSingle(codes[i]);
    }

    /// <inheritdoc/>
    public static unsafe void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        var count = blocks.Length / sizeof(ushort);
        values = values[..count];
        fixed (byte* from = blocks)
        fixed (float* to = values)
        {
            var i = 0;
            for (; i <= count - 16; i += 16)
                Load16(from + (i * sizeof(ushort))).Store(to + i);
            for (; i < count; i++)
                to[i] = ToSingle(((ushort*)from)[i]);
        }
    }

    /// <inheritdoc/>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        var codes = MemoryMarshal.Cast<byte, ushort>(blocks)[..values.Length];
        var i = 0;
        for (; i <= values.Length - 32; i += 32)
            Vector512.Narrow(Round16(Vector512.Create(values.Slice(i, 16))), Round16(Vector512.Create(values.Slice(i + 16, 16)))).CopyTo(codes[i..]);
        for (; i <= values.Length - 16; i += 16)
            Narrow16(Round16(Vector512.Create(values.Slice(i, 16)))).CopyTo(codes[i..]);
        for (; i < values.Length; i++)
            codes[i] = FromSingle(values[i]);
    }

    /// <summary>The lower halves of sixteen lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<ushort> Narrow16(Vector512<uint> codes) => Avx512F.IsSupported
        ? Avx512F.ConvertToVector256UInt16(codes)
        : Vector256.Narrow(codes.GetLower(), codes.GetUpper());

    /// <summary>The codes of sixteen values, each in the lower half of its lane: <see cref="FromSingle"/> without a branch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<uint> Round16(Vector512<float> values)
    {
        var bits = values.AsUInt32();
        var rounded = (bits + Vector512.Create(0x7FFFu) + ((bits >> 16) & Vector512<uint>.One)) >> 16;
        return Vector512.ConditionalSelect(Vector512.IsNaN(values).AsUInt32(), (bits >> 16) | Vector512.Create(0x40u), rounded);
    }
}
