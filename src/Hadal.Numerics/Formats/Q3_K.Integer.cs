using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct Q3_K : IIntegerFormat<Q3_K>
{
    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => false;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < BlockLength; i++)
        {
            var lower = (block[Codes + (32 * (i / 128)) + (i % 32)] >> (2 * (i / 32 % 4))) & 3;
            var upper = (block[i % 32] >> (i / 32)) & 1;
            codes[i] = (sbyte)((lower | (upper << 2)) - Zero);
        }

        for (var i = 0; i < scales.Length; i++)
            scales[i] = (short)BlockScale(block, i);
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
        // The zero point of 4 comes off at the end.
        var packed = BlockScales(block);
        var (low, high) = Vector128.Widen(packed);
        var zero = (IntegerLanes.Products(low, Vector128.Load(sums16)) + IntegerLanes.Products(high, Vector128.Load(sums16 + 8))) * Zero;
        var upper = Vector256.Load(block);
        var sum = Vector256<int>.Zero;
        for (var n = 0; n < 8; n++)
        {
            var lower = (Vector256.Load(block + Codes + (32 * (n / 4))) >>> (2 * (n % 4))) & Vector256.Create((byte)3);
            var u = lower | (((upper >>> n) & Vector256<byte>.One) << 2);
            var scales = Vector256.Create(Vector128.Create((short)packed.GetElement(2 * n)), Vector128.Create((short)packed.GetElement((2 * n) + 1)));
            sum += IntegerLanes.Products(IntegerLanes.Pairs(u, Vector256.Load(codes + (32 * n))), scales);
        }

        return sum - zero.ToVector256();
    }

    /// <inheritdoc/>
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => default;

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<Q3_K>.Rows => new RowCode();

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima)
    {
        var (lower, upper) = Vector128.Widen(BlockScales(block));
        lower.Store(scales);
        upper.Store(scales + 8);
        var bits = Vector256.Load(block);
        for (var n = 0; n < 8; n++)
        {
            var two = (Vector256.Load(block + Codes + (32 * (n / 4))) >>> (2 * (n % 4))) & Vector256.Create((byte)3);
            (two | (((bits >>> n) & Vector256<byte>.One) << 2)).Store(codes + (32 * n));
        }
    }

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<Q3_K>.Panel => new(256, 16, Zero, HasMinimum: false, MaxCode: 7);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<Q3_K>.Layout => CodeLayout.OfRuns(Codes, 2, upperAt: 0) with { ScalesAt = Scales - 2 };

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void UnpackScaleColumns(Vector256<uint>* bytes, Vector256<uint>* scales)
    {
        // The sixteen bytes begin two too early, so that they end with the block.
        var (low, high, bits) = ((bytes[0] >>> 16) | (bytes[1] << 16), (bytes[1] >>> 16) | (bytes[2] << 16), (bytes[2] >>> 16) | (bytes[3] << 16));
        var (nibble, two, zero) = (Vector256.Create(0x0F0F_0F0Fu), Vector256.Create(0x3030_3030u), Vector256.Create((byte)32));
        scales[0] = (((low & nibble) | ((bits << 4) & two)).AsByte() - zero).AsUInt32();
        scales[1] = (((high & nibble) | ((bits << 2) & two)).AsByte() - zero).AsUInt32();
        scales[2] = ((((low >>> 4) & nibble) | (bits & two)).AsByte() - zero).AsUInt32();
        scales[3] = ((((high >>> 4) & nibble) | ((bits >>> 2) & two)).AsByte() - zero).AsUInt32();
    }

    // All sixteen, 32 taken off.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<sbyte> BlockScales(byte* block)
    {
        var nibbles = *(ulong*)(block + Scales);
        var bits = *(uint*)(block + Scales + 8);
        var low = Vector128.Create(nibbles, nibbles >> 4).AsByte() & Vector128.Create((byte)0x0F);
        var high = (Vector128.Create(bits, bits >> 2, bits >> 4, bits >> 6) & Vector128.Create(0x0303_0303u)) << 4;
        return (low | high.AsByte()).AsSByte() - Vector128.Create((sbyte)32);
    }
}
