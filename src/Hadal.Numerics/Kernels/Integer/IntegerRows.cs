using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Products of some weight rows with some tokens, by the fastest kernels there are: rows that were interleaved at load, or are on the way (<see cref="InterleavedTiles"/>);
/// rows streamed as they lie and multiplied with up to four tokens at once (<see cref="RowKernels"/>); <see cref="PortableTiles"/>, or row by row.
/// </summary>
internal static unsafe class IntegerRows
{
    // More than four tokens pass the rows several times, a piece at a time that stays in the cache.
    private const int PieceRows = 32;

    // From so many tokens on, unpacking rows once is faster than unpacking them for each token; that pays soonest for blocks of 32, which need most of it, and
    // latest for codes of 8 bits.
    private const int SmallTileThreshold = 3;
    private const int SuperTileThreshold = 5;
    private const int SignedTileThreshold = 6;

    // From so many tokens on, interleaving rows on the way is faster than the row kernels for AVX512-VNNI; docs/PERFORMANCE.md.
    private const int VnniThreshold = 3;

    /// <summary>Rows of a weight that are one item of a job: a whole number of panels.</summary>
    public const int UnitRows = 32;

    /// <summary>Bytes of a list of where each product's items end, whole cache lines.</summary>
    public static long EndsBytes(int products) => ((products * sizeof(int)) + 63) & ~63;

    /// <summary>Bytes of scratch memory that <see cref="Multiply(WeightMatrix, int, int, TokenRows, float*, long, int, byte*)"/> needs.</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="tokens">T.</param>
    /// <exception cref="ArgumentException">The weight's format has no integer products.</exception>
    public static long ScratchBytes(WeightMatrix weight, int tokens)
    {
        var action = new ScratchAction { Weight = weight, Tokens = tokens };
        Dispatch(weight, ref action);
        return action.Bytes;
    }

    /// <summary>y[t, m] for rows [start, end).</summary>
    /// <param name="weight">W [M, K].</param>
    /// <param name="start">First row, a multiple of <see cref="UnitRows"/>.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="x">T quantised rows.</param>
    /// <param name="y">[T, M] from the first of these rows on.</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <param name="tokens">T.</param>
    /// <param name="scratch">At least <see cref="ScratchBytes(WeightMatrix, int)"/>.</param>
    /// <exception cref="ArgumentException">The weight's format has no integer products.</exception>
    public static void Multiply(WeightMatrix weight, int start, int end, TokenRows x, float* y, long yStride, int tokens, byte* scratch)
    {
        var action = new MultiplyAction { Weight = weight, Start = start, End = end, X = (byte*)x.First, XStride = x.Stride, Y = y - start, YStride = yStride, Tokens = tokens, Scratch = scratch };
        Dispatch(weight, ref action);
    }

    private static void Dispatch<TAction>(WeightMatrix weight, ref TAction action)
        where TAction : struct, IIntegerAction
    {
        if (!WeightFormats.TryDispatchInteger(weight.Format, ref action))
            throw new ArgumentException($"{weight.Format} has no integer products");
    }

    private static long ScratchBytes<TFormat>(WeightMatrix weight, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        if (weight.Interleaved != null || Interleaves<TFormat>(tokens))
            return InterleavedTiles.ScratchBytes<TFormat>(weight, tokens);
        return UsesPortableTiles<TFormat>(weight, tokens) ? PortableTiles.ScratchBytes(TFormat.Panel, tokens) : 0;
    }

    private static void Multiply<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens, byte* scratch)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        if (weight.Interleaved != null || Interleaves<TFormat>(tokens))
            InterleavedTiles.Multiply<TFormat>(weight, start, end, x, xStride, y, yStride, tokens, scratch);
        else if (HasRowKernels<TFormat>(weight, tokens))
            Assembled<TFormat>(weight, start, end, x, xStride, y, yStride, tokens);
        else if (UsesPortableTiles<TFormat>(weight, tokens))
            PortableTiles.Multiply<TFormat>(weight, start, end, x, xStride, y, yStride, tokens, scratch);
        else
            Portable<TFormat>(weight, start, end, x, xStride, y, yStride, tokens);
    }

    private static int TileThreshold<TFormat>()
        where TFormat : struct, IIntegerFormat<TFormat> => TFormat.Panel.IsSigned ? SignedTileThreshold : TFormat.Panel.Scales > 0 ? SuperTileThreshold : SmallTileThreshold;

    private static bool HasRowKernels<TFormat>(WeightMatrix weight, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat> => RowKernels.Find<TFormat>(Math.Min(tokens, RowAssembly.MaxTokens), weight.Cols / TFormat.BlockLength) != null;

    private static bool UsesPortableTiles<TFormat>(WeightMatrix weight, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat> => tokens >= TileThreshold<TFormat>() && !HasRowKernels<TFormat>(weight, tokens);

    private static bool Interleaves<TFormat>(int tokens)
        where TFormat : struct, IIntegerFormat<TFormat> => tokens >= (KernelVariant.Vnni ? VnniThreshold : TFormat.InterleavedThreshold) && InterleavedTiles.AreAvailable<TFormat>(tokens);

    private static void Assembled<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var blocks = weight.Cols / TFormat.BlockLength;
        var piece = tokens <= RowAssembly.MaxTokens ? end - start : PieceRows;
        for (var m = start; m < end; m += piece)
        {
            for (var t = 0; t < tokens; t += RowAssembly.MaxTokens)
            {
                var count = Math.Min(RowAssembly.MaxTokens, tokens - t);
                var arguments = RowKernels.Arguments<TFormat>(Math.Min(piece, end - m), weight.Cols, xStride, yStride);
                RowKernels.Find<TFormat>(count, blocks)(weight.Data + (m * weight.RowBytes), x + (t * xStride), y + (t * yStride) + m, &arguments);
            }
        }
    }

    private static void Portable<TFormat>(WeightMatrix weight, int start, int end, byte* x, long xStride, float* y, long yStride, int tokens)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        for (var m = start; m < end; m++)
        {
            var row = weight.Data + (m * weight.RowBytes);
            for (var t = 0; t < tokens; t++)
                y[(t * yStride) + m] = IntegerDot.Dot<TFormat>(row, new IntegerRow(x + (t * xStride), weight.Cols), weight.Cols / TFormat.BlockLength);
        }
    }

    private struct ScratchAction : IIntegerAction
    {
        public WeightMatrix Weight;
        public int Tokens;
        public long Bytes;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> => Bytes = ScratchBytes<TFormat>(Weight, Tokens);
    }

    private struct MultiplyAction : IIntegerAction
    {
        public WeightMatrix Weight;
        public int Start;
        public int End;
        public byte* X;
        public long XStride;
        public float* Y;
        public long YStride;
        public int Tokens;
        public byte* Scratch;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> => Multiply<TFormat>(Weight, Start, End, X, XStride, Y, YStride, Tokens, Scratch);
    }
}
