using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q4_1 : IIntegerFormat<Q4_1>
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
            codes[i] = (sbyte)(((block[Codes + i] & 0x0F)));
            codes[i + 16] = (sbyte)(((block[Codes + i] >> 4)));
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
        IntegerLanes.Products(IntegerLanes.Pairs(IntegerLanes.Nibbles(block + Codes), Vector256.Load(codes)), Vector256<short>.One);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => Vector128.CreateScalar((int)sums32[0]);

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q4_1>.Rows => new NibbleRows(BlockBytes, Codes, 0, minimum: 2);

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima) =>
        IntegerLanes.Nibbles(block + Codes).Store(codes);

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q4_1>.Panel => new(32, 0, 0, HasMinimum: true, MaxCode: 15);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q4_1>.Layout => CodeLayout.OfNibbles(Codes);
}
