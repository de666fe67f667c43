using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q6_K : IIntegerFormat<Q6_K>
{
    private const long Ones = 0x0001_0001_0001_0001;

    // What brings the upper two bits of rows 0 and 1, and of rows 2 and 3, to bits 4 and 5: by lower and upper half.
    private static Vector512<ushort> LeftShifts
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector512.Create(4 * Ones, 4 * Ones, 4 * Ones, 4 * Ones, 2 * Ones, 2 * Ones, 2 * Ones, 2 * Ones).AsUInt16();
    }

    private static Vector512<ushort> RightShifts
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector512.Create(0, 0, 0, 0, 2 * Ones, 2 * Ones, 2 * Ones, 2 * Ones).AsUInt16();
    }

    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => false;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < BlockLength; i++)
        {
            var (half, row, at) = (i / 128, i / 32 % 4, i % 32);
            var nibble = (block[(64 * half) + (32 * (row % 2)) + at] >> (4 * (row / 2))) & 0x0F;
            codes[i] = (sbyte)((nibble | (((block[HighBits + (32 * half) + at] >> (2 * row)) & 3) << 4)) - Zero);
        }

        for (var i = 0; i < scales.Length; i++)
            scales[i] = (sbyte)block[Scales + i];
        minima.Clear();
    }

    /// <inheritdoc/>
    public static ushort ScaleBits(byte* block) => *(ushort*)(block + SuperScale);

    /// <inheritdoc/>
    public static ushort MinimumBits(byte* block) => 0;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32)
    {
        // The zero point of 32 comes off at the end: 32 * sum of scales times sums of activations.
        var packedScales = Vector128.Load((sbyte*)block + Scales);
        var (lowScales, highScales) = Vector128.Widen(packedScales);
        var zero = (IntegerLanes.Products(lowScales, Vector128.Load(sums16)) + IntegerLanes.Products(highScales, Vector128.Load(sums16 + 8))) * Zero;
        if (Avx512BW.IsSupported)
        {
            var wide = Avx2.ConvertToVector256Int16(packedScales).ToVector512Unsafe();
            var nibble = Vector512.Create((byte)0x0F);
            var upper = Vector512.Create((byte)0x30);
            var sum = Vector512<int>.Zero;
            for (var half = 0; half < 2; half++)
            {
                // 64 bytes: rows 0 and 1 in the low nibbles, rows 2 and 3 in the high ones.
                var packed = Vector512.Load(block + (64 * half));
                var high = IntegerLanes.Twice(block + HighBits + (32 * half)).AsUInt16();
                var first = (packed & nibble) | (Avx512BW.ShiftLeftLogicalVariable(high, LeftShifts).AsByte() & upper);
                var second = ((packed.AsUInt16() >>> 4).AsByte() & nibble) | (Avx512BW.ShiftRightLogicalVariable(high, RightShifts).AsByte() & upper);
                sum += Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(first, Vector512.Load(codes + (128 * half))), Select(wide, 8 * half));
                sum += Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(second, Vector512.Load(codes + (128 * half) + 64)), Select(wide, (8 * half) + 4));
            }

            return sum.GetLower() + sum.GetUpper() - zero.ToVector256();
        }
        else
        {
            var sum = Products128(block, block + HighBits, codes, Vector256.Create(lowScales, lowScales))
                + Products128(block + 64, block + HighBits + 32, codes + 128, Vector256.Create(highScales, highScales));
            return sum - zero.ToVector256();
        }
    }

    // Half a block: four rows of 32 codes, two scales each.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Products128(byte* packedCodes, byte* highBits, sbyte* codes, Vector256<short> scales)
    {
        // Shifts of 16-bit lanes: what they bring in from the neighbour is masked.
        var nibble = Vector256.Create((byte)0x0F);
        var upper = Vector256.Create((byte)0x30);
        var high = Vector256.Load(highBits).AsUInt16();
        var (first, second) = (Vector256.Load(packedCodes), Vector256.Load(packedCodes + 32));
        var row0 = (first & nibble) | ((high << 4).AsByte() & upper);
        var row1 = (second & nibble) | ((high << 2).AsByte() & upper);
        var row2 = (first >>> 4) | (high.AsByte() & upper);
        var row3 = (second >>> 4) | ((high >>> 2).AsByte() & upper);
        return (IntegerLanes.Products(IntegerLanes.Pairs(row0, Vector256.Load(codes)), IntegerLanes.RepeatTwo(scales, 0))
            + IntegerLanes.Products(IntegerLanes.Pairs(row1, Vector256.Load(codes + 32)), IntegerLanes.RepeatTwo(scales, 2)))
            + (IntegerLanes.Products(IntegerLanes.Pairs(row2, Vector256.Load(codes + 64)), IntegerLanes.RepeatTwo(scales, 4))
            + IntegerLanes.Products(IntegerLanes.Pairs(row3, Vector256.Load(codes + 96)), IntegerLanes.RepeatTwo(scales, 6)));
    }

    /// <inheritdoc/>
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => default;

    // Each of four scales from index first on, for the eight lanes of pairs of its sixteen codes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Select(Vector512<short> scales, int first)
    {
        var lanes = Vector512.Create(0, 0, Ones, Ones, 2 * Ones, 2 * Ones, 3 * Ones, 3 * Ones).AsInt16();
        return Avx512BW.PermuteVar32x16(scales, lanes + Vector512.Create((short)first));
    }

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q6_K>.Rows => new RowCode();

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima)
    {
        var (lower, upper) = Vector128.Widen(Vector128.Load((sbyte*)block + Scales));
        lower.Store(scales);
        upper.Store(scales + 8);
        var nibble = Vector256.Create((byte)0x0F);
        var two = Vector256.Create((byte)0x30);
        for (var half = 0; half < 2; half++)
        {
            var high = Vector256.Load(block + HighBits + (32 * half));
            var (first, second) = (Vector256.Load(block + (64 * half)), Vector256.Load(block + (64 * half) + 32));
            ((first & nibble) | ((high << 4) & two)).Store(codes + (128 * half));
            ((second & nibble) | ((high << 2) & two)).Store(codes + (128 * half) + 32);
            ((first >>> 4) | (high & two)).Store(codes + (128 * half) + 64);
            ((second >>> 4) | ((high >>> 2) & two)).Store(codes + (128 * half) + 96);
        }
    }

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q6_K>.Panel => new(256, 16, Zero, HasMinimum: false, MaxCode: 63);

    /// <inheritdoc/>
    static int IIntegerFormat<Q6_K>.InterleavedThreshold => 2;

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q6_K>.Layout => new(
        128, [0, 16, 32, 48, HighBits, HighBits + 16, 64, 80, 96, 112, HighBits + 32, HighBits + 48],
        static step => [new((step / 8 % 2 * 8) + (step % 8), step / 16 * 4, 4), new(16 + (step % 8), step / 8 * 2, 2)])
    {
        ScalesAt = Scales,
    };

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void UnpackScaleColumns(Vector256<uint>* bytes, Vector256<uint>* scales)
    {
        for (var i = 0; i < 4; i++)
            scales[i] = bytes[i];
    }
}
