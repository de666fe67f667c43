using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct IQ4_XS : IIntegerFormat<IQ4_XS>
{
    // Brings the table's values into the range of unsigned bytes.
    private const int Zero = 128;
    private const int SubBlocks = 8;

    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => false;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < BlockLength; i++)
        {
            var pair = block[Codes + (16 * (i / 32)) + (i % 16)];
            codes[i] = IQ4_NL.Table[i % 32 < 16 ? pair & 0x0F : pair >> 4];
        }

        for (var i = 0; i < scales.Length; i++)
            scales[i] = (short)IntegerScale(block, i / 2);
        minima.Clear();
    }

    /// <inheritdoc/>
    public static ushort ScaleBits(byte* block) => *(ushort*)block;

    /// <inheritdoc/>
    public static ushort MinimumBits(byte* block) => 0;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32)
    {
        var sum = Vector256<int>.Zero;
        for (var j = 0; j < SubBlocks; j++)
        {
            var pairs = IntegerLanes.SignedPairs(IQ4_NL.LookUp(IntegerLanes.Nibbles(block + Codes + (16 * j))), Vector256.Load(codes + (32 * j)));
            sum += IntegerLanes.Products(pairs, Vector256.Create((short)IntegerScale(new ReadOnlySpan<byte>(block, Codes), j)));
        }

        return sum;
    }

    /// <inheritdoc/>
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => default;

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<IQ4_XS>.Rows => new RowCode();

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima)
    {
        for (var j = 0; j < SubBlocks; j++)
        {
            IQ4_NL.LookUp(IntegerLanes.Nibbles(block + Codes + (16 * j))).Store((sbyte*)codes + (32 * j));
            scales[j] = (short)IntegerScale(new ReadOnlySpan<byte>(block, Codes), j);
        }
    }

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<IQ4_XS>.Panel => new(256, SubBlocks, Zero, HasMinimum: false, MaxCode: 255);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<IQ4_XS>.Layout => new(
        64, [.. Enumerable.Range(0, SubBlocks).Select(static j => Codes + (16 * j))], static step => [new((step / 8 * 4) + (step % 4), step / 4 % 2 * 4, 4)])
    {
        Table = IQ4_NL.Table.ToArray(),
    };

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void UnpackScaleColumns(Vector256<uint>* bytes, Vector256<uint>* scales)
    {
        // Two nibbles of bytes 4 to 7, lower first, make two scales; their upper bits are pairs of bits, the lowest first.
        var (upper, even, odd) = (bytes[0] >>> 16, bytes[1] & Vector256.Create(0x0F0F_0F0Fu), (bytes[1] >>> 4) & Vector256.Create(0x0F0F_0F0Fu));
        for (var half = 0; half < 2; half++)
        {
            var nibbles = (even & Vector256.Create(0xFFu)) | ((odd & Vector256.Create(0xFFu)) << 8) | ((even & Vector256.Create(0xFF00u)) << 8) | ((odd & Vector256.Create(0xFF00u)) << 16);
            var bits = ((upper << 4) & Vector256.Create(0x30u)) | ((upper << 10) & Vector256.Create(0x3000u)) | ((upper << 16) & Vector256.Create(0x30_0000u)) | ((upper << 22) & Vector256.Create(0x3000_0000u));
            scales[half] = ((nibbles | bits).AsByte() - Vector256.Create((byte)32)).AsUInt32();
            (upper, even, odd) = (upper >>> 8, even >>> 16, odd >>> 16);
        }
    }
}
