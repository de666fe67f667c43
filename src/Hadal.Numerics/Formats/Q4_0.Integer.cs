using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q4_0 : IIntegerFormat<Q4_0>
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
            codes[i] = (sbyte)(((block[Codes + i] & 0x0F)) - Zero);
            codes[i + 16] = (sbyte)(((block[Codes + i] >> 4)) - Zero);
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
        IntegerLanes.Products(IntegerLanes.Pairs(IntegerLanes.Nibbles(block + Codes), Vector256.Load(codes)), Vector256<short>.One);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => default;

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q4_0>.Rows => new NibbleRows(BlockBytes, Codes, Zero);

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima) =>
        IntegerLanes.Nibbles(block + Codes).Store(codes);

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q4_0>.Panel => new(32, 0, Zero, HasMinimum: false, MaxCode: 15);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q4_0>.Layout => CodeLayout.OfNibbles(Codes);
}
