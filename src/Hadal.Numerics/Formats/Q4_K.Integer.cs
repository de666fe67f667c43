using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q4_K : IIntegerFormat<Q4_K>
{
    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => true;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        SixBitPairs.Unpack(block.Slice(Pairs, SixBitPairs.Bytes), scales, minima);
        for (var i = 0; i < BlockLength; i++)
            codes[i] = (sbyte)((block[Codes + (32 * (i / 64)) + (i % 32)] >> (4 * (i / 32 % 2))) & 0x0F);
    }

    /// <inheritdoc/>
    public static ushort ScaleBits(byte* block) => *(ushort*)block;

    /// <inheritdoc/>
    public static ushort MinimumBits(byte* block) => *(ushort*)(block + Minima);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32)
    {
        var scales = SixBitPairs.Scales(block + Pairs);
        if (Avx512BW.IsSupported)
        {
            // 64 bytes hold blocks 0 and 2 in their low nibbles and 1 and 3 in the high ones.
            var wide = SixBitPairs.Spread(scales);
            var mask = Vector512.Create((byte)0x0F);
            var sum = Vector512<int>.Zero;
            for (var c = 0; c < 2; c++)
            {
                var packed = Vector512.Load(block + Codes + (64 * c));
                var x0 = Vector512.Load(codes + (128 * c));
                var x1 = Vector512.Load(codes + (128 * c) + 64);
                var even = IntegerLanes.LowerHalves(x0, x1);
                var odd = IntegerLanes.UpperHalves(x0, x1);
                sum += Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(packed & mask, even), SixBitPairs.Select(wide, 4 * c));
                sum += Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent((packed.AsUInt16() >>> 4).AsByte() & mask, odd), SixBitPairs.Select(wide, (4 * c) + 1));
            }

            return sum.GetLower() + sum.GetUpper();
        }
        else
        {
            var twice = Vector256.Create(scales, scales);
            return (Products64(block + Codes, codes, twice, 0) + Products64(block + Codes + 32, codes + 64, twice, 2))
                + (Products64(block + Codes + 64, codes + 128, twice, 4) + Products64(block + Codes + 96, codes + 192, twice, 6));
        }
    }

    // Two blocks of 32, with scales j and j + 1.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Products64(byte* packedCodes, sbyte* codes, Vector256<short> scales, int j)
    {
        var packed = Vector256.Load(packedCodes);
        return IntegerLanes.Products(IntegerLanes.Pairs(packed & Vector256.Create((byte)0x0F), Vector256.Load(codes)), IntegerLanes.Repeat(scales, j))
            + IntegerLanes.Products(IntegerLanes.Pairs(packed >>> 4, Vector256.Load(codes + 32)), IntegerLanes.Repeat(scales, j + 1));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) =>
        IntegerLanes.Products(SixBitPairs.Minima(block + Pairs), Vector128.Load(sums32));

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q4_K>.Rows => new SixBitPairRows(BlockBytes, Codes, null);

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima)
    {
        SixBitPairs.Scales(block + Pairs).Store(scales);
        SixBitPairs.Minima(block + Pairs).Store(minima);
        for (var j = 0; j < 8; j += 2)
        {
            var packed = Vector256.Load(block + Codes + (16 * j));
            (packed & Vector256.Create((byte)0x0F)).Store(codes + (32 * j));
            (packed >>> 4).Store(codes + (32 * j) + 32);
        }
    }

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q4_K>.Panel => new(256, 8, 0, HasMinimum: true, MaxCode: 15);

    /// <inheritdoc/>
    static int IIntegerFormat<Q4_K>.InterleavedThreshold => 2;

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q4_K>.Layout => SixBitPairs.With(CodeLayout.OfRuns(Codes, 4));
}
