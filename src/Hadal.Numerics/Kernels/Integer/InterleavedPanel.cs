using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// How eight weight rows, or sixteen, lie side by side for <see cref="MachineCode.InterleavedTile"/>: block after block, so that the rows are one stream. Codes stay packed as in the
/// format (<see cref="CodeLayout"/>), but a vector holds four bytes of each row: laying them out so takes few instructions, at load or on the way to a product.
/// </summary>
/// <remarks>
/// A super-block: d binary16 [R]; then s int8 [S/2][R][2], or, with minima, dmin binary16 [R] and the packed scales and minima as vectors
/// (<see cref="CodeLayout.ScaleVectors"/>); codes. A block of 32: d binary16 [R], with a minimum m binary16 [R]; codes. So it is as large as the blocks it is made
/// of, but for scales that are unpacked. Codes are vectors, for each round those of <see cref="CodeLayout.Pieces"/> and then that of the fifth bits;
/// a copy made at load has them as <see cref="CodeLayout.InCopy"/> says.
/// </remarks>
internal sealed unsafe class InterleavedPanel
{
    private const int PartRows = RowColumns.Rows;
    private const int PartVector = 32;
    private const int PartPairBytes = 16;

    // Eight rows, or sixteen where vectors of 512 bits are at work.
    private static readonly int Parts = KernelVariant.Vnni ? 2 : 1;

    /// <summary>Weight rows of a panel.</summary>
    public static readonly int Rows = Parts * PartRows;

    /// <summary>Bytes of four codes, or of one number, of all rows.</summary>
    public static readonly int Vector = Parts * PartVector;

    /// <summary>Bytes of two integer scales of all rows, where they lie a byte each.</summary>
    public static readonly int PairBytes = Parts * PartPairBytes;

    private readonly BitField[][] fields;

    private InterleavedPanel(IntegerPanel panel, CodeLayout layout)
    {
        Layout = layout;
        fields = [.. Enumerable.Range(0, layout.RoundCodes / 4).Select(layout.Code)];
        Copied = Expanded = this;
        BlockLength = panel.BlockLength;
        Scales = panel.Scales;
        SumLength = panel.SumLength;
        HasMinimum = panel.HasMinimum;
        IsSigned = panel.IsSigned;
        ZeroPoint = IsSigned ? 0 : panel.ZeroPoint;
        PartSteps = SumLength / 4;
        while (!IsSigned && PartSteps * 2 * panel.MaxCode * IntegerActivations.MaxCode > short.MaxValue)
            PartSteps /= 2;
        ScalesAt = sizeof(ushort) * Rows * (HasMinimum ? 2 : 1);
        Codes = ScalesAt + (HasMinimum ? layout.ScaleVectors * Vector : Scales / 2 * PairBytes);
        RoundVectors = layout.Pieces.Length == 0 ? layout.RoundCodes / 4 : (layout.Pieces.Length * RowColumns.Columns / Rounds) + (layout.FifthBitsAt is null ? 0 : 1);
        Bytes = Codes + (Rounds * RoundVectors * Vector);
    }

    /// <summary>Where codes lie.</summary>
    public CodeLayout Layout { get; }

    /// <summary>The same numbers with codes where a copy made at load keeps them.</summary>
    public InterleavedPanel Copied { get; private init; }

    /// <summary>The same numbers with every code a byte of its own, for many tokens: codes are unpacked once for all of them.</summary>
    public InterleavedPanel Expanded { get; private init; }

    /// <summary>Whether the bits of codes lie apart, so that <see cref="Copied"/> differs and <see cref="Expanded"/> pays; docs/PERFORMANCE.md.</summary>
    public bool Expands => Layout.Code(0).Length > 1;

    /// <summary>A.</summary>
    public int BlockLength { get; }

    /// <summary>S: integer scales of a super-block, 0 for blocks of 32.</summary>
    public int Scales { get; }

    /// <summary>Values that share an integer scale, or all of a block of 32.</summary>
    public int SumLength { get; }

    public bool HasMinimum { get; }

    /// <summary>Whether codes are signed bytes, or stand for such.</summary>
    public bool IsSigned { get; }

    /// <summary>What is taken off every code.</summary>
    public int ZeroPoint { get; }

    /// <summary>Steps of four codes whose sums of products of pairs are sure to fit 16 bits.</summary>
    public int PartSteps { get; }

    /// <summary>Rounds of a block.</summary>
    public int Rounds => BlockLength / Layout.RoundCodes;

    /// <summary>Vectors of codes of a round.</summary>
    public int RoundVectors { get; }

    /// <summary>Where the integer scales begin; dmin lies before them.</summary>
    public int ScalesAt { get; }

    /// <summary>Where the codes begin.</summary>
    public int Codes { get; }

    /// <summary>Bytes of a block of all rows.</summary>
    public int Bytes { get; }

    /// <summary>The panel of a format.</summary>
    public static InterleavedPanel Of<TFormat>()
        where TFormat : struct, IIntegerFormat<TFormat> => Cache<TFormat>.Panel;

    /// <summary>Lays out up to <see cref="Rows"/> rows; in place of rows that are not there the last one is repeated.</summary>
    /// <param name="rows">The first row.</param>
    /// <param name="rowBytes">Bytes from one row to the next.</param>
    /// <param name="count">Rows.</param>
    /// <param name="blocks">Blocks of each.</param>
    /// <param name="target">Receives <paramref name="blocks"/> times <see cref="Bytes"/> bytes.</param>
    public static void Pack<TFormat>(byte* rows, long rowBytes, int count, int blocks, byte* target)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        if (count == Rows)
        {
            for (var part = 0; part < Parts; part++)
                Pack<TFormat>(rows + (part * PartRows * rowBytes), (nint)rowBytes, blocks, target, part);
            return;
        }

        var block = stackalloc byte[Rows * TFormat.BlockBytes];
        for (var b = 0; b < blocks; b++, rows += TFormat.BlockBytes, target += Of<TFormat>().Bytes)
        {
            for (var r = 0; r < Rows; r++)
                new Span<byte>(rows + (Math.Min(r, count - 1) * rowBytes), TFormat.BlockBytes).CopyTo(new Span<byte>(block + (r * TFormat.BlockBytes), TFormat.BlockBytes));
            for (var part = 0; part < Parts; part++)
                Pack<TFormat>(block + (part * PartRows * TFormat.BlockBytes), TFormat.BlockBytes, 1, target, part);
        }
    }

    /// <summary>Moves the codes of blocks that were laid out to where <see cref="Copied"/> has them.</summary>
    /// <param name="blocks">The first block of all rows.</param>
    /// <param name="count">How many.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void MoveCodes(byte* blocks, int count)
    {
        if (!Expands)
            return;
        var moved = stackalloc Vector256<byte>[RoundVectors];
        for (var i = 0; i < count * Rounds * Parts; i++)
        {
            var (round, part) = Math.DivRem(i, Parts);
            var vectors = (Vector256<byte>*)(blocks + ((long)(round / Rounds) * Bytes) + Codes) + (round % Rounds * RoundVectors * Parts) + part;
            new Span<Vector256<byte>>(moved, RoundVectors).Clear();
            for (var step = 0; step < fields.Length; step++)
            {
                var (code, at) = (Vector256<byte>.Zero, 0);
                foreach (var field in fields[step])
                {
                    code |= (Vector256.Load((byte*)(vectors + (field.Vector * Parts))) >>> field.Shift & Vector256.Create((byte)((1 << field.Bits) - 1))) << at;
                    at += field.Bits;
                }

                at = 0;
                foreach (var field in Copied.fields[step])
                {
                    moved[field.Vector] |= (code >>> at & Vector256.Create((byte)((1 << field.Bits) - 1))) << field.Shift;
                    at += field.Bits;
                }
            }

            for (var v = 0; v < RoundVectors; v++)
                vectors[v * Parts] = moved[v];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Pack<TFormat>(byte* rows, nint stride, int blocks, byte* target, int part)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var panel = Of<TFormat>();
        var columns = stackalloc Vector256<uint>[2 * RowColumns.Columns];
        var (bytes, codes, scalesAt, vectors, vector) = (panel.Bytes, panel.Codes, panel.Layout.ScalesAt, panel.Layout.ScaleVectors, Vector);
        var numbers = target + (part * PartRows * sizeof(ushort));
        target += part * PartVector;
        var fifthBits = panel.Layout.FifthBitsAt;
        fixed (int* pieces = panel.Layout.Pieces)
        {
            var pieceCount = panel.Layout.Pieces.Length;
            for (var end = rows + ((nint)blocks * TFormat.BlockBytes); rows < end; rows += TFormat.BlockBytes, target += bytes, numbers += bytes)
            {
                Vector128.Create(
                    TFormat.ScaleBits(rows), TFormat.ScaleBits(rows + stride), TFormat.ScaleBits(rows + (2 * stride)), TFormat.ScaleBits(rows + (3 * stride)),
                    TFormat.ScaleBits(rows + (4 * stride)), TFormat.ScaleBits(rows + (5 * stride)), TFormat.ScaleBits(rows + (6 * stride)), TFormat.ScaleBits(rows + (7 * stride))).Store((ushort*)numbers);
                if (TFormat.HasMinimum)
                {
                    Vector128.Create(
                        TFormat.MinimumBits(rows), TFormat.MinimumBits(rows + stride), TFormat.MinimumBits(rows + (2 * stride)), TFormat.MinimumBits(rows + (3 * stride)),
                        TFormat.MinimumBits(rows + (4 * stride)), TFormat.MinimumBits(rows + (5 * stride)), TFormat.MinimumBits(rows + (6 * stride)), TFormat.MinimumBits(rows + (7 * stride))).Store((ushort*)numbers + Rows);
                }

                if (panel.Scales > 0)
                {
                    RowColumns.Transpose(rows + scalesAt, stride, (byte*)columns, PartVector);
                    for (var i = 0; i < vectors; i++)
                        columns[RowColumns.Columns - vectors + i].Store((uint*)(target + panel.ScalesAt + (i * vector)));
                    if (vectors == 0)
                        panel.StoreScales<TFormat>(columns, target + panel.ScalesAt - (part * PartPairBytes));
                }

                var column = target + codes;
                for (var i = 0; i < pieceCount; i++, column += RowColumns.Columns * vector)
                    RowColumns.Transpose(rows + pieces[i], stride, column, vector);
                if (fifthBits is { } at)
                    CodeLayout.SpreadFifthBits(DoubleWords(rows + at, stride)).Store((uint*)column);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void StoreScales<TFormat>(Vector256<uint>* columns, byte* target)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var scales = columns + RowColumns.Columns;
        TFormat.UnpackScaleColumns(columns, scales);
        for (var four = 0; four < Scales / 4; four++)
        {
            var pairs = Pairs(scales[four]);
            pairs.GetLower().Store((ushort*)(target + (2 * four * PairBytes)));
            pairs.GetUpper().Store((ushort*)(target + (((2 * four) + 1) * PairBytes)));
        }
    }

    // The lower two bytes of every lane, then the upper two.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ushort> Pairs(Vector256<uint> fours)
    {
        if (!Avx2.IsSupported)
            return Vector256.Narrow(fours & Vector256.Create(0xFFFFu), fours >>> 16);
        var words = Avx2.Shuffle(fours.AsByte(), Vector256.Create(0x0D0C_0908_0504_0100UL, 0x0F0E_0B0A_0706_0302, 0x0D0C_0908_0504_0100, 0x0F0E_0B0A_0706_0302).AsByte());
        return Avx2.Permute4x64(words.AsUInt64(), 0b11_01_10_00).AsUInt16();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> DoubleWords(byte* rows, nint stride) => Vector256.Create(
        *(uint*)rows, *(uint*)(rows + stride), *(uint*)(rows + (2 * stride)), *(uint*)(rows + (3 * stride)),
        *(uint*)(rows + (4 * stride)), *(uint*)(rows + (5 * stride)), *(uint*)(rows + (6 * stride)), *(uint*)(rows + (7 * stride)));

    private static class Cache<TFormat>
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        public static readonly InterleavedPanel Panel = new(TFormat.Panel, TFormat.Layout)
        {
            Copied = new(TFormat.Panel, TFormat.Layout.InCopy()),
            Expanded = new(TFormat.Panel, TFormat.Layout.InSteps(TFormat.Panel.Scales == 0 ? TFormat.Panel.BlockLength : 2 * TFormat.Panel.SumLength)),
        };
    }
}
