using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>
/// The right operand B [K, N] of a product, laid out for the tiles: panels of 32 or 16 columns, in each of them 128 or 64 bytes a step (so many columns of one
/// float32, or of two bfloat16 that follow each other along K). What is missing at the edges is zero.
/// </summary>
public readonly unsafe struct PackedMatrix
{
    /// <summary>Columns of a panel: as many as a tile has sums for in registers, so that a piece of it stays in the L1 cache from one tile to the next.</summary>
    internal static readonly int PanelColumns = Vector512.IsHardwareAccelerated ? 32 : 16;

    /// <summary>Bytes of one step of a panel.</summary>
    internal static readonly int StepBytes = 4 * PanelColumns;

    private const int Block = 16;

    // Of 64 rows, a step of two panels is 4 KB apart: more of them than the first cache has ways would throw each other out.
    private const int PanelsAtOnce = 8;

    internal PackedMatrix(WeightFormat format, byte* data, int length, int columns)
    {
        Format = format;
        Data = data;
        Length = length;
        Columns = columns;
    }

    /// <summary>Describes B at a place of a buffer; its contents come by packing.</summary>
    /// <param name="buffer">Memory; must outlive the view.</param>
    /// <param name="byteStart">First byte; a multiple of 64 is best.</param>
    /// <param name="format">F32 or BF16.</param>
    /// <param name="length">K.</param>
    /// <param name="columns">N.</param>
    /// <exception cref="ArgumentException">It does not fit into the buffer.</exception>
    public static PackedMatrix Over(NativeBuffer buffer, long byteStart, WeightFormat format, int length, int columns)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        if (byteStart < 0 || byteStart + ByteLength(format, length, columns) > buffer.ByteLength)
            throw new ArgumentException($"{ByteLength(format, length, columns)} bytes at {byteStart} of a buffer of {buffer.ByteLength}");
        return new PackedMatrix(format, buffer.Pointer + byteStart, length, columns);
    }

    /// <summary>Bytes that B takes.</summary>
    public static long ByteLength(WeightFormat format, int length, int columns) =>
        (long)((columns + PanelColumns - 1) / PanelColumns) * StepsOf(format, length) * StepBytes;

    /// <summary>F32 or BF16.</summary>
    public WeightFormat Format { get; }

    /// <summary>Length of the sums (K).</summary>
    public int Length { get; }

    /// <summary>Columns of the product (N).</summary>
    public int Columns { get; }

    /// <summary>Panels of so many columns.</summary>
    public int Panels => (Columns + PanelColumns - 1) / PanelColumns;

    internal byte* Data { get; }

    internal int Steps => StepsOf(Format, Length);

    internal byte* Panel(int panel) => Data + ((long)panel * Steps * StepBytes);

    /// <summary>B[k, n] = source[n, k], rounded to the format: a weight [N, K] for y = x W^T.</summary>
    /// <param name="source">[N, K], F32, or BF16 when B is.</param>
    /// <param name="firstPanel">First panel to fill.</param>
    /// <param name="endPanel">One past the last.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void PackTransposed(MatrixView source, int firstPanel, int endPanel)
    {
        Check(source, Columns, Length);
        uint* block = stackalloc uint[Block * Block], columns = stackalloc uint[Block * Block];
        for (var panel = firstPanel; panel < endPanel; panel++)
        {
            for (var half = 0; half < PanelColumns; half += Block)
            {
                var column = (panel * PanelColumns) + half;
                var rows = Math.Clamp(Columns - column, 0, Block);
                for (var step = 0; step < Steps; step += Block)
                {
                    var steps = Math.Min(Block, Steps - step);
                    var target = Panel(panel) + ((long)step * StepBytes) + (half * 4);
                    if (Avx512F.IsSupported && source.Format == Format && rows == Block && (step + Block) * PerStep <= Length)
                    {
                        Transpose.Rows16(source.RowPointer(column) + (step * sizeof(uint)), (nint)source.RowBytes, target, StepBytes);
                        continue;
                    }

                    if (rows < Block || steps < Block)
                        new Span<uint>(block, Block * Block).Clear();
                    for (var r = 0; r < rows; r++)
                        StepsOfRow(source, column + r, step, steps, block + (r * Block));
                    if (Avx512F.IsSupported)
                    {
                        if (steps == Block)
                        {
                            Transpose.Rows16((byte*)block, Block * 4, target, StepBytes);
                            continue;
                        }

                        Transpose.Rows16((byte*)block, Block * 4, (byte*)columns);
                        for (var s = 0; s < steps; s++)
                            Vector512.Load(columns + (s * Block)).Store((uint*)(target + (s * StepBytes)));
                        continue;
                    }

                    for (var s = 0; s < steps; s++)
                    {
                        for (var r = 0; r < Block; r++)
                            ((uint*)(target + (s * StepBytes)))[r] = block[(r * Block) + s];
                    }
                }
            }
        }
    }

    /// <summary>B[k, n] = source[rows[k], n], rounded to the format: a weight [K, N] for dx = dy W, or activations [K, N] for dW = dy^T x.</summary>
    /// <param name="source">F32, or BF16 when B is.</param>
    /// <param name="rows">Which rows, in order; empty for the first K.</param>
    /// <param name="firstPanel">First panel to fill.</param>
    /// <param name="endPanel">One past the last.</param>
    public void PackRows(MatrixView source, ReadOnlySpan<int> rows, int firstPanel, int endPanel)
    {
        if (source.Cols != Columns || (rows.IsEmpty ? source.Rows < Length : rows.Length != Length) || (Format == WeightFormat.F32 && source.Format != Format))
            throw new ArgumentException($"[{source.Rows}, {source.Cols}] of {source.Format} by {rows.Length} rows as B [{Length}, {Columns}] of {Format}");
        if (rows.IsEmpty && source.Format == WeightFormat.BF16 && Length % 2 == 0 && Vector512.IsHardwareAccelerated)
        {
            var whole = Math.Clamp(Columns / PanelColumns, firstPanel, endPanel);
            for (; firstPanel < whole; firstPanel = Math.Min(whole, firstPanel + PanelsAtOnce))
            {
                PairRows(
                    source.RowPointer(0) + (firstPanel * PanelColumns * sizeof(ushort)), (nint)source.RowBytes, Steps, Panel(firstPanel),
                    Math.Min(PanelsAtOnce, whole - firstPanel), (nint)Steps * StepBytes);
            }
        }

        PackSteps(source, rows, Panel(0), (long)Steps * StepBytes, StepBytes, firstPanel, endPanel);
    }

    // Some panels from rows of bfloat16 that follow each other.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PairRows(byte* row, nint rowBytes, int steps, byte* target, int panels, nint panelBytes)
    {
        for (var step = 0; step < steps; step++, row += 2 * rowBytes, target += 128)
        {
            for (var panel = 0; panel < panels; panel++)
                Pair32((ushort*)row + (panel * 32), (ushort*)(row + rowBytes) + (panel * 32), (ushort*)(target + (panel * panelBytes)));
        }
    }

    /// <summary>
    /// As <see cref="PackRows"/> for the left operand of a weight gradient: all columns of a step side by side, <see cref="Panels"/> times <see cref="StepBytes"/> a step.
    /// </summary>
    internal void PackLeft(MatrixView source, ReadOnlySpan<int> rows) => PackSteps(source, rows, Data, StepBytes, (long)Panels * StepBytes, 0, Panels);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void PackSteps(MatrixView source, ReadOnlySpan<int> rows, byte* data, long panelBytes, long stepBytes, int firstPanel, int endPanel)
    {
        var whole = source.Format == Format && Vector512.IsHardwareAccelerated ? Math.Clamp(Columns / PanelColumns, firstPanel, endPanel) : firstPanel;
        for (var step = 0; step < Steps; step++)
        {
            var k = step * PerStep;
            var first = source.RowPointer(rows.IsEmpty ? k : rows[k]);
            var second = PerStep == 1 || k + 1 == Length ? null : source.RowPointer(rows.IsEmpty ? k + 1 : rows[k + 1]);
            var target = data + (firstPanel * panelBytes) + (step * stepBytes);
            var panel = firstPanel;
            if (Format == WeightFormat.F32)
            {
                for (; panel < whole; panel++, target += panelBytes)
                    Copy32((float*)first + (panel * PanelColumns), (float*)target);
            }
            else if (second != null)
            {
                for (; panel < whole; panel++, target += panelBytes)
                    Pair32((ushort*)first + (panel * PanelColumns), (ushort*)second + (panel * PanelColumns), (ushort*)target);
            }

            for (; panel < endPanel; panel++, target += panelBytes)
            {
                var column = panel * PanelColumns;
                Interleave(source.Format, first, second, column, Math.Min(PanelColumns, Columns - column), (uint*)target);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy32(float* row, float* target)
    {
        Vector512.Load(row).Store(target);
        Vector512.Load(row + 16).Store(target + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Pair32(ushort* first, ushort* second, ushort* target)
    {
        var (a, b) = (Vector512.Load(first), Vector512.Load(second));
        Avx512BW.PermuteVar32x16x2(a, LowerPairs, b).Store(target);
        Avx512BW.PermuteVar32x16x2(a, LowerPairs + Vector512.Create((ushort)16), b).Store(target + 32);
    }

    // Value i of one vector, then value i of another.
    private static Vector512<ushort> LowerPairs => Vector512.Create(
        (ushort)0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);

    // Values of a step.
    private int PerStep => Format == WeightFormat.F32 ? 1 : 2;

    internal static int StepsOf(WeightFormat format, int length) => format == WeightFormat.F32 ? length : (length + 1) / 2;

    /// <summary>target[j] = the step that columns <paramref name="column"/> + j of one or two rows make; zero beyond <paramref name="count"/> up to a panel.</summary>
    private void Interleave(WeightFormat from, byte* first, byte* second, int column, int count, uint* target)
    {
        for (var j = 0; j < PanelColumns; j += Block)
        {
            if (count - j >= Block)
            {
                if (Format == WeightFormat.F32)
                {
                    Vector512.Load((uint*)first + column + j).Store(target + j);
                    continue;
                }

                var upper = second == null ? Vector512<uint>.Zero : Codes16(from, second, column + j);
                (Codes16(from, first, column + j) | (upper << 16)).Store(target + j);
                continue;
            }

            for (var i = j; i < j + Block; i++)
                target[i] = i >= count ? 0 : Format == WeightFormat.F32 ? ((uint*)first)[column + i] : Code(from, first, column + i) | (second == null ? 0 : Code(from, second, column + i) << 16);
        }
    }

    private void StepsOfRow(MatrixView source, int row, int step, int steps, uint* target)
    {
        var data = source.RowPointer(row);
        if (source.Format == Format)
        {
            // A step is 32 bits of the row as they are; a last half step has zero above it.
            var whole = Format == WeightFormat.F32 || (step + steps) * 2 <= Length ? steps : steps - 1;
            new ReadOnlySpan<uint>((uint*)data + step, whole).CopyTo(new Span<uint>(target, whole));
            if (whole < steps)
                target[whole] = Code(WeightFormat.BF16, data, Length - 1);
            return;
        }

        var k = step * 2;
        if (steps == Block && k + 32 <= Length)
        {
            Vector512.Narrow(BF16.Round16(Vector512.Load((float*)data + k)), BF16.Round16(Vector512.Load((float*)data + k + 16))).Store((ushort*)target);
            return;
        }

        for (var s = 0; s < steps; s++)
            target[s] = Code(WeightFormat.F32, data, k + (2 * s)) | (k + (2 * s) + 1 < Length ? Code(WeightFormat.F32, data, k + (2 * s) + 1) << 16 : 0);
    }

    private static uint Code(WeightFormat from, byte* row, int column) =>
        from == WeightFormat.F32 ? BF16.FromSingle(((float*)row)[column]) : ((ushort*)row)[column];

    private static Vector512<uint> Codes16(WeightFormat from, byte* row, int column) => from == WeightFormat.F32
        ? BF16.Round16(Vector512.Load((float*)row + column))
        : BF16.Load16(row + (column * 2)).AsUInt32() >> 16;

    private void Check(MatrixView source, int rows, int cols)
    {
        if (source.Rows != rows || source.Cols != cols || (Format == WeightFormat.F32 && source.Format != Format))
            throw new ArgumentException($"[{source.Rows}, {source.Cols}] of {source.Format} as B [{Length}, {Columns}] of {Format}");
    }
}
