using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Many tokens at once where no kernels can be assembled (<see cref="InterleavedTiles"/>): sixteen weight rows are unpacked into a panel that stays in the first
/// cache and multiplied with three tokens at a time. Every output has the bits of <see cref="IntegerDot"/>.
/// </summary>
/// <remarks>
/// Codes of a panel lie so that a vector holds four of each of eight rows: products of pairs are added up in 16 bits for as long as they are sure to fit, then
/// multiplied with the integer scales of the rows and added up in 32 bits.
/// </remarks>
internal static unsafe class PortableTiles
{
    private const int Rows = 16;
    private const int HalfRows = Rows / 2;
    private const int Tokens = 3;
    private const int Chains = 4;
    private const int ColumnBytes = Rows * 4;
    private const int MaxBlockLength = 256;
    private const int MaxScales = 16;

    // A panel of so many columns takes half of a first cache of 32 kB.
    private const int PanelColumns = 1024;

    /// <summary>Bytes of scratch memory for a product of <paramref name="tokens"/> tokens.</summary>
    public static long ScratchBytes(IntegerPanel panel, int tokens) => ((long)PanelColumns / panel.BlockLength * new Layout(panel).Bytes) + ChainBytes(tokens);

    /// <summary>y[t, m] for rows [start, end).</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="start">First row.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">T quantised rows.</param>
    /// <param name="xStride">Bytes from one to the next.</param>
    /// <param name="y">[T, M].</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="scratch">At least <see cref="ScratchBytes"/>.</param>
    public static void Multiply<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens, byte* scratch)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var layout = new Layout(TFormat.Panel);
        var blocks = weight.Cols / TFormat.BlockLength;
        var panelBlocks = PanelColumns / TFormat.BlockLength;
        var chains = (float*)scratch;
        var panel = scratch + ChainBytes(tokens);
        for (var m = start; m < end; m += Rows)
        {
            var rows = Math.Min(Rows, end - m);
            new Span<byte>(chains, (int)ChainBytes(tokens)).Clear();
            for (var b = 0; b < blocks; b += panelBlocks)
            {
                var count = Math.Min(panelBlocks, blocks - b);
                Pack<TFormat>(layout, weight.Data + (m * weight.RowBytes) + ((long)b * TFormat.BlockBytes), weight.RowBytes, rows, count, panel);
                for (var t = 0; t < tokens; t += Tokens)
                    Tile(layout, panel, x + (t * xStride), xStride, weight.Cols, b, count, Math.Min(Tokens, tokens - t), chains + ((long)t * Chains * Rows));
            }

            for (var t = 0; t < tokens; t++)
                Store(chains + ((long)t * Chains * Rows), y + (t * yStride) + m, rows);
        }
    }

    private static long ChainBytes(int tokens) => (long)tokens * Chains * Rows * sizeof(float);

    // (c0 + c2) + (c1 + c3) of one token, [4][16].
    private static void Store(float* chains, float* y, int rows)
    {
        var sums = stackalloc float[Rows];
        for (var r = 0; r < Rows; r += HalfRows)
            ((Vector256.Load(chains + r) + Vector256.Load(chains + (2 * Rows) + r)) + (Vector256.Load(chains + Rows + r) + Vector256.Load(chains + (3 * Rows) + r))).Store(sums + r);
        new Span<float>(sums, rows).CopyTo(new Span<float>(y, rows));
    }

    // Up to sixteen rows, block by block; what is there for rows beyond the last has no meaning.
    private static void Pack<TFormat>(in Layout layout, byte* weights, long rowBytes, int rows, int blocks, byte* panel)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var codes = stackalloc byte[HalfRows * MaxBlockLength];
        var scales = stackalloc short[MaxScales];
        var minima = stackalloc short[MaxScales];
        var twice = stackalloc int[HalfRows * MaxScales];
        for (var b = 0; b < blocks; b++, panel += layout.Bytes, weights += TFormat.BlockBytes)
        {
            for (var half = 0; half < rows; half += HalfRows)
            {
                for (var r = half; r < Math.Min(half + HalfRows, rows); r++)
                {
                    var block = weights + (r * rowBytes);
                    TFormat.UnpackForTiles(block, codes + ((r - half) * TFormat.BlockLength), scales, minima);
                    for (var s = 0; s < layout.Scales; s += 8)
                        Twice(scales + s).Store(twice + ((r - half) * layout.Scales) + s);
                    for (var pair = 0; layout.ScalePairsAt != 0 && pair < layout.Scales / 2; pair++)
                        ((int*)(panel + layout.ScalePairsAt))[(pair * Rows) + r] = ((int*)scales)[pair];
                    for (var pair = 0; layout.MinimumPairsAt != 0 && pair < layout.Scales / 2; pair++)
                        ((int*)(panel + layout.MinimumPairsAt))[(pair * Rows) + r] = ((int*)minima)[pair];
                    ((float*)(panel + layout.SuperScaleAt))[r] = IntegerDot.HalfToSingle(TFormat.ScaleBits(block));
                    if (TFormat.HasMinimum)
                        ((float*)(panel + layout.SuperMinimumAt))[r] = IntegerDot.HalfToSingle(TFormat.MinimumBits(block));
                }

                for (var k = 0; k < TFormat.BlockLength; k += 16)
                    RowColumns.Transpose(codes + k, TFormat.BlockLength, panel + (k / 4 * ColumnBytes) + (half * 4), ColumnBytes);
                for (var s = 0; s < layout.Scales; s += 4)
                    RowColumns.Transpose((byte*)(twice + s), layout.Scales * sizeof(int), panel + layout.ScalesAt + (s * ColumnBytes) + (half * 4), ColumnBytes);
            }
        }
    }

    // Eight values of 16 bits, each in both halves of 32.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Twice(short* values)
    {
        var packed = Vector128.Load((ushort*)values);
        var (lower, upper) = Vector128.Widen(packed);
        var wide = Vector256.Create(lower, upper).AsInt32();
        return wide | (wide << 16);
    }

    // Adds the blocks of a panel times up to three tokens to the tokens' chains. Missing tokens are the first one again, and add to chains that nobody reads.
    private static void Tile(in Layout layout, byte* panel, byte* x, long xStride, int cols, int firstBlock, int blocks, int tokens, float* chains)
    {
        var nowhere = stackalloc float[Chains * Rows];
        var x0 = new IntegerRow(x, cols);
        var x1 = tokens > 1 ? new IntegerRow(x + xStride, cols) : x0;
        var x2 = tokens > 2 ? new IntegerRow(x + (2 * xStride), cols) : x0;
        var chains1 = tokens > 1 ? chains + (Chains * Rows) : nowhere;
        var chains2 = tokens > 2 ? chains + (2 * Chains * Rows) : nowhere;
        for (var b = firstBlock; b < firstBlock + blocks; b++, panel += layout.Bytes)
        {
            var chain = b % Chains * Rows;
            if (layout.Scales == 0)
                SmallBlock(layout, panel, x0, x1, x2, b, chains + chain, chains1 + chain, chains2 + chain);
            else
                SuperBlock(layout, panel, x0, x1, x2, b, chains + chain, chains1 + chain, chains2 + chain);
        }
    }

    private static void SuperBlock(in Layout layout, byte* panel, IntegerRow x0, IntegerRow x1, IntegerRow x2, int block, float* chain0, float* chain1, float* chain2)
    {
        Vector256<int> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default;
        var w = panel;
        sbyte* c0 = x0.Codes, c1 = x1.Codes, c2 = x2.Codes;
        var scales = (short*)(panel + layout.ScalesAt);
        nint at = block * layout.BlockLength, steps = layout.PartSteps;
        var parts = layout.Parts;
        for (var group = layout.Groups; group > 0; group--)
        {
            for (var part = parts; part > 0; part--)
            {
                if (layout.IsSigned)
                {
                    var (d0, d1) = (Vector256.Load(scales), Vector256.Load(scales + Rows));
                    SignedPart(ref w, c0, c1, c2, ref at, steps, d0, d1, ref s00, ref s01, ref s10, ref s11, ref s20, ref s21);
                }
                else
                {
                    Part(ref w, c0, c1, c2, ref at, steps, out var a00, out var a01, out var a10, out var a11, out var a20, out var a21);
                    var d = Vector256.Load(scales);
                    s00 += IntegerLanes.Products(a00, d);
                    s10 += IntegerLanes.Products(a10, d);
                    s20 += IntegerLanes.Products(a20, d);
                    d = Vector256.Load(scales + Rows);
                    s01 += IntegerLanes.Products(a01, d);
                    s11 += IntegerLanes.Products(a11, d);
                    s21 += IntegerLanes.Products(a21, d);
                }
            }

            scales += 2 * Rows;
        }

        Finish(layout, panel, x0, block, s00, s01, chain0);
        Finish(layout, panel, x1, block, s10, s11, chain1);
        Finish(layout, panel, x2, block, s20, s21, chain2);
    }

    private static void SmallBlock(in Layout layout, byte* panel, IntegerRow x0, IntegerRow x1, IntegerRow x2, int block, float* chain0, float* chain1, float* chain2)
    {
        // The zero point comes off first.
        Vector256<int> s00, s01, s10, s11, s20, s21;
        s00 = s01 = Vector256.Create(-layout.ZeroPoint * x0.Sums32[block]);
        s10 = s11 = Vector256.Create(-layout.ZeroPoint * x1.Sums32[block]);
        s20 = s21 = Vector256.Create(-layout.ZeroPoint * x2.Sums32[block]);
        var w = panel;
        sbyte* c0 = x0.Codes, c1 = x1.Codes, c2 = x2.Codes;
        nint at = block * layout.BlockLength, steps = layout.PartSteps;
        var one = Vector256<short>.One;
        for (var part = layout.Parts; part > 0; part--)
        {
            if (layout.IsSigned)
            {
                SignedPart(ref w, c0, c1, c2, ref at, steps, one, one, ref s00, ref s01, ref s10, ref s11, ref s20, ref s21);
                continue;
            }

            Part(ref w, c0, c1, c2, ref at, steps, out var a00, out var a01, out var a10, out var a11, out var a20, out var a21);
            s00 += IntegerLanes.Products(a00, one);
            s01 += IntegerLanes.Products(a01, one);
            s10 += IntegerLanes.Products(a10, one);
            s11 += IntegerLanes.Products(a11, one);
            s20 += IntegerLanes.Products(a20, one);
            s21 += IntegerLanes.Products(a21, one);
        }

        var (d0, d1) = (Vector256.Load((float*)(panel + layout.SuperScaleAt)), Vector256.Load((float*)(panel + layout.SuperScaleAt) + HalfRows));
        var dx = Vector256.Create(x0.Scales[block]);
        Add(chain0, s00, d0 * dx);
        Add(chain0 + HalfRows, s01, d1 * dx);
        dx = Vector256.Create(x1.Scales[block]);
        Add(chain1, s10, d0 * dx);
        Add(chain1 + HalfRows, s11, d1 * dx);
        dx = Vector256.Create(x2.Scales[block]);
        Add(chain2, s20, d0 * dx);
        Add(chain2 + HalfRows, s21, d1 * dx);
        if (!layout.HasMinimum)
            return;
        (d0, d1) = (Vector256.Load((float*)(panel + layout.SuperMinimumAt)), Vector256.Load((float*)(panel + layout.SuperMinimumAt) + HalfRows));
        Subtract(chain0, x0, block, d0, d1);
        Subtract(chain1, x1, block, d0, d1);
        Subtract(chain2, x2, block, d0, d1);
    }

    // Sums of products of pairs over some steps, in 16 bits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Part(
        ref byte* w, sbyte* x0, sbyte* x1, sbyte* x2, ref nint at, nint steps,
        out Vector256<short> a00, out Vector256<short> a01, out Vector256<short> a10, out Vector256<short> a11, out Vector256<short> a20, out Vector256<short> a21)
    {
        a00 = a01 = a10 = a11 = a20 = a21 = default;
        for (var end = at + (steps * 4); at < end; at += 8, w += 2 * ColumnBytes)
        {
            var w0 = Vector256.Load(w);
            var w1 = Vector256.Load(w + 32);
            var v = Vector256.Create(*(int*)(x0 + at)).AsSByte();
            a00 += IntegerLanes.Pairs(w0, v);
            a01 += IntegerLanes.Pairs(w1, v);
            v = Vector256.Create(*(int*)(x1 + at)).AsSByte();
            a10 += IntegerLanes.Pairs(w0, v);
            a11 += IntegerLanes.Pairs(w1, v);
            v = Vector256.Create(*(int*)(x2 + at)).AsSByte();
            a20 += IntegerLanes.Pairs(w0, v);
            a21 += IntegerLanes.Pairs(w1, v);
            w0 = Vector256.Load(w + ColumnBytes);
            w1 = Vector256.Load(w + ColumnBytes + 32);
            v = Vector256.Create(*(int*)(x0 + at + 4)).AsSByte();
            a00 += IntegerLanes.Pairs(w0, v);
            a01 += IntegerLanes.Pairs(w1, v);
            v = Vector256.Create(*(int*)(x1 + at + 4)).AsSByte();
            a10 += IntegerLanes.Pairs(w0, v);
            a11 += IntegerLanes.Pairs(w1, v);
            v = Vector256.Create(*(int*)(x2 + at + 4)).AsSByte();
            a20 += IntegerLanes.Pairs(w0, v);
            a21 += IntegerLanes.Pairs(w1, v);
        }
    }

    // The same for codes whose pairs fill 16 bits, added up in 32.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SignedPart(
        ref byte* w, sbyte* x0, sbyte* x1, sbyte* x2, ref nint at, nint steps, Vector256<short> d0, Vector256<short> d1,
        ref Vector256<int> s00, ref Vector256<int> s01, ref Vector256<int> s10, ref Vector256<int> s11, ref Vector256<int> s20, ref Vector256<int> s21)
    {
        for (var end = at + (steps * 4); at < end; at += 4, w += ColumnBytes)
        {
            var w0 = Vector256.Load((sbyte*)w);
            var w1 = Vector256.Load((sbyte*)w + 32);
            var v = Vector256.Create(*(int*)(x0 + at)).AsSByte();
            s00 += IntegerLanes.Products(IntegerLanes.SignedPairs(w0, v), d0);
            s01 += IntegerLanes.Products(IntegerLanes.SignedPairs(w1, v), d1);
            v = Vector256.Create(*(int*)(x1 + at)).AsSByte();
            s10 += IntegerLanes.Products(IntegerLanes.SignedPairs(w0, v), d0);
            s11 += IntegerLanes.Products(IntegerLanes.SignedPairs(w1, v), d1);
            v = Vector256.Create(*(int*)(x2 + at)).AsSByte();
            s20 += IntegerLanes.Products(IntegerLanes.SignedPairs(w0, v), d0);
            s21 += IntegerLanes.Products(IntegerLanes.SignedPairs(w1, v), d1);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float* chain, Vector256<int> sums, Vector256<float> scales) =>
        Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(sums), scales, Vector256.Load(chain)).Store(chain);

    // The one minimum of a block of 32 times the sum of its activations.
    private static void Subtract(float* chain, IntegerRow x, int block, Vector256<float> d0, Vector256<float> d1)
    {
        var sum = Vector256.Create(-(float)x.Sums32[block]);
        var dx = Vector256.Create(x.Scales[block]);
        Vector256.FusedMultiplyAdd(sum, d0 * dx, Vector256.Load(chain)).Store(chain);
        Vector256.FusedMultiplyAdd(sum, d1 * dx, Vector256.Load(chain + HalfRows)).Store(chain + HalfRows);
    }

    // chain = fma(sums, d * dx, chain) for a super-block, and the same with its minima.
    private static void Finish(in Layout layout, byte* panel, IntegerRow x, int block, Vector256<int> s0, Vector256<int> s1, float* chain)
    {
        var dx = Vector256.Create(x.Scales[block]);
        var sums = (int*)(layout.SumLength == 16 ? x.Sums16 + (block * layout.Groups) : x.Sums32 + (block * layout.Groups));
        var pairs = layout.Scales / 2;
        if (layout.ScalePairsAt != 0)
        {
            s0 -= Pairs((int*)(panel + layout.ScalePairsAt), sums, pairs) * layout.ZeroPoint;
            s1 -= Pairs((int*)(panel + layout.ScalePairsAt) + HalfRows, sums, pairs) * layout.ZeroPoint;
        }

        Add(chain, s0, Vector256.Load((float*)(panel + layout.SuperScaleAt)) * dx);
        Add(chain + HalfRows, s1, Vector256.Load((float*)(panel + layout.SuperScaleAt) + HalfRows) * dx);
        if (!layout.HasMinimum)
            return;
        for (var r = 0; r < Rows; r += HalfRows)
        {
            var minimum = -Vector256.ConvertToSingle(Pairs((int*)(panel + layout.MinimumPairsAt) + r, sums, pairs));
            Vector256.FusedMultiplyAdd(minimum, Vector256.Load((float*)(panel + layout.SuperMinimumAt) + r) * dx, Vector256.Load(chain + r)).Store(chain + r);
        }
    }

    // Sum over pairs of 16-bit columns times a token's pairs.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Pairs(int* columns, int* token, int count)
    {
        var sum = Vector256<int>.Zero;
        for (var pair = 0; pair < count; pair++)
            sum += IntegerLanes.Products(Vector256.Load((short*)(columns + (pair * Rows))), Vector256.Create(token[pair]).AsInt16());
        return sum;
    }

    /// <summary>Where the parts of a block of sixteen rows lie: codes [A/4][16][4], and behind them 32 bits for each row and item.</summary>
    private readonly struct Layout
    {
        public readonly int BlockLength;
        public readonly int Scales;
        public readonly int ZeroPoint;
        public readonly bool HasMinimum;
        public readonly bool IsSigned;
        public readonly int SumLength;

        /// <summary>Runs of codes that share an integer scale; each is cut into parts whose sums of pairs fit 16 bits.</summary>
        public readonly int Groups;
        public readonly int Parts;
        public readonly int PartSteps;

        /// <summary>Integer scales, each twice in 16 bits.</summary>
        public readonly int ScalesAt;

        /// <summary>Integer scales, two neighbours in 16 bits each; 0 where there are none or nothing has to be taken off.</summary>
        public readonly int ScalePairsAt;

        /// <summary>Minima, likewise.</summary>
        public readonly int MinimumPairsAt;
        public readonly int SuperScaleAt;
        public readonly int SuperMinimumAt;
        public readonly int Bytes;

        public Layout(IntegerPanel panel)
        {
            BlockLength = panel.BlockLength;
            Scales = panel.Scales;
            IsSigned = panel.IsSigned;
            ZeroPoint = IsSigned ? 0 : panel.ZeroPoint;
            HasMinimum = panel.HasMinimum;
            SumLength = panel.SumLength;
            Groups = panel.Sums;
            var steps = SumLength / 4;
            PartSteps = steps;
            while (!IsSigned && PartSteps * 2 * panel.MaxCode * IntegerActivations.MaxCode > short.MaxValue)
                PartSteps /= 2;
            Parts = steps / PartSteps;

            var next = BlockLength * Rows;
            ScalesAt = Take(ref next, Scales);
            ScalePairsAt = ZeroPoint != 0 && Scales > 0 ? Take(ref next, Scales / 2) : 0;
            MinimumPairsAt = HasMinimum && Scales > 0 ? Take(ref next, Scales / 2) : 0;
            SuperScaleAt = Take(ref next, 1);
            SuperMinimumAt = Take(ref next, HasMinimum ? 1 : 0);
            Bytes = next;
        }

        private static int Take(ref int next, int items)
        {
            var at = next;
            next += items * ColumnBytes;
            return at;
        }
    }
}
