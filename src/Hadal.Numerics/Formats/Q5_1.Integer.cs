using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q5_1 : IIntegerFormat<Q5_1>
{
    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => true;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < 16; i++)
        {
            codes[i] = (sbyte)(((block[Codes + i] & 0x0F) | ((block[HighBits + (i / 8)] >> (i % 8)) & 1) << 4));
            codes[i + 16] = (sbyte)(((block[Codes + i] >> 4) | ((block[HighBits + 2 + (i / 8)] >> (i % 8)) & 1) << 4));
        }

        scales.Fill(1);
        minima.Fill(1);
    }

    /// <inheritdoc/>
    public static ushort ScaleBits(byte* block) => *(ushort*)block;

    /// <inheritdoc/>
    // The format adds its minimum.
    public static ushort MinimumBits(byte* block) => (ushort)(*(ushort*)(block + 2) ^ 0x8000);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32) =>
        IntegerLanes.Products(IntegerLanes.Pairs(IntegerLanes.Nibbles(block + Codes) | IntegerLanes.FifthBits(block + HighBits), Vector256.Load(codes)), Vector256<short>.One);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => Vector128.CreateScalar((int)sums32[0]);

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q5_1>.Rows => new NibbleRows(BlockBytes, Codes, 0, minimum: 2, fifthBits: HighBits);

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima) =>
        (IntegerLanes.Nibbles(block + Codes) | IntegerLanes.FifthBits(block + HighBits)).Store(codes);

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q5_1>.Panel => new(32, 0, 0, HasMinimum: true, MaxCode: 31);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q5_1>.Layout => CodeLayout.OfNibbles(Codes, HighBits);
}
