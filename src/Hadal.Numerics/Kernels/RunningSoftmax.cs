using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Attention over rows that come a chunk at a time: for each head the largest score so far m, the sum z of exp(score - m), and o, the sum of values with
/// those weights; a larger m rescales what is there (Milakov and Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135).
/// </summary>
/// <remarks>
/// Chunks of 64 rows and spans begin at fixed rows of the sequence, a span's chunks are added in their order and spans merged in theirs: so the
/// bits do not depend on who computes which span, or on how many tokens come together. The first spans are shorter, so that threads can share short sequences.
/// A head's state is [o (V, up to whole vectors of 16) | m | z | padding].
/// </remarks>
internal static unsafe class RunningSoftmax
{
    public const int ChunkRows = 64;

    private const int SpanRows = 32 * ChunkRows;

    private static readonly int[] FirstSpans = [0, SpanRows / 8, SpanRows / 4, SpanRows / 2];

    /// <summary>Spans that <paramref name="length"/> rows touch.</summary>
    public static int Spans(int length)
    {
        if (length > SpanRows)
            return FirstSpans.Length - 1 + (int)(((long)length + SpanRows - 1) / SpanRows);
        var count = 0;
        while (count < FirstSpans.Length && FirstSpans[count] < length)
            count++;
        return count;
    }

    /// <summary>The first row of a span.</summary>
    public static int SpanStart(int span) => span < FirstSpans.Length ? FirstSpans[span] : (span - FirstSpans.Length + 1) * SpanRows;

    /// <summary>S: values of one head's state.</summary>
    public static int StateWidth(int valueWidth) => Padded(valueWidth) + 16;

    /// <summary>States that have seen no row: their sums of values are what they are until the first ones are added.</summary>
    public static void Begin(float* states, int heads, int valueWidth)
    {
        for (var g = 0; g < heads; g++)
            (Max(states, g, valueWidth), Sum(states, g, valueWidth)) = (float.NegativeInfinity, 0);
    }

    /// <summary>Adds the first rows of a chunk to the states of heads that share its keys and values; all of them have seen rows, or none.</summary>
    /// <param name="q">[G, W].</param>
    /// <param name="heads">G.</param>
    /// <param name="scale">Softmax scale.</param>
    /// <param name="keys">Keys; W is their width. Float32, unless there are fewer heads than <see cref="AttentionTiles.ManyHeads"/>.</param>
    /// <param name="values">Values, stored as the keys.</param>
    /// <param name="valueWidth">V.</param>
    /// <param name="count">Rows, at least one.</param>
    /// <param name="scores">Memory for G * <see cref="ChunkRows"/> values.</param>
    /// <param name="states">[G, S].</param>
    /// <param name="during">What to bring into the cache while scores are computed.</param>
    /// <param name="after">What to bring into the cache while values are added.</param>
    public static void Add(
        float* q, int heads, float scale, in CacheChunk keys, in CacheChunk values, int valueWidth, int count, float* scores, float* states, ReadAhead during = default,
        ReadAhead after = default)
    {
        if (heads < AttentionTiles.ManyHeads)
        {
            AddFew(q, heads, scale, keys, values, valueWidth, count, scores, states);
            return;
        }

        AttentionTiles.Scores(q, heads, keys.Rows, keys.Width, count, scores, ChunkRows, during);
        var isFirst = Sum(states, 0, valueWidth) == 0;
        Weigh(scores, heads, count, scale, states, valueWidth);
        AttentionTiles.AddValues(scores, ChunkRows, heads, values.Rows, values.Width, count, Padded(valueWidth), states, StateWidth(valueWidth), isFirst, after);
    }

    private static void AddFew(float* q, int heads, float scale, in CacheChunk keys, in CacheChunk values, int valueWidth, int count, float* scores, float* states)
    {
        switch (keys.Format)
        {
            case CacheFormat.F32:
                AddFew<F32Values>(q, heads, scale, keys, values, valueWidth, count, scores, states);
                break;
            case CacheFormat.BF16:
                AddFew<BF16Values>(q, heads, scale, keys, values, valueWidth, count, scores, states);
                break;
            default:
                AddFew<Q8Values>(q, heads, scale, keys, values, valueWidth, count, scores, states);
                break;
        }
    }

    private static void AddFew<TValues>(float* q, int heads, float scale, in CacheChunk keys, in CacheChunk values, int valueWidth, int count, float* scores, float* states)
        where TValues : struct, IStoredValues
    {
        AttentionTiles.FewScores<TValues>(q, heads, keys, count, scores, ChunkRows);
        var isFirst = Sum(states, 0, valueWidth) == 0;
        Weigh(scores, heads, count, scale, states, valueWidth);
        AttentionTiles.FewValues<TValues>(scores, ChunkRows, heads, values, count, Padded(valueWidth), states, StateWidth(valueWidth), isFirst);
    }

    /// <summary>Adds states of later rows to states of earlier ones.</summary>
    public static void Merge(float* states, float* later, int heads, int valueWidth)
    {
        for (var g = 0; g < heads; g++)
        {
            if (Sum(later, g, valueWidth) == 0)
                continue;
            ref var max = ref Max(states, g, valueWidth);
            ref var sum = ref Sum(states, g, valueWidth);
            var largest = MathF.Max(max, Max(later, g, valueWidth));
            var (before, after) = (MathF.Exp(max - largest), MathF.Exp(Max(later, g, valueWidth) - largest));
            max = largest;
            sum = MathF.FusedMultiplyAdd(Sum(later, g, valueWidth), after, sum * before);
            var o = new Span<float>(states + ((long)g * StateWidth(valueWidth)), Padded(valueWidth));
            TensorPrimitives.Multiply(o, before, o);
            MatMul.AddScaled(later + ((long)g * StateWidth(valueWidth)), after, states + ((long)g * StateWidth(valueWidth)), Padded(valueWidth));
        }
    }

    /// <summary>o / z: what attention gives.</summary>
    public static void Finish(float* states, int heads, int valueWidth)
    {
        for (var g = 0; g < heads; g++)
        {
            var o = new Span<float>(states + ((long)g * StateWidth(valueWidth)), Padded(valueWidth));
            TensorPrimitives.Divide(o, Sum(states, g, valueWidth), o);
        }
    }

    /// <summary>Scores of a chunk become weights exp(scale * score - m), 0 behind the last row; m grows with them, and what is there is scaled down to it.</summary>
    /// <param name="scores">[G, <see cref="ChunkRows"/>].</param>
    /// <param name="heads">G.</param>
    /// <param name="count">Rows, at least one.</param>
    /// <param name="scale">Softmax scale.</param>
    /// <param name="states">[G, S].</param>
    /// <param name="valueWidth">V.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Weigh(float* scores, int heads, int count, float scale, float* states, int valueWidth)
    {
        var lanes = Vector512<int>.Indices;
        var rows = Vector512.Create(count);
        var (in0, in1, in2, in3) = (
            Vector512.LessThan(lanes, rows).AsSingle(), Vector512.LessThan(lanes + Vector512.Create(16), rows).AsSingle(),
            Vector512.LessThan(lanes + Vector512.Create(32), rows).AsSingle(), Vector512.LessThan(lanes + Vector512.Create(48), rows).AsSingle());
        var factor = Vector512.Create(scale);
        var none = Vector512.Create(float.NegativeInfinity);
        for (var g = 0; g < heads; g++, scores += ChunkRows)
        {
            var s0 = Vector512.ConditionalSelect(in0, Vector512.Load(scores) * factor, none);
            var s1 = Vector512.ConditionalSelect(in1, Vector512.Load(scores + 16) * factor, none);
            var s2 = Vector512.ConditionalSelect(in2, Vector512.Load(scores + 32) * factor, none);
            var s3 = Vector512.ConditionalSelect(in3, Vector512.Load(scores + 48) * factor, none);
            ref var max = ref Max(states, g, valueWidth);
            ref var sum = ref Sum(states, g, valueWidth);
            var largest = Largest(Vector512.MaxNative(Vector512.MaxNative(s0, s1), Vector512.MaxNative(s2, s3)));
            if (largest > max)
            {
                if (sum != 0)
                {
                    var shrink = MathF.Exp(max - largest);
                    var o = new Span<float>(states + ((long)g * StateWidth(valueWidth)), Padded(valueWidth));
                    TensorPrimitives.Multiply(o, shrink, o);
                    sum *= shrink;
                }

                max = largest;
            }

            var shift = Vector512.Create(max);
            var (p0, p1, p2, p3) = (FastExp.Exp(s0 - shift) & in0, FastExp.Exp(s1 - shift) & in1, FastExp.Exp(s2 - shift) & in2, FastExp.Exp(s3 - shift) & in3);
            p0.Store(scores);
            p1.Store(scores + 16);
            p2.Store(scores + 32);
            p3.Store(scores + 48);
            sum += DotProduct.Sum(p0, p1, p2, p3);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Largest(Vector512<float> x)
    {
        var x8 = Vector256.MaxNative(x.GetLower(), x.GetUpper());
        var x4 = Vector128.MaxNative(x8.GetLower(), x8.GetUpper());
        x4 = Vector128.MaxNative(x4, Vector128.Shuffle(x4, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(x4, Vector128.Shuffle(x4, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    private static int Padded(int width) => (width + 15) / 16 * 16;

    private static ref float Max(float* states, int head, int valueWidth) => ref states[((long)head * StateWidth(valueWidth)) + Padded(valueWidth)];

    private static ref float Sum(float* states, int head, int valueWidth) => ref states[((long)head * StateWidth(valueWidth)) + Padded(valueWidth) + 1];
}
