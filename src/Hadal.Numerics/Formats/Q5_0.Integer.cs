using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q5_0 : IIntegerFormat<Q5_0>
{
    /// <inheritdoc/>
    public static int ProductZero => Zero;

    /// <inheritdoc/>
    public static bool HasMinimum => false;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < 16; i++)
        {
            codes[i] = (sbyte)(((block[Codes + i] & 0x0F) | ((block[HighBits + (i / 8)] >> (i % 8)) & 1) << 4) - Zero);
            codes[i + 16] = (sbyte)(((block[Codes + i] >> 4) | ((block[HighBits + 2 + (i / 8)] >> (i % 8)) & 1) << 4) - Zero);
        }

        scales.Fill(1);
        minima.Clear();
    }

    /// <inheritdoc/>
    public static ushort ScaleBits(byte* block) => *(ushort*)block;

    /// <inheritdoc/>
    public static ushort MinimumBits(byte* block) => 0;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32) =>
        IntegerLanes.Products(IntegerLanes.Pairs(IntegerLanes.Nibbles(block + Codes) | IntegerLanes.FifthBits(block + HighBits), Vector256.Load(codes)), Vector256<short>.One);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => default;

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q5_0>.Rows => new NibbleRows(BlockBytes, Codes, Zero, fifthBits: HighBits);

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima) =>
        (IntegerLanes.Nibbles(block + Codes) | IntegerLanes.FifthBits(block + HighBits)).Store(codes);

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q5_0>.Panel => new(32, 0, Zero, HasMinimum: false, MaxCode: 31);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q5_0>.Layout => CodeLayout.OfNibbles(Codes, HighBits);
}
