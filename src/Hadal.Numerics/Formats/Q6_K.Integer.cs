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
    public static Vector128<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32)
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

            return IntegerLanes.Fold(sum.GetLower() + sum.GetUpper()) - zero;
        }
        else
        {
            var nibble = Vector256.Create((byte)0x0F);
            var upper = Vector256.Create((byte)0x30);
            var sum = Vector256<int>.Zero;
            for (var half = 0; half < 2; half++)
            {
                var high = Vector256.Load(block + HighBits + (32 * half));
                for (var row = 0; row < 4; row++)
                {
                    var packed = Vector256.Load(block + (64 * half) + (32 * (row % 2)));
                    var bits = row switch { 0 => high << 4, 1 => high << 2, 2 => high, _ => high >>> 2 };
                    var u = (row < 2 ? packed & nibble : packed >>> 4) | (bits & upper);
                    var s = (8 * half) + (2 * row);
                    var scales = Vector256.Create(Vector128.Create((short)packedScales.GetElement(s)), Vector128.Create((short)packedScales.GetElement(s + 1)));
                    sum += IntegerLanes.Products(IntegerLanes.Pairs(u, Vector256.Load(codes + (128 * half) + (32 * row))), scales);
                }
            }

            return IntegerLanes.Fold(sum) - zero;
        }
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
    public static void PackScales(byte* block, long rowBytes, int count, int* scales, int* minima)
    {
        var rows = stackalloc byte[ScaleColumns.Rows * ScaleColumns.RowBytes];
        ScaleColumns.Gather(block + Scales, rowBytes, count, rows);
        for (var q = 0; q < 4; q++)
        {
            var fours = ScaleColumns.DoubleWords(rows, q);
            for (var b = 0; b < 4; b++)
                ((fours << (24 - (8 * b))) >> 24).Store(scales + (((4 * q) + b) * IntegerPanel.Rows));
        }
    }
}
