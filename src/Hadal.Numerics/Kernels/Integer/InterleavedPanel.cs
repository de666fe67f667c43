using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// How eight weight rows lie side by side for <see cref="MachineCode.InterleavedTile"/>: block after block, so that the rows are one stream and a vector holds four
/// codes of each. Codes are as narrow as in the format: nibbles, with upper bits beside them where there are any, or bytes.
/// </summary>
/// <remarks>
/// A super-block: d binary16 [8], then with minima dmin binary16 [8] and m int8 [S/2][8][2]; s int8 [S/2][8][2]; codes. A block of 32: d binary16 [8], with a
/// minimum m binary16 [8]; codes. Codes come in units: 8 codes of each row in 32 bytes, the first four as lower nibbles and the next four as upper ones;
/// behind each 32 codes of five bits, or 16 codes of six, 32 bytes of what is above the nibbles, that of the first four codes lowest.
/// </remarks>
internal readonly record struct InterleavedPanel
{
    /// <summary>Weight rows of a panel.</summary>
    public const int Rows = 8;

    /// <summary>Bytes of four codes, or of one number, of all rows.</summary>
    public const int Vector = 32;

    /// <summary>Bytes of two integer scales or minima of all rows.</summary>
    public const int PairBytes = 16;

    private const int HalfBytes = 16;

    public InterleavedPanel(IntegerPanel panel)
    {
        BlockLength = panel.BlockLength;
        Scales = panel.Scales;
        SumLength = panel.SumLength;
        HasMinimum = panel.HasMinimum;
        IsSigned = panel.IsSigned;
        ZeroPoint = IsSigned ? 0 : panel.ZeroPoint;
        UpperBits = IsSigned || panel.MaxCode <= 15 ? 0 : panel.MaxCode <= 31 ? 1 : 2;
        PartSteps = SumLength / 4;
        while (!IsSigned && PartSteps * 2 * panel.MaxCode * IntegerActivations.MaxCode > short.MaxValue)
            PartSteps /= 2;
        Minima = HalfBytes * (HasMinimum ? 2 : 1);
        ScalePairs = Minima + (HasMinimum ? Scales / 2 * PairBytes : 0);
        Codes = ScalePairs + (Scales / 2 * PairBytes);
        Bytes = Codes + CodeBytes(BlockLength);
    }

    /// <summary>A.</summary>
    public int BlockLength { get; }

    /// <summary>S: integer scales of a super-block, 0 for blocks of 32.</summary>
    public int Scales { get; }

    /// <summary>Values that share an integer scale, or all of a block of 32.</summary>
    public int SumLength { get; }

    public bool HasMinimum { get; }

    /// <summary>Whether codes are signed bytes.</summary>
    public bool IsSigned { get; }

    /// <summary>What is taken off every code.</summary>
    public int ZeroPoint { get; }

    /// <summary>Bits of a code above its nibble.</summary>
    public int UpperBits { get; }

    /// <summary>Steps of four codes whose sums of products of pairs are sure to fit 16 bits.</summary>
    public int PartSteps { get; }

    /// <summary>Where the integer minima begin; dmin lies before them.</summary>
    public int Minima { get; }

    /// <summary>Where the integer scales begin.</summary>
    public int ScalePairs { get; }

    /// <summary>Where the codes begin.</summary>
    public int Codes { get; }

    /// <summary>Bytes of a block of all rows.</summary>
    public int Bytes { get; }

    /// <summary>Codes of a row that share the bytes of their upper bits.</summary>
    public int UnitCodes => UpperBits == 2 ? 16 : 32;

    /// <summary>Bytes of some whole units of all rows.</summary>
    public int CodeBytes(int codes) => IsSigned ? codes * Rows : (codes * Rows / 2) + (UpperBits == 0 ? 0 : codes / UnitCodes * Vector);

    /// <summary>Lays out up to eight rows; rows that are not there become zero.</summary>
    /// <param name="rows">The first row.</param>
    /// <param name="rowBytes">Bytes from one row to the next.</param>
    /// <param name="count">Rows.</param>
    /// <param name="blocks">Blocks of each.</param>
    /// <param name="target">Receives <paramref name="blocks"/> times <see cref="Bytes"/> bytes.</param>
    public unsafe void Pack<TFormat>(byte* rows, long rowBytes, int count, int blocks, byte* target)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        const int MaxBlock = 256, MaxScales = 16;
        var codes = stackalloc byte[Rows * MaxBlock];
        var scales = stackalloc short[Rows * MaxScales];
        var minima = stackalloc short[Rows * MaxScales];
        if (count < Rows)
        {
            new Span<byte>(codes, Rows * MaxBlock).Clear();
            new Span<byte>(scales, 2 * Rows * MaxScales).Clear();
            new Span<byte>(minima, 2 * Rows * MaxScales).Clear();
        }

        for (var b = 0; b < blocks; b++, rows += TFormat.BlockBytes, target += Bytes)
        {
            for (var r = 0; r < count; r++)
            {
                var block = rows + (r * rowBytes);
                TFormat.UnpackForTiles(block, codes + (r * BlockLength), scales + (r * MaxScales), minima + (r * MaxScales));
                ((ushort*)target)[r] = TFormat.ScaleBits(block);
                if (HasMinimum)
                    ((ushort*)target)[Rows + r] = TFormat.MinimumBits(block);
            }

            for (var r = count; r < Rows; r++)
            {
                ((ushort*)target)[r] = 0;
                if (HasMinimum)
                    ((ushort*)target)[Rows + r] = 0;
            }

            if (Scales > 0)
                PackPairs(scales, MaxScales, target + ScalePairs);
            if (Scales > 0 && HasMinimum)
                PackPairs(minima, MaxScales, target + Minima);
            PackCodes(codes, target + Codes);
        }
    }

    private unsafe void PackPairs(short* numbers, int stride, byte* target)
    {
        for (var r = 0; r < Rows; r++)
        {
            for (var i = 0; i < Scales; i++)
                target[(i / 2 * PairBytes) + (r * 2) + (i % 2)] = (byte)numbers[(r * stride) + i];
        }
    }

    private unsafe void PackCodes(byte* codes, byte* target)
    {
        var columns = stackalloc Vector256<byte>[8];
        var nibble = Vector256.Create((byte)0x0F);
        for (var k = 0; k < BlockLength; k += 32, codes += 32)
        {
            Columns(codes, BlockLength, columns);
            var upper = Vector256<byte>.Zero;
            for (var c = 0; c < 8; c++)
            {
                if (IsSigned)
                {
                    columns[c].Store(target);
                    target += Vector;
                    continue;
                }

                if (c % 2 == 1)
                {
                    ((columns[c - 1] & nibble) | ((columns[c] & nibble).AsUInt16() << 4).AsByte()).Store(target);
                    target += Vector;
                }

                if (UpperBits == 0)
                    continue;
                var perUnit = UnitCodes / 4;
                upper |= ((columns[c] >>> 4).AsUInt16() << (c % perUnit * UpperBits)).AsByte();
                if (c % perUnit < perUnit - 1)
                    continue;
                upper.Store(target);
                target += Vector;
                upper = default;
            }
        }
    }

    // Eight rows of thirty-two bytes to eight vectors with four bytes of each row.
    private static unsafe void Columns(byte* rows, int stride, Vector256<byte>* columns)
    {
        if (!Avx2.IsSupported)
        {
            for (var c = 0; c < 8; c++)
            {
                for (var r = 0; r < Rows; r++)
                    ((int*)(columns + c))[r] = ((int*)(rows + (r * stride)))[c];
            }

            return;
        }

        Fours(rows, stride, out var a0, out var a1, out var a2, out var a3);
        Fours(rows + (4 * stride), stride, out var b0, out var b1, out var b2, out var b3);
        columns[0] = Avx2.Permute2x128(a0, b0, 0x20).AsByte();
        columns[1] = Avx2.Permute2x128(a1, b1, 0x20).AsByte();
        columns[2] = Avx2.Permute2x128(a2, b2, 0x20).AsByte();
        columns[3] = Avx2.Permute2x128(a3, b3, 0x20).AsByte();
        columns[4] = Avx2.Permute2x128(a0, b0, 0x31).AsByte();
        columns[5] = Avx2.Permute2x128(a1, b1, 0x31).AsByte();
        columns[6] = Avx2.Permute2x128(a2, b2, 0x31).AsByte();
        columns[7] = Avx2.Permute2x128(a3, b3, 0x31).AsByte();
    }

    // Column i of four rows in the lower, column i + 4 in the upper half of vector i.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void Fours(byte* rows, int stride, out Vector256<long> c0, out Vector256<long> c1, out Vector256<long> c2, out Vector256<long> c3)
    {
        var (r0, r1) = (Vector256.Load((int*)rows), Vector256.Load((int*)(rows + stride)));
        var (r2, r3) = (Vector256.Load((int*)(rows + (2 * stride))), Vector256.Load((int*)(rows + (3 * stride))));
        var low01 = Avx2.UnpackLow(r0, r1).AsInt64();
        var high01 = Avx2.UnpackHigh(r0, r1).AsInt64();
        var low23 = Avx2.UnpackLow(r2, r3).AsInt64();
        var high23 = Avx2.UnpackHigh(r2, r3).AsInt64();
        c0 = Avx2.UnpackLow(low01, low23);
        c1 = Avx2.UnpackHigh(low01, low23);
        c2 = Avx2.UnpackLow(high01, high23);
        c3 = Avx2.UnpackHigh(high01, high23);
    }
}
