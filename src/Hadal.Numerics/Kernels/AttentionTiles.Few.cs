using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels;

/// <content>
/// For fewer than four heads, as in decoding where each head has keys and values of its own. There a row brings little arithmetic and memory is what holds it up: rows are
/// multiplied as they are stored, and asked for ahead where weights are (<see cref="StreamHints"/>). The same sums.
/// </content>
internal static unsafe partial class AttentionTiles
{
    /// <summary>Fewer heads are computed as they come.</summary>
    public const int ManyHeads = 4;

    private const int Line = 64;

    // How far ahead of those in use lines are asked for.
    private const int LinesAhead = 6144;

    /// <summary>scores[g, l] = q[g] . row[l].</summary>
    /// <param name="q">[G, W].</param>
    /// <param name="heads">G.</param>
    /// <param name="keys">[L, W]; the first ones are read.</param>
    /// <param name="count">L.</param>
    /// <param name="scores">[G, L], heads <paramref name="scoreStride"/> apart.</param>
    /// <param name="scoreStride">Values from one head's scores to the next.</param>
    public static void FewScores<TValues>(float* q, int heads, in CacheChunk keys, int count, float* scores, int scoreStride)
        where TValues : struct, IStoredValues
    {
        var tile = stackalloc float[4];
        var values = TValues.Start(keys.Width);
        for (var l = 0; l < count; l += 4)
        {
            // Rows beyond the end are the last one again, and their scores are dropped.
            var last = count - l - 1;
            var r0 = keys.Row(l);
            var (r1, r2, r3) = ((nint)keys.Row(l + Math.Min(1, last)), (nint)keys.Row(l + Math.Min(2, last)), (nint)keys.Row(l + Math.Min(3, last)));
            if (StreamHints.EveryLine)
                StreamHints.AskForPage(r0);
            for (var g = 0; g < heads; g++)
            {
                FewTile1x4<TValues>(q + ((long)g * keys.Width), r0, (byte*)r1, (byte*)r2, (byte*)r3, keys.Width, values, tile, g == 0 ? LinesAhead : 0);
                Store(tile, scores + ((long)g * scoreStride) + l, last);
            }
        }
    }

    /// <summary>o[g] = sum_l p[g, l] row[l], in rising l, added to what is there unless these are the first rows.</summary>
    /// <param name="p">[G, L], heads <paramref name="pStride"/> apart.</param>
    /// <param name="pStride">Values from one head's weights to the next.</param>
    /// <param name="heads">G.</param>
    /// <param name="rows">[L, V or more].</param>
    /// <param name="count">L.</param>
    /// <param name="width">V.</param>
    /// <param name="o">[G, V], heads <paramref name="oStride"/> apart.</param>
    /// <param name="oStride">Values from one head's sums to the next.</param>
    /// <param name="isFirst">Whether o counts as 0.</param>
    public static void FewValues<TValues>(float* p, int pStride, int heads, in CacheChunk rows, int count, int width, float* o, int oStride, bool isFirst)
        where TValues : struct, IStoredValues
    {
        if (isFirst)
            Clear(o, heads, oStride, width);
        var values = TValues.Start(rows.Width);
        for (var block = 0; block < count; block += RowBlock)
        {
            var few = Math.Min(RowBlock, count - block);
            var row = rows.Row(block);
            if (StreamHints.EveryLine)
                StreamHints.AskForPage(row);
            for (var g = 0; g < heads; g++)
            {
                float* weights = p + ((long)g * pStride) + block, sums = o + ((long)g * oStride);
                var v = 0;
                for (; v <= width - 64; v += 64)
                    FewValues1x64<TValues>(weights, row, rows.RowBytes, v, values, few, sums + v, g == 0 ? LinesAhead : 0);
                for (; v < width; v += 16)
                    FewValues1x16<TValues>(weights, row, rows.RowBytes, v, values, few, sums + v);
            }
        }
    }

    private static void FewTile1x4<TValues>(float* q, byte* r0, byte* r1, byte* r2, byte* r3, nint width, nint values, float* tile, nint ahead)
        where TValues : struct, IStoredValues
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
        for (nint k = 0; k < width; k += 16)
        {
            var x = Vector512.Load(q + k);
            a0 = Vector512.FusedMultiplyAdd(x, TValues.Load(r0, k, values), a0);
            a1 = Vector512.FusedMultiplyAdd(x, TValues.Load(r1, k, values), a1);
            a2 = Vector512.FusedMultiplyAdd(x, TValues.Load(r2, k, values), a2);
            a3 = Vector512.FusedMultiplyAdd(x, TValues.Load(r3, k, values), a3);
            if (StreamHints.EveryLine)
            {
                var next = (k * TValues.ValueBytes) + ahead;
                Sse.Prefetch0(r0 + next);
                Sse.Prefetch0(r1 + next);
                Sse.Prefetch0(r2 + next);
                Sse.Prefetch0(r3 + next);
            }
        }

        Vector128.Create(Sum(a0), Sum(a1), Sum(a2), Sum(a3)).Store(tile);
    }

    private static void FewValues1x16<TValues>(float* p, byte* row, nint rowBytes, nint v, nint values, int count, float* o)
        where TValues : struct, IStoredValues
    {
        var sum = Vector512.Load(o);
        for (var l = 0; l < count; l++, row += rowBytes)
            sum = Vector512.FusedMultiplyAdd(TValues.Load(row, v, values), Vector512.Create(p[l]), sum);
        sum.Store(o);
    }

    private static void FewValues1x64<TValues>(float* p, byte* row, nint rowBytes, nint v, nint values, int count, float* o, nint ahead)
        where TValues : struct, IStoredValues
    {
        Vector512<float> a0 = Vector512.Load(o), a1 = Vector512.Load(o + 16), a2 = Vector512.Load(o + 32), a3 = Vector512.Load(o + 48);
        for (var l = 0; l < count; l++, row += rowBytes)
        {
            var f = Vector512.Create(p[l]);
            a0 = Vector512.FusedMultiplyAdd(TValues.Load(row, v, values), f, a0);
            a1 = Vector512.FusedMultiplyAdd(TValues.Load(row, v + 16, values), f, a1);
            a2 = Vector512.FusedMultiplyAdd(TValues.Load(row, v + 32, values), f, a2);
            a3 = Vector512.FusedMultiplyAdd(TValues.Load(row, v + 48, values), f, a3);
            if (StreamHints.EveryLine)
            {
                for (nint line = 0; line < 64 * TValues.ValueBytes; line += Line)
                    Sse.Prefetch0(row + (v * TValues.ValueBytes) + line + ahead);
            }
        }

        Store(o, a0, a1, a2, a3);
    }
}
