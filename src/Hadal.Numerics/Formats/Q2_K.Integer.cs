using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q2_K : IIntegerFormat<Q2_K>
{
    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => true;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < BlockLength; i++)
            codes[i] = (sbyte)((block[Codes + (32 * (i / 128)) + (i % 32)] >> (2 * (i / 32 % 4))) & 3);
        for (var i = 0; i < scales.Length; i++)
            (scales[i], minima[i]) = ((short)(block[i] & 0x0F), (short)(block[i] >> 4));
    }

    /// <inheritdoc/>
    public static ushort ScaleBits(byte* block) => *(ushort*)(block + SuperScale);

    /// <inheritdoc/>
    public static ushort MinimumBits(byte* block) => *(ushort*)(block + SuperMinimum);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32)
    {
        var sum = Vector256<int>.Zero;
        for (var n = 0; n < 8; n++)
        {
            var u = (Vector256.Load(block + Codes + (32 * (n / 4))) >>> (2 * (n % 4))) & Vector256.Create((byte)3);
            var scales = Vector256.Create(Vector128.Create((short)(block[2 * n] & 0x0F)), Vector128.Create((short)(block[(2 * n) + 1] & 0x0F)));
            sum += IntegerLanes.Products(IntegerLanes.Pairs(u, Vector256.Load(codes + (32 * n))), scales);
        }

        return sum;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32)
    {
        var (low, high) = Vector128.Widen(Vector128.Load(block) >>> 4);
        return IntegerLanes.Products(low.AsInt16(), Vector128.Load(sums16)) + IntegerLanes.Products(high.AsInt16(), Vector128.Load(sums16 + 8));
    }

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q2_K>.Rows => new RowCode();

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima)
    {
        var (lower, upper) = Vector128.Widen(Vector128.Load(block) & Vector128.Create((byte)0x0F));
        lower.Store((ushort*)scales);
        upper.Store((ushort*)scales + 8);
        (lower, upper) = Vector128.Widen(Vector128.Load(block) >>> 4);
        lower.Store((ushort*)minima);
        upper.Store((ushort*)minima + 8);
        for (var n = 0; n < 8; n++)
            ((Vector256.Load(block + Codes + (32 * (n / 4))) >>> (2 * (n % 4))) & Vector256.Create((byte)3)).Store(codes + (32 * n));
    }

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q2_K>.Panel => new(256, 16, 0, HasMinimum: true, MaxCode: 3);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q2_K>.Layout => CodeLayout.OfRuns(Codes, 2) with
    {
        ScaleVectors = 4,
        Scale = static four => [new(four, 0, 4)],
        Minimum = static four => [new(four, 4, 4)],
    };
}
