using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q8_0 : IIntegerFormat<Q8_0>
{
    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => false;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < 32; i++)
            codes[i] = (sbyte)block[2 + i];
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
        IntegerLanes.Products(IntegerLanes.SignedPairs(Vector256.Load((sbyte*)block + 2), Vector256.Load(codes)), Vector256<short>.One);

    /// <inheritdoc/>
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => default;

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q8_0>.Rows => new RowCode();

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima) =>
        Vector256.Load(block + 2).Store(codes);

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q8_0>.Panel => new(32, 0, 128, HasMinimum: false, MaxCode: 255);

    /// <inheritdoc/>
    static int IIntegerFormat<Q8_0>.InterleavedThreshold => 2;

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q8_0>.Layout => CodeLayout.OfBytes(Codes);
}
