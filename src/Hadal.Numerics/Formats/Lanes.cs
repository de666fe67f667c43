using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Formats;

/// <summary>
/// What the block formats have in common: sixteen small integer codes (a <see cref="Vector128{T}"/> of bytes, whatever they were packed into)
/// become sixteen float32 values. Multiplications and additions are rounded one by one, never fused, so that every width gives the same bits.
/// </summary>
internal static class Lanes
{
    /// <summary>Codes handled at once.</summary>
    public const int Count = 16;

    private static Vector128<byte> BitOfLane => Vector128.Create((byte)1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);

    /// <summary>The binary16 value in the first two bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Half(ReadOnlySpan<byte> bytes) => (float)BinaryPrimitives.ReadHalfLittleEndian(bytes);

    /// <summary>The low (first) four bits of sixteen bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LowNibbles(Vector128<byte> bytes) => bytes & Vector128.Create((byte)0x0F);

    /// <summary>The high four bits of sixteen bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> HighNibbles(Vector128<byte> bytes) => bytes >>> 4;

    /// <summary>Sixteen bytes from <paramref name="offset"/> on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Load(ReadOnlySpan<byte> bytes, int offset) => Vector128.Create(bytes.Slice(offset, Count));

    /// <summary>Lane i is 0xff where bit i of <paramref name="bits"/> is set, else 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> MaskFromBits(ushort bits)
    {
        var spread = Vector128.Shuffle(Vector128.Create(bits).AsByte(), Vector128.Create((byte)0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
        return Vector128.Equals(spread & BitOfLane, BitOfLane);
    }

    /// <summary>values[i] = scale * codes[i].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scale(Vector128<sbyte> codes, float scale, Span<float> values)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            (Vector512.ConvertToSingle(Widen512(codes)) * scale).CopyTo(values);
        }
        else
        {
            var (lower, upper) = Widen256(codes);
            (Vector256.ConvertToSingle(lower) * scale).CopyTo(values);
            (Vector256.ConvertToSingle(upper) * scale).CopyTo(values[Vector256<float>.Count..]);
        }
    }

    /// <summary>values[i] = scale * codes[i] + offset.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ScaleAndAdd(Vector128<byte> codes, float scale, float offset, Span<float> values)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            ((Vector512.ConvertToSingle(Widen512(codes.AsSByte())) * scale) + Vector512.Create(offset)).CopyTo(values);
        }
        else
        {
            var (lower, upper) = Widen256(codes.AsSByte());
            ((Vector256.ConvertToSingle(lower) * scale) + Vector256.Create(offset)).CopyTo(values);
            ((Vector256.ConvertToSingle(upper) * scale) + Vector256.Create(offset)).CopyTo(values[Vector256<float>.Count..]);
        }
    }

    /// <summary>Sixteen bytes, sign-extended.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Widen512(Vector128<sbyte> codes)
    {
        if (Avx512F.IsSupported)
            return Avx512F.ConvertToVector512Int32(codes);
        var (lower, upper) = Widen256(codes);
        return Vector512.Create(lower, upper);
    }

    /// <summary>Sixteen bytes, sign-extended, in two halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector256<int> Lower, Vector256<int> Upper) Widen256(Vector128<sbyte> codes)
    {
        if (Avx2.IsSupported)
            return (Avx2.ConvertToVector256Int32(codes), Avx2.ConvertToVector256Int32(Vector128.Shuffle(codes.AsInt64(), Vector128.Create(1L, 1L)).AsSByte()));
        var (lower, upper) = Vector128.Widen(codes);
        var (first, second) = Vector128.Widen(lower);
        var (third, fourth) = Vector128.Widen(upper);
        return (Vector256.Create(first, second), Vector256.Create(third, fourth));
    }

    /// <summary>The low byte of each of sixteen lanes (whose values are 0 to 255).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Narrow(Vector512<int> codes) =>
        Avx512F.IsSupported ? Avx512F.ConvertToVector128Byte(codes) : Narrow(codes.GetLower(), codes.GetUpper());

    /// <inheritdoc cref="Narrow(Vector512{int})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Narrow(Vector256<int> lower, Vector256<int> upper) =>
        Vector128.Narrow(
            Vector128.Narrow(lower.GetLower().AsUInt32(), lower.GetUpper().AsUInt32()),
            Vector128.Narrow(upper.GetLower().AsUInt32(), upper.GetUpper().AsUInt32()));
}
