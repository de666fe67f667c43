using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q5_K : IIntegerFormat<Q5_K>
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
        {
            var nibble = (block[Codes + (32 * (i / 64)) + (i % 32)] >> (4 * (i / 32 % 2))) & 0x0F;
            codes[i] = (sbyte)(nibble | (((block[HighBits + (i % 32)] >> (i / 32)) & 1) << 4));
        }
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
            // As in Q4_K; the fifth bits of blocks j (lower half) and j + 2 (upper half) are bits j and j + 2 of the same 32 bytes.
            var wide = SixBitPairs.Spread(scales);
            var mask = Vector512.Create((byte)0x0F);
            var both = IntegerLanes.Twice(block + HighBits);
            var sum = Vector512<int>.Zero;
            for (var c = 0; c < 2; c++)
            {
                var packed = Vector512.Load(block + Codes + (64 * c));
                var x0 = Vector512.Load(codes + (128 * c));
                var x1 = Vector512.Load(codes + (128 * c) + 64);
                var even = IntegerLanes.LowerHalves(x0, x1);
                var odd = IntegerLanes.UpperHalves(x0, x1);
                var evenCodes = (packed & mask) | FifthBits(both, 4 * c);
                var oddCodes = ((packed.AsUInt16() >>> 4).AsByte() & mask) | FifthBits(both, (4 * c) + 1);
                sum += Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(evenCodes, even), SixBitPairs.Select(wide, 4 * c));
                sum += Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(oddCodes, odd), SixBitPairs.Select(wide, (4 * c) + 1));
            }

            return sum.GetLower() + sum.GetUpper();
        }
        else
        {
            var high = Vector256.Load(block + HighBits);
            var twice = Vector256.Create(scales, scales);
            return (Products64(block + Codes, high, codes, twice, 0) + Products64(block + Codes + 32, high, codes + 64, twice, 2))
                + (Products64(block + Codes + 64, high, codes + 128, twice, 4) + Products64(block + Codes + 96, high, codes + 192, twice, 6));
        }
    }

    // Two blocks of 32, with scales j and j + 1; bit j of a byte of high is the fifth bit of a code of block j.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Products64(byte* packedCodes, Vector256<byte> high, sbyte* codes, Vector256<short> scales, int j)
    {
        // Shifts of 16-bit lanes: what they bring in from the neighbour is masked.
        var sixteen = Vector256.Create((byte)0x10);
        var packed = Vector256.Load(packedCodes);
        var words = high.AsUInt16();
        var first = (packed & Vector256.Create((byte)0x0F)) | ((j < 4 ? words << (4 - j) : words >>> (j - 4)).AsByte() & sixteen);
        var second = (packed >>> 4) | ((j < 3 ? words << (3 - j) : words >>> (j - 3)).AsByte() & sixteen);
        return IntegerLanes.Products(IntegerLanes.Pairs(first, Vector256.Load(codes)), IntegerLanes.Repeat(scales, j))
            + IntegerLanes.Products(IntegerLanes.Pairs(second, Vector256.Load(codes + 32)), IntegerLanes.Repeat(scales, j + 1));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) =>
        IntegerLanes.Products(SixBitPairs.Minima(block + Pairs), Vector128.Load(sums32));

    // Bit j of each byte of the lower half and bit j + 2 of the upper half, moved to bit 4.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<byte> FifthBits(Vector512<byte> both, int j)
    {
        const long One = 0x0101_0101_0101_0101, Four = 4 * One;
        var bits = (Vector512.Create(One, One, One, One, Four, Four, Four, Four) << j).AsByte();
        return Vector512.Equals(both & bits, bits) & Vector512.Create((byte)0x10);
    }

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q5_K>.Rows => new SixBitPairRows(BlockBytes, Codes, HighBits);

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima)
    {
        SixBitPairs.Scales(block + Pairs).Store(scales);
        SixBitPairs.Minima(block + Pairs).Store(minima);
        var high = Vector256.Load(block + HighBits);
        for (var j = 0; j < 8; j += 2)
        {
            var packed = Vector256.Load(block + Codes + (16 * j));
            ((packed & Vector256.Create((byte)0x0F)) | (((high >>> j) & Vector256<byte>.One) << 4)).Store(codes + (32 * j));
            ((packed >>> 4) | (((high >>> (j + 1)) & Vector256<byte>.One) << 4)).Store(codes + (32 * j) + 32);
        }
    }

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q5_K>.Panel => new(256, 8, 0, HasMinimum: true, MaxCode: 31);

    /// <inheritdoc/>
    static int IIntegerFormat<Q5_K>.InterleavedThreshold => 2;

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q5_K>.Layout => SixBitPairs.With(CodeLayout.OfRuns(Codes, 4, HighBits));
}
