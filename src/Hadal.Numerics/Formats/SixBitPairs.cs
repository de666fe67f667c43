using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <summary>
/// The twelve bytes of <see cref="Q4_K"/> and <see cref="Q5_K"/> that hold eight 6-bit scales and eight 6-bit minima: bytes 0-3 are scales 0-3,
/// bytes 4-7 minima 0-3, bytes 8-11 the lower 4 bits of scale (low nibble) and minimum (high nibble) 4-7, whose upper 2 bits are the upper 2 bits
/// of bytes 0-3 (scales) and 4-7 (minima). Source: ggml, get_scale_min_k4.
/// </summary>
internal static unsafe class SixBitPairs
{
    // 0 in the lower half, 2 in the upper: written out, so that it is a constant in the code.
    private static Vector512<short> Halves
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector512.Create(0L, 0, 0, 0, 0x0002_0002_0002_0002, 0x0002_0002_0002_0002, 0x0002_0002_0002_0002, 0x0002_0002_0002_0002).AsInt16();
    }

    /// <summary>Bytes of the eight pairs.</summary>
    public const int Bytes = 12;

    private const int Count = 8;
    private const int BlockLength = 32;
    private const int Max = 63;

    /// <summary>The scale and the minimum with index <paramref name="j"/>, each 0 to 63.</summary>
    public static (int Scale, int Minimum) Get(ReadOnlySpan<byte> packed, int j) => j < 4
        ? (packed[j] & 63, packed[j + 4] & 63)
        : ((packed[j + 4] & 0x0F) | ((packed[j - 4] >> 6) << 4), (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4));

    /// <summary>All eight scales and all eight minima, a byte each, the first lowest.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (ulong Scales, ulong Minima) GetAll(ReadOnlySpan<byte> packed)
    {
        var scales = BinaryPrimitives.ReadUInt32LittleEndian(packed);
        var minima = BinaryPrimitives.ReadUInt32LittleEndian(packed[4..]);
        var lower = BinaryPrimitives.ReadUInt32LittleEndian(packed[8..]);
        var upperScales = (lower & 0x0F0F_0F0F) | ((scales >> 2) & 0x3030_3030);
        var upperMinima = ((lower >> 4) & 0x0F0F_0F0F) | ((minima >> 2) & 0x3030_3030);
        return ((scales & 0x3F3F_3F3F) | ((ulong)upperScales << 32), (minima & 0x3F3F_3F3F) | ((ulong)upperMinima << 32));
    }

    /// <summary>
    /// Rounds a super-block of 256 values to value = d * s * q - dmin * m: finds d and dmin, packs s and m, gives the codes.
    /// </summary>
    /// <param name="values">256 values.</param>
    /// <param name="maxCode">The largest code.</param>
    /// <param name="packed">Receives the twelve bytes.</param>
    /// <param name="codes">Receives 256 codes.</param>
    /// <returns>d and dmin.</returns>
    public static (Half Scale, Half Minimum) Encode(ReadOnlySpan<float> values, int maxCode, Span<byte> packed, Span<byte> codes)
    {
        Span<float> x = stackalloc float[Count * BlockLength];
        Span<float> w = stackalloc float[Count * BlockLength];
        BlockSearch.Load(values, BlockLength, x, w);
        var (scale, minimum) = BlockSearch.Affine(x, w, maxCode, canBePositive: false);
        var d = BlockSearch.HalfNotBelow(Largest(scale) / Max);
        var dmin = BlockSearch.HalfNotBelow(Largest(-minimum) / Max);

        // Of the integers next to the ideal scale and minimum, the pair that leaves the least error: the minimum makes up for the rounding of the scale.
        var idealS = Vector256.Round(scale * BlockSearch.Inverse(Vector256.Create((float)d)));
        var idealM = Vector256.Round(-minimum * BlockSearch.Inverse(Vector256.Create((float)dmin)));
        var (bestS, bestM) = (Vector256<float>.Zero, Vector256<float>.Zero);
        var bestError = Vector256.Create(float.PositiveInfinity);
        for (var ds = -1; ds <= 1; ds++)
        {
            for (var dm = -1; dm <= 1; dm++)
            {
                var s = Clamp(idealS + Vector256.Create((float)ds));
                var m = Clamp(idealM + Vector256.Create((float)dm));
                var error = BlockSearch.AffineError(x, w, s * (float)d, -(m * (float)dmin), maxCode);
                var better = Vector256.LessThan(error, bestError);
                bestS = Vector256.ConditionalSelect(better, s, bestS);
                bestM = Vector256.ConditionalSelect(better, m, bestM);
                bestError = Vector256.ConditionalSelect(better, error, bestError);
            }
        }

        BlockSearch.AffineCodes(x, bestS * (float)d, -(bestM * (float)dmin), maxCode, codes);
        Pack(Vector256.ConvertToInt32(bestS), Vector256.ConvertToInt32(bestM), packed);
        return (d, dmin);
    }

    private static void Pack(Vector256<int> scales, Vector256<int> minima, Span<byte> packed)
    {
        for (var j = 0; j < 4; j++)
        {
            packed[j] = (byte)(scales[j] | ((scales[j + 4] >> 4) << 6));
            packed[j + 4] = (byte)(minima[j] | ((minima[j + 4] >> 4) << 6));
            packed[j + 8] = (byte)((scales[j + 4] & 0x0F) | ((minima[j + 4] & 0x0F) << 4));
        }
    }

    private static Vector256<float> Clamp(Vector256<float> integers) =>
        Vector256.Min(Vector256.Max(integers, Vector256<float>.Zero), Vector256.Create((float)Max));

    private static float Largest(Vector256<float> lanes)
    {
        var largest = 0f;
        for (var lane = 0; lane < Count; lane++)
            largest = Math.Max(largest, lanes[lane]);
        return largest;
    }

    /// <summary>All eight, each for the two blocks of 16 codes it covers.</summary>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < 2 * Count; i++)
        {
            var (scale, minimum) = Get(packed, i / 2);
            scales[i] = (short)scale;
            minima[i] = (short)minimum;
        }
    }

    /// <summary>The eight scales.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<short> Scales(byte* packed)
    {
        var (a, _, c) = (*(uint*)packed, *(uint*)(packed + 4), *(uint*)(packed + 8));
        return Widen(a & 0x3F3F3F3F, (c & 0x0F0F0F0F) | ((a >> 2) & 0x30303030));
    }

    /// <summary>The eight minima.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<short> Minima(byte* packed)
    {
        var (b, c) = (*(uint*)(packed + 4), *(uint*)(packed + 8));
        return Widen(b & 0x3F3F3F3F, ((c >> 4) & 0x0F0F0F0F) | ((b >> 2) & 0x30303030));
    }

    /// <summary>A layout of codes with the scales and minima of blocks whose first 16 bytes are two halves and the twelve bytes.</summary>
    /// <param name="codes">The layout.</param>
    public static CodeLayout With(CodeLayout codes) => codes with
    {
        ScaleVectors = Bytes / sizeof(uint),
        Scale = static four => four == 0 ? [new(0, 0, 6)] : [new(2, 0, 4), new(0, 6, 2)],
        Minimum = static four => four == 0 ? [new(1, 0, 6)] : [new(2, 4, 4), new(1, 6, 2)],
    };

    /// <summary>Eight scales as a table for <see cref="Select"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<short> Spread(Vector128<short> scales) => scales.ToVector256Unsafe().ToVector512Unsafe();

    /// <summary>Scale <paramref name="first"/> in the lower half and <paramref name="first"/> + 2 in the upper half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<short> Select(Vector512<short> scales, int first) =>
        Avx512BW.PermuteVar32x16(scales, Halves + Vector512.Create((short)first));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<short> Widen(uint low, uint high) =>
        Vector128.WidenLower(Vector128.CreateScalarUnsafe(low | ((ulong)high << 32)).AsByte()).AsInt16();
}
