using System.Numerics.Tensors;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Attention over rows that come a chunk at a time: for each head the largest score so far m, the sum z of exp(score - m), and o, the sum of values with
/// those weights; a larger m rescales what is there (Milakov and Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135).
/// </summary>
/// <remarks>
/// Chunks of 128 rows and spans of 2048 begin at fixed rows of the sequence, a span's chunks are added in their order and spans merged in theirs: so the
/// bits do not depend on who computes which span, or on how many tokens come together.
/// A head's state is [o (V, up to whole vectors of 16) | m | z | padding].
/// </remarks>
internal static unsafe class RunningSoftmax
{
    public const int ChunkRows = 128;

    public const int SpanRows = 16 * ChunkRows;

    // Rows scored between two requests for rows of the next chunk.
    private const int PrefetchRows = 8;

    /// <summary>Spans that <paramref name="length"/> rows touch.</summary>
    public static int Spans(int length) => (int)(((long)length + SpanRows - 1) / SpanRows);

    /// <summary>S: values of one head's state.</summary>
    public static int StateWidth(int valueWidth) => Padded(valueWidth) + 16;

    /// <summary>States that have seen no row.</summary>
    public static void Begin(float* states, int heads, int valueWidth)
    {
        new Span<float>(states, heads * StateWidth(valueWidth)).Clear();
        for (var g = 0; g < heads; g++)
            Max(states, g, valueWidth) = float.NegativeInfinity;
    }

    /// <summary>Adds the first rows of a chunk to the states of heads that share its keys and values.</summary>
    /// <param name="q">[G, W].</param>
    /// <param name="heads">G.</param>
    /// <param name="scale">Softmax scale.</param>
    /// <param name="keys">Keys; W is their width.</param>
    /// <param name="values">Values.</param>
    /// <param name="valueWidth">V.</param>
    /// <param name="count">Rows, at least one.</param>
    /// <param name="next">First row of the chunk that comes next, to be asked for meanwhile; -1 for none.</param>
    /// <param name="scores">Memory for G * <see cref="ChunkRows"/> values.</param>
    /// <param name="states">[G, S].</param>
    public static void Add(float* q, int heads, float scale, in CacheChunk keys, in CacheChunk values, int valueWidth, int count, int next, float* scores, float* states)
    {
        var step = Math.Min(keys.RunRows, next < 0 ? ChunkRows : PrefetchRows);
        for (var l = 0; l < count; l += step)
        {
            if (next >= 0)
                keys.Prefetch(next + l, step);
            AttentionTiles.Scores(q, heads, keys.Row(l), keys.Stride, Math.Min(step, count - l), keys.Width, scores + l, ChunkRows);
        }

        var stateWidth = StateWidth(valueWidth);
        for (var g = 0; g < heads; g++)
        {
            var weights = new Span<float>(scores + ((long)g * ChunkRows), count);
            TensorPrimitives.Multiply(weights, scale, weights);
            ref var max = ref Max(states, g, valueWidth);
            ref var sum = ref Sum(states, g, valueWidth);
            var largest = TensorPrimitives.Max<float>(weights);
            if (largest > max)
            {
                var factor = MathF.Exp(max - largest);
                var o = new Span<float>(states + ((long)g * stateWidth), Padded(valueWidth));
                TensorPrimitives.Multiply(o, factor, o);
                sum *= factor;
                max = largest;
            }

            TensorPrimitives.Subtract(weights, max, weights);
            TensorPrimitives.Exp(weights, weights);
            sum += Softmax.Sum(weights);
        }

        for (var l = 0; l < count; l += values.RunRows)
            AttentionTiles.AddValues(scores + l, ChunkRows, heads, values.Row(l), values.Stride, Math.Min(values.RunRows, count - l), Padded(valueWidth), states, stateWidth);
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

    private static int Padded(int width) => (width + 15) / 16 * 16;

    private static ref float Max(float* states, int head, int valueWidth) => ref states[((long)head * StateWidth(valueWidth)) + Padded(valueWidth)];

    private static ref float Sum(float* states, int head, int valueWidth) => ref states[((long)head * StateWidth(valueWidth)) + Padded(valueWidth) + 1];
}

/// <summary>
/// Some values of up to <see cref="RunningSoftmax.ChunkRows"/> consecutive cache rows as float32: where they lie, or decoded into a panel. Rows of one run
/// are <see cref="Stride"/> apart.
/// </summary>
internal readonly unsafe struct CacheChunk
{
    private readonly CachePages cache;
    private readonly int first;
    private readonly int start;
    private readonly int width;
    private readonly float* panel;

    /// <summary>Decodes the rows where they cannot be read in place.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="first">First row, a multiple of <see cref="RunningSoftmax.ChunkRows"/>.</param>
    /// <param name="count">Rows.</param>
    /// <param name="start">First value of each row.</param>
    /// <param name="width">Values of each row.</param>
    /// <param name="panel">Memory for count rows of width rounded up to 16; not used for what is read in place.</param>
    public CacheChunk(CachePages cache, int first, int count, int start, int width, float* panel)
    {
        this.cache = cache;
        this.first = first;
        this.start = start;
        this.width = width;
        Count = count;
        Width = (width + 15) / 16 * 16;
        RunRows = Math.Min(cache.PageTokens, RunningSoftmax.ChunkRows);
        if (cache.InPlace(width))
        {
            Stride = cache.Width;
            return;
        }

        this.panel = panel;
        Stride = Width;
        for (var l = 0; l < count; l++)
            cache.Decode(first + l, start, width, panel + ((long)l * Width));
    }

    /// <summary>Rows.</summary>
    public int Count { get; }

    /// <summary>Values of a row, up to whole vectors of 16; those beyond the width asked for are zero.</summary>
    public int Width { get; }

    /// <summary>Values from one row to the next.</summary>
    public int Stride { get; }

    /// <summary>Rows from any multiple of this on lie one behind the other.</summary>
    public int RunRows { get; }

    /// <summary>A row, counted from the chunk's first.</summary>
    public float* Row(int l) => panel != null ? panel + ((long)l * Width) : (float*)cache.Row(first + l) + start;

    /// <summary>Asks for these values of rows that lie in one page, counted from the cache's first.</summary>
    public void Prefetch(int row, int rows) => cache.Prefetch(row, rows, start, width);
}
