using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>Turns 16 rows of 64 bytes into 16 columns of 4 bytes: how rows of a weight become panels for the tiles.</summary>
internal static unsafe class Transpose
{
    /// <summary>target[k][r] = source[r][k] for 16 x 16 values of 32 bits. Needs AVX-512.</summary>
    /// <param name="source">First row.</param>
    /// <param name="sourceStride">Bytes from one row to the next.</param>
    /// <param name="target">Sixteen vectors.</param>
    /// <param name="targetStride">Bytes from one vector to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows16(byte* source, nint sourceStride, byte* target, nint targetStride = 64)
    {
        // Pairs of rows, then fours: each 128-bit lane then holds one column of four rows.
        Four(source, sourceStride, out var a0, out var a1, out var a2, out var a3);
        Four(source + (4 * sourceStride), sourceStride, out var b0, out var b1, out var b2, out var b3);
        Four(source + (8 * sourceStride), sourceStride, out var c0, out var c1, out var c2, out var c3);
        Four(source + (12 * sourceStride), sourceStride, out var d0, out var d1, out var d2, out var d3);
        Lanes(a0, b0, c0, d0, target, 4 * targetStride);
        Lanes(a1, b1, c1, d1, target + targetStride, 4 * targetStride);
        Lanes(a2, b2, c2, d2, target + (2 * targetStride), 4 * targetStride);
        Lanes(a3, b3, c3, d3, target + (3 * targetStride), 4 * targetStride);
    }

    // out j: lane i holds column 4i + j of the four rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(byte* rows, nint stride, out Vector512<int> v0, out Vector512<int> v1, out Vector512<int> v2, out Vector512<int> v3)
    {
        var r0 = Vector512.Load((int*)rows);
        var r1 = Vector512.Load((int*)(rows + stride));
        var r2 = Vector512.Load((int*)(rows + (2 * stride)));
        var r3 = Vector512.Load((int*)(rows + (3 * stride)));
        var low01 = Avx512F.UnpackLow(r0, r1).AsInt64();
        var high01 = Avx512F.UnpackHigh(r0, r1).AsInt64();
        var low23 = Avx512F.UnpackLow(r2, r3).AsInt64();
        var high23 = Avx512F.UnpackHigh(r2, r3).AsInt64();
        v0 = Avx512F.UnpackLow(low01, low23).AsInt32();
        v1 = Avx512F.UnpackHigh(low01, low23).AsInt32();
        v2 = Avx512F.UnpackLow(high01, high23).AsInt32();
        v3 = Avx512F.UnpackHigh(high01, high23).AsInt32();
    }

    // Lane i of a, b, c, d side by side is column 4i + j of all sixteen rows; columns of equal j are four vectors apart.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Lanes(Vector512<int> a, Vector512<int> b, Vector512<int> c, Vector512<int> d, byte* target, nint stride)
    {
        var abLow = Avx512F.Shuffle4x128(a, b, 0b01_00_01_00);
        var abHigh = Avx512F.Shuffle4x128(a, b, 0b11_10_11_10);
        var cdLow = Avx512F.Shuffle4x128(c, d, 0b01_00_01_00);
        var cdHigh = Avx512F.Shuffle4x128(c, d, 0b11_10_11_10);
        Avx512F.Shuffle4x128(abLow, cdLow, 0b10_00_10_00).Store((int*)target);
        Avx512F.Shuffle4x128(abLow, cdLow, 0b11_01_11_01).Store((int*)(target + stride));
        Avx512F.Shuffle4x128(abHigh, cdHigh, 0b10_00_10_00).Store((int*)(target + (2 * stride)));
        Avx512F.Shuffle4x128(abHigh, cdHigh, 0b11_01_11_01).Store((int*)(target + (3 * stride)));
    }
}
