using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Formats;

/// <summary>Exact integer steps that products of small codes are made of; the same numbers on every instruction set.</summary>
internal static unsafe class IntegerLanes
{
    /// <summary>
    /// Lane i is u[2i] * s[2i] + u[2i + 1] * s[2i + 1]. The sums must fit 16 bits, as they do for codes up to 128 times activations up to 127.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<short> Pairs(Vector256<byte> u, Vector256<sbyte> s)
    {
        if (Avx2.IsSupported)
            return Avx2.MultiplyAddAdjacent(u, s);
        var (uLow, uHigh) = Vector256.Widen(u);
        var (sLow, sHigh) = Vector256.Widen(s);
        return AddAdjacent(uLow.AsInt16() * sLow, uHigh.AsInt16() * sHigh);
    }

    /// <summary>Lane i is a[2i] * b[2i] + a[2i + 1] * b[2i + 1] in 32 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Products(Vector256<short> a, Vector256<short> b)
    {
        if (Avx2.IsSupported)
            return Avx2.MultiplyAddAdjacent(a, b);
        return Vector256.Create(Products(a.GetLower(), b.GetLower()), Products(a.GetUpper(), b.GetUpper()));
    }

    /// <inheritdoc cref="Products(Vector256{short}, Vector256{short})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Products(Vector128<short> a, Vector128<short> b)
    {
        if (Sse2.IsSupported)
            return Sse2.MultiplyAddAdjacent(a, b);
        var (aLow, aHigh) = Vector128.Widen(a);
        var (bLow, bHigh) = Vector128.Widen(b);
        var low = aLow * bLow;
        var high = aHigh * bHigh;
        return Vector128.Create(low[0] + low[1], low[2] + low[3], high[0] + high[1], high[2] + high[3]);
    }

    /// <summary>Sixteen or thirty-two signed codes times activations, as pairs: the sign moves to the activation, the magnitude stays unsigned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<short> SignedPairs(Vector256<sbyte> q, Vector256<sbyte> s)
    {
        if (Avx2.IsSupported)
            return Avx2.MultiplyAddAdjacent(Avx2.Abs(q), Avx2.Sign(s, q));
        var (qLow, qHigh) = Vector256.Widen(q);
        var (sLow, sHigh) = Vector256.Widen(s);
        return AddAdjacent(qLow * sLow, qHigh * sHigh);
    }

    /// <summary>The lower halves of two vectors, in one instruction (<c>Vector512.Create</c> of two halves goes through memory).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<sbyte> LowerHalves(Vector512<sbyte> a, Vector512<sbyte> b) =>
        Avx512F.Shuffle4x128(a.AsInt32(), b.AsInt32(), 0b01_00_01_00).AsSByte();

    /// <summary>The same 32 bytes in both halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Twice(byte* bytes)
    {
        var half = Vector256.Load((int*)bytes).ToVector512Unsafe();
        return Avx512F.Shuffle4x128(half, half, 0b01_00_01_00).AsByte();
    }

    /// <summary>The upper halves of two vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<sbyte> UpperHalves(Vector512<sbyte> a, Vector512<sbyte> b) =>
        Avx512F.Shuffle4x128(a.AsInt32(), b.AsInt32(), 0b11_10_11_10).AsSByte();

    /// <summary>Lane <paramref name="j"/> of the eight in each half, in every lane of it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<short> Repeat(Vector256<short> lanes, int j) => Avx2.IsSupported
        ? Avx2.Shuffle(lanes.AsByte(), Vector256.Create((ushort)(0x0100 + (j * 0x0202))).AsByte()).AsInt16()
        : Vector256.Create(lanes.GetElement(j));

    /// <summary>The same with the next lane in the upper half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<short> RepeatTwo(Vector256<short> lanes, int j) => Avx2.IsSupported
        ? Avx2.Shuffle(lanes.AsByte(), Vector256.Create(Vector128.Create((ushort)(0x0100 + (j * 0x0202))), Vector128.Create((ushort)(0x0302 + (j * 0x0202)))).AsByte()).AsInt16()
        : Vector256.Create(Vector128.Create(lanes.GetElement(j)), Vector128.Create(lanes.GetElement(j + 1)));

    /// <summary>Upper half added to lower half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Fold(Vector256<int> sums) => sums.GetLower() + sums.GetUpper();

    /// <summary>Thirty-two codes from sixteen bytes: low nibbles first, then high nibbles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Nibbles(byte* bytes)
    {
        var packed = Vector128.Load(bytes);
        return Vector256.Create(packed, (packed.AsUInt16() >>> 4).AsByte()) & Vector256.Create((byte)0x0F);
    }

    /// <summary>Lane i is 0x10 where bit i of 32 is set, else 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> FifthBits(byte* bits)
    {
        var lanes = Vector256.Create(0x8040201008040201UL).AsByte();
        Vector256<byte> spread;
        if (Avx2.IsSupported)
        {
            var index = Vector256.Create(0x0000000000000000UL, 0x0101010101010101UL, 0x0202020202020202UL, 0x0303030303030303UL).AsByte();
            spread = Avx2.Shuffle(Vector256.Create(*(uint*)bits).AsByte(), index);
        }
        else
        {
            spread = Vector256.Create(
                Vector128.Create(Vector64.Create(bits[0]), Vector64.Create(bits[1])), Vector128.Create(Vector64.Create(bits[2]), Vector64.Create(bits[3])));
        }

        return Vector256.Equals(spread & lanes, lanes) & Vector256.Create((byte)0x10);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<short> AddAdjacent(Vector256<short> low, Vector256<short> high)
    {
        // Low half of a 32-bit lane plus its high half; the sums fit 16 bits.
        var sumLow = ((low.AsInt32() << 16) >> 16) + (low.AsInt32() >> 16);
        var sumHigh = ((high.AsInt32() << 16) >> 16) + (high.AsInt32() >> 16);
        return Vector256.Narrow(sumLow, sumHigh);
    }
}
