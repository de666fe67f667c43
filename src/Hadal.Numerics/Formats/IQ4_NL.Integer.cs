using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.Formats;

/// <content>Products with integer activations.</content>
public readonly unsafe partial struct IQ4_NL : IIntegerFormat<IQ4_NL>
{
    /// <inheritdoc/>
    public static int ProductZero => 0;

    /// <inheritdoc/>
    public static bool HasMinimum => false;

    /// <inheritdoc/>
    public static void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima)
    {
        for (var i = 0; i < 16; i++)
        {
            codes[i] = Table[block[Codes + i] & 0x0F];
            codes[i + 16] = Table[block[Codes + i] >> 4];
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
        IntegerLanes.Products(IntegerLanes.SignedPairs(LookUp(IntegerLanes.Nibbles(block + Codes)), Vector256.Load(codes)), Vector256<short>.One);

    /// <inheritdoc/>
    public static Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32) => default;

    /// <summary>The table's values for thirty-two codes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<sbyte> LookUp(Vector256<byte> codes)
    {
        var table = Vector128.Create(Table);
        return Avx2.IsSupported
            ? Avx2.Shuffle(Vector256.Create(table, table), codes.AsSByte())
            : Vector256.Create(Vector128.Shuffle(table, codes.GetLower().AsSByte()), Vector128.Shuffle(table, codes.GetUpper().AsSByte()));
    }

    /// <inheritdoc/>
    static MachineCode.RowAssembly IIntegerFormat<IQ4_NL>.Rows => new NibbleRows(BlockBytes, Codes, 128, table: [.. Table.ToArray().Select(static v => (byte)(v + 128))]);

    /// <inheritdoc/>
    public static void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima) =>
        LookUp(IntegerLanes.Nibbles(block + Codes)).Store((sbyte*)codes);

    /// <inheritdoc/>
    static IntegerPanel IIntegerFormat<IQ4_NL>.Panel => new(32, 0, 128, HasMinimum: false, MaxCode: 255);

    /// <inheritdoc/>
    static CodeLayout IIntegerFormat<IQ4_NL>.Layout => CodeLayout.OfNibbles(Codes) with { Table = Table.ToArray() };
}
