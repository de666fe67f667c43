using Hadal.Numerics.Formats;
using System.Numerics.Tensors;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>Shapes of latent attention, spelled as the letters of docs/SHAPES.md.</summary>
/// <param name="H">Heads.</param>
/// <param name="N">qk_nope_head_dim.</param>
/// <param name="R">qk_rope_head_dim.</param>
/// <param name="C">kv_lora_rank.</param>
/// <param name="U">v_head_dim.</param>
/// <param name="Scale">Softmax scale.</param>
public readonly record struct LatentAttentionShape(int H, int N, int R, int C, int U, float Scale);

/// <summary>
/// Causal attention over paged caches, one sequence at a time. A token's result depends on that token's query and on the rows before it, never on how many
/// tokens are processed together: scores of one (token, head) are computed for all earlier rows, normalised once, and summed in rising row order.
/// </summary>
/// <remarks>Shape letters: T new tokens, L cached rows (the new ones included), H heads, N nope, R rope, C latent, U value, G key/value heads, A head width.</remarks>
public static unsafe class AttentionKernel
{
    private const int TokenTile = 16;
    private const int HeadGroup = 8;

    /// <summary>Values of a latent cache row [c (C) | k (R)], padded with zeros to whole vectors of the dot product.</summary>
    public static int LatentRowWidth(int c, int r) => (c + r + DotProduct.Lanes - 1) / DotProduct.Lanes * DotProduct.Lanes;

    /// <summary>
    /// Latent attention in absorbed form (DeepSeek-V2 report section 2.1.2): queries are carried into the latent space, so that the cache is read as it is.
    /// out[t, h] = W_UV[h] sum_l softmax_l(scale * (W_UK[h]^T q_nope[t, h] . c[l] + q_rope[t, h] . k[l])) c[l].
    /// </summary>
    /// <param name="shape">H, N, R, C, U and the softmax scale.</param>
    /// <param name="query">[T, H, N + R], rotary part turned.</param>
    /// <param name="up">W_UK and W_UV.</param>
    /// <param name="cache">Rows [c (C) | k (R)], the T new ones already written.</param>
    /// <param name="firstPosition">Row of the first new token.</param>
    /// <param name="output">[T, H, U].</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The shapes do not belong together, or the cache has no such rows.</exception>
    public static void Absorbed(
        in LatentAttentionShape shape, ReadOnlySpan<float> query, KeyValueUp up, CachePages cache, int firstPosition, Span<float> output, int tokens, KernelThreads threads)
    {
        Check(query.Length, (long)tokens * shape.H * (shape.N + shape.R), output.Length, (long)tokens * shape.H * shape.U, cache, LatentRowWidth(shape.C, shape.R), firstPosition, tokens);
        up.Check(shape);
        fixed (float* q = query, o = output)
        {
            var tiles = (tokens + TokenTile - 1) / TokenTile;
            var headGroup = Math.Clamp(shape.H * tiles / threads.Count, 1, Math.Min(HeadGroup, shape.H));
            var groups = (shape.H + headGroup - 1) / headGroup;
            threads.Run(groups * tiles, 1, new AbsorbedJob(shape, q, up, cache, firstPosition, o, tokens, headGroup, threads));
        }
    }

    /// <summary>
    /// Attention over full keys and values held in the cache (grouped-query attention; with G = H, multi-head): query head h uses key/value head h * G / H.
    /// </summary>
    /// <param name="query">[T, H, A], turned.</param>
    /// <param name="heads">H.</param>
    /// <param name="keyValueHeads">G, a divisor of H.</param>
    /// <param name="headDim">A.</param>
    /// <param name="scale">Softmax scale.</param>
    /// <param name="cache">Rows [G, A] keys, then [G, A] values, the T new ones already written.</param>
    /// <param name="firstPosition">Row of the first new token.</param>
    /// <param name="output">[T, H, A].</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The shapes do not belong together, or the cache has no such rows.</exception>
    public static void GroupedQuery(
        ReadOnlySpan<float> query, int heads, int keyValueHeads, int headDim, float scale, CachePages cache, int firstPosition, Span<float> output, int tokens, KernelThreads threads)
    {
        if (keyValueHeads <= 0 || heads % keyValueHeads != 0)
            throw new ArgumentException($"{heads} query heads cannot share {keyValueHeads} key/value heads");
        Check(query.Length, (long)tokens * heads * headDim, output.Length, (long)tokens * heads * headDim, cache, 2L * keyValueHeads * headDim, firstPosition, tokens);
        fixed (float* q = query, o = output)
            threads.Run(heads * tokens, 1, new GroupedQueryJob(q, heads, keyValueHeads, headDim, scale, cache, firstPosition, o, threads));
    }

    /// <summary>
    /// Latent attention in naive form: keys and values of all rows are expanded head by head from the latents. Same mathematics as <see cref="Absorbed"/>,
    /// other order of operations; used where the official code's naive reading is asked for.
    /// </summary>
    /// <param name="shape">H, N, R, C, U and the softmax scale.</param>
    /// <param name="query">[T, H, N + R], rotary part turned.</param>
    /// <param name="up">W_UK and W_UV.</param>
    /// <param name="fp8Scales">Null for float32 activations; else the latents are quantised before they are expanded (W8A8), with scales of that kind.</param>
    /// <param name="cache">Rows [c (C) | k (R)], the T new ones already written.</param>
    /// <param name="firstPosition">Row of the first new token.</param>
    /// <param name="output">[T, H, U].</param>
    /// <param name="tokens">T.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The shapes do not belong together, or the cache has no such rows.</exception>
    public static void Naive(
        in LatentAttentionShape shape, ReadOnlySpan<float> query, KeyValueUp up, ScaleKind? fp8Scales, CachePages cache, int firstPosition, Span<float> output, int tokens, KernelThreads threads)
    {
        Check(query.Length, (long)tokens * shape.H * (shape.N + shape.R), output.Length, (long)tokens * shape.H * shape.U, cache, LatentRowWidth(shape.C, shape.R), firstPosition, tokens);
        up.Check(shape);
        if (fp8Scales is not null && (up.KeyTransposed || up.Key(0).Format != WeightFormat.F8_E4M3))
            throw new ArgumentException($"W8A8 needs the up-projection in one F8_E4M3 matrix, but it is {up.Key(0).Format}{(up.KeyTransposed ? ", split" : string.Empty)}");
        fixed (float* q = query, o = output)
            threads.Run(shape.H, 1, new NaiveJob(shape, q, up, fp8Scales, cache, firstPosition, o, tokens, threads));
    }

    private static void Check(long query, long queryExpected, long output, long outputExpected, CachePages cache, long widthExpected, int firstPosition, int tokens)
    {
        if (query != queryExpected || output != outputExpected || cache.Width != widthExpected)
            throw new ArgumentException($"query of {query} values (expected {queryExpected}), output of {output} (expected {outputExpected}), cache rows of {cache.Width} (expected {widthExpected})");
        if (tokens <= 0 || firstPosition < 0 || firstPosition + (long)tokens > Math.Min(cache.Capacity, int.MaxValue))
            throw new ArgumentException($"rows [{firstPosition}, {firstPosition + (long)tokens}) of a cache of {cache.Capacity}");
    }

    // MatMul uses the worker's first scratch inside these jobs, so they keep theirs in the second.
    private static float* JobScratch(KernelThreads threads, int worker, long values) => (float*)threads.JobScratch(worker, values * sizeof(float));

    private readonly struct AbsorbedJob(
        LatentAttentionShape shape, float* query, KeyValueUp up, CachePages cache, int firstPosition, float* output, int tokens, int headGroup, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (h, n, r, c, u, _) = shape;
            var groups = (h + headGroup - 1) / headGroup;
            var width = cache.Width;
            var length = firstPosition + tokens;
            var q_TGW = JobScratch(threads, worker, ((long)TokenTile * headGroup * (width + c)) + ((long)headGroup * length));
            var o_TGC = q_TGW + ((long)TokenTile * headGroup * width);
            var scores_GL = o_TGC + ((long)TokenTile * headGroup * c);
            var queryStride = h * (n + r);
            for (var item = start; item < end; item++)
            {
                var head = item % groups * headGroup;
                var heads = Math.Min(headGroup, h - head);
                var t0 = item / groups * TokenTile;
                var count = Math.Min(TokenTile, tokens - t0);
                var queryStep = headGroup * width;
                for (var g = 0; g < heads; g++)
                {
                    var q = query + ((long)t0 * queryStride) + ((long)(head + g) * (n + r));
                    up.AbsorbQuery(head + g, q, queryStride, q_TGW + ((long)g * width), queryStep, count, threads, worker);
                    for (var t = 0; t < count; t++)
                    {
                        var rope = new Span<float>(q_TGW + ((long)t * queryStep) + ((long)g * width) + c, width - c);
                        new ReadOnlySpan<float>(q + ((long)t * queryStride) + n, r).CopyTo(rope);
                        rope[r..].Clear();
                    }
                }

                for (var t = 0; t < count; t++)
                    Attend(q_TGW + ((long)t * queryStep), heads, firstPosition + t0 + t + 1, scores_GL, length, o_TGC + ((long)t * headGroup * c));
                for (var g = 0; g < heads; g++)
                {
                    up.ProjectValue(
                        head + g, o_TGC + ((long)g * c), headGroup * c, output + ((((long)t0 * h) + head + g) * u), h * u, count, threads, worker);
                }
            }
        }

        // One token, a group of heads: all of them share each cache row, so rows are read in runs that stay in L2, once for scores and once for values.
        private void Attend(float* q_GW, int heads, int visible, float* scores_GL, int scoreStride, float* o_GC)
        {
            var width = cache.Width;
            for (var l = 0; l < visible; l += cache.PageTokens)
                LatentTiles.Scores(q_GW, heads, cache.Row(l), Math.Min(cache.PageTokens, visible - l), width, scores_GL + l, scoreStride);
            for (var g = 0; g < heads; g++)
            {
                var scores = new Span<float>(scores_GL + ((long)g * scoreStride), visible);
                TensorPrimitives.Multiply(scores, shape.Scale, scores);
                Softmax.InPlace(scores);
            }

            new Span<float>(o_GC, heads * shape.C).Clear();
            for (var l = 0; l < visible; l += cache.PageTokens)
                LatentTiles.AddValues(scores_GL + l, scoreStride, heads, cache.Row(l), Math.Min(cache.PageTokens, visible - l), width, shape.C, o_GC);
        }
    }

    private readonly struct GroupedQueryJob(
        float* query, int heads, int keyValueHeads, int headDim, float scale, CachePages cache, int firstPosition, float* output, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
            {
                var t = item / heads;
                var head = item % heads;
                var offset = head * keyValueHeads / heads * headDim;
                var visible = firstPosition + t + 1;
                var scores_L = JobScratch(threads, worker, visible);
                var q = new ReadOnlySpan<float>(query + ((long)item * headDim), headDim);
                for (var l = 0; l < visible; l++)
                    scores_L[l] = scale * DotProduct.Dot(q, new ReadOnlySpan<float>(cache.Row(l) + offset, headDim));
                Softmax.InPlace(new Span<float>(scores_L, visible));
                var o = output + ((long)item * headDim);
                new Span<float>(o, headDim).Clear();
                for (var l = 0; l < visible; l++)
                    MatMul.AddScaled(cache.Row(l) + (keyValueHeads * headDim) + offset, scores_L[l], o, headDim);
            }
        }
    }

    private readonly struct NaiveJob(
        LatentAttentionShape shape, float* query, KeyValueUp up, ScaleKind? fp8Scales, CachePages cache, int firstPosition, float* output, int tokens, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (h, n, r, c, u, scale) = shape;
            var length = firstPosition + tokens;
            var scaleColumns = (c + WeightMatrix.ScaleBlock - 1) / WeightMatrix.ScaleBlock;
            var key_LN = JobScratch(threads, worker, ((long)length * (n + u + 1)) + ((long)cache.PageTokens * (c + scaleColumns)));
            var value_LU = key_LN + ((long)length * n);
            var scores_L = value_LU + ((long)length * u);
            var codes = scores_L + length;
            for (var head = start; head < end; head++)
            {
                // A page's rows are contiguous, so each page is one product.
                for (var l = 0; l < length; l += cache.PageTokens)
                {
                    var rows = Math.Min(cache.PageTokens, length - l);
                    Expand(head, cache.Row(l), rows, cache.Width, key_LN + ((long)l * n), value_LU + ((long)l * u), codes, worker);
                }

                for (var t = 0; t < tokens; t++)
                {
                    var q = query + ((((long)t * h) + head) * (n + r));
                    var visible = firstPosition + t + 1;
                    var qNope = new ReadOnlySpan<float>(q, n);
                    var qRope = new ReadOnlySpan<float>(q + n, r);
                    for (var l = 0; l < visible; l++)
                    {
                        scores_L[l] = scale * (DotProduct.Dot(qNope, new ReadOnlySpan<float>(key_LN + ((long)l * n), n))
                            + DotProduct.Dot(qRope, new ReadOnlySpan<float>(cache.Row(l) + c, r)));
                    }

                    Softmax.InPlace(new Span<float>(scores_L, visible));
                    var o = output + ((((long)t * h) + head) * u);
                    new Span<float>(o, u).Clear();
                    for (var l = 0; l < visible; l++)
                        MatMul.AddScaled(value_LU + ((long)l * u), scores_L[l], o, u);
                }
            }
        }

        private void Expand(int head, float* latent, int rows, int latentStride, float* keys, float* values, float* codes, int worker)
        {
            var (_, n, _, c, u, _) = shape;
            if (fp8Scales is not { } kind)
            {
                up.ExpandKeys(head, latent, latentStride, keys, n, rows, threads, worker);
                up.ProjectValue(head, latent, latentStride, values, u, rows, threads, worker);
                return;
            }

            var scaleColumns = (c + WeightMatrix.ScaleBlock - 1) / WeightMatrix.ScaleBlock;
            var scales = codes + ((long)rows * c);
            for (var row = 0; row < rows; row++)
            {
                ActivationQuantization.QuantizeRow(
                    new ReadOnlySpan<float>(latent + ((long)row * latentStride), c), new Span<float>(codes + ((long)row * c), c), new Span<float>(scales + ((long)row * scaleColumns), scaleColumns), kind);
            }

            Fp8MatMul.MultiplyOnWorker(up.Key(head), codes, c, scales, scaleColumns, keys, n, rows, threads, worker);
            Fp8MatMul.MultiplyOnWorker(up.Value(head), codes, c, scales, scaleColumns, values, u, rows, threads, worker);
        }
    }
}
