using Hadal.Numerics.Formats;
using System.Numerics.Tensors;
using Hadal.Numerics.MachineCode;
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

/// <summary>In what precision the products of attention with the cache take their operands; sums and softmax are float32.</summary>
public enum AttentionOperands
{
    /// <summary>Float32.</summary>
    F32,

    /// <summary>Queries, cached rows and softmax weights rounded to bfloat16.</summary>
    BF16,
}

/// <summary>
/// Causal attention over paged caches. A token's result depends on that token's query and on the rows before it, never on how many
/// tokens are processed together: rows are taken in chunks at fixed places (<see cref="RunningSoftmax"/>), in the naive form all at once.
/// </summary>
/// <remarks>
/// Rows are decoded a chunk at a time into memory that stays in the second-level cache, once for all heads and tokens that read them; whole float32 rows, and all
/// rows where fewer than four heads share them, are read where they lie. The next chunk is fetched meanwhile.
/// Shape letters: T new tokens, L cached rows (the new ones included), H heads, N nope, R rope, C latent, U value, G key/value heads, A head width.
/// </remarks>
public static unsafe partial class AttentionKernel
{
    private const int TokenTile = 16;
    private const int HeadGroup = 16;
    private const int Line = 64;

    /// <summary>Values of a latent cache row [c (C) | k (R)], padded with zeros to whole vectors of the dot product.</summary>
    public static int LatentRowWidth(int c, int r) => (c + r + DotProduct.Lanes - 1) / DotProduct.Lanes * DotProduct.Lanes;

    /// <summary>
    /// What attention over a cache is best multiplied in: bfloat16 where rows were rounded anyway and the processor multiplies it by itself (vdpbf16ps), which is twice as fast.
    /// </summary>
    public static AttentionOperands OperandsFor(CacheFormat cache) => cache != CacheFormat.F32 && KernelVariant.Bf16 && DotTiles.Find(wide: true, few: false) != null
        ? AttentionOperands.BF16
        : AttentionOperands.F32;

    /// <summary>
    /// Latent attention in absorbed form (DeepSeek-V2 report section 2.1.2): queries are carried into the latent space, so that the cache is read as it is.
    /// out[t, h] = W_UV[h] sum_l softmax_l(scale * (W_UK[h]^T q_nope[t, h] . c[l] + q_rope[t, h] . k[l])) c[l].
    /// </summary>
    /// <param name="shape">H, N, R, C, U and the softmax scale.</param>
    /// <param name="query">[T, H, N + R], rotary part turned.</param>
    /// <param name="up">W_UK and W_UV.</param>
    /// <param name="segments">The sequences' runs of tokens, together the T tokens in their order.</param>
    /// <param name="output">[T, H, U].</param>
    /// <param name="workspace">At least <see cref="AbsorbedWorkspace"/> values.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <param name="operands">Of the products with the cache.</param>
    /// <exception cref="ArgumentException">The shapes do not belong together, or a cache has no such rows.</exception>
    public static void Absorbed(
        in LatentAttentionShape shape, ReadOnlySpan<float> query, KeyValueUp up, ReadOnlySpan<AttentionSegment> segments, Span<float> output, Span<float> workspace, KernelThreads threads,
        AttentionOperands operands = AttentionOperands.F32)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (segments.IsEmpty)
            throw new ArgumentException("no tokens", nameof(segments));
        var (tokens, width) = (segments[^1].End, LatentRowWidth(shape.C, shape.R));
        var next = 0;
        foreach (var segment in segments)
        {
            if (segment.Start != next)
                throw new ArgumentException($"a run begins at token {segment.Start}, expected {next}", nameof(segments));
            next = segment.End;
            Check(query.Length, (long)tokens * shape.H * (shape.N + shape.R), output.Length, (long)tokens * shape.H * shape.U, segment.Cache, CacheLayout.Latent(segment.Cache.Format, shape.C, shape.R), segment.First, segment.Count);
        }

        up.Check(shape);
        if (workspace.Length < AbsorbedWorkspace(shape, segments))
            throw new ArgumentException($"a workspace of {workspace.Length} values, expected {AbsorbedWorkspace(shape, segments)}", nameof(workspace));
        fixed (float* q = query, o = output, anywhere = workspace)
        {
            // Vectors that straddle two cache lines take twice as long to load.
            var memory = (float*)(((nuint)anywhere + Line - 1) & ~(nuint)(Line - 1));
            var pass = new AbsorbedPass(shape, q, up, width, o, operands, threads);
            for (int i = 0, end; i < segments.Length; i = end)
            {
                end = i;
                while (end < segments.Length && IsFew(segments[end]))
                    end++;
                if (end > i)
                    Few(pass, segments[i..end], memory);
                else
                    Many(pass, segments[end++]);
            }
        }
    }

    /// <summary>Values of working memory that <see cref="Absorbed"/> needs.</summary>
    /// <param name="shape">H, N, R, C, U.</param>
    /// <param name="segments">The runs of tokens.</param>
    public static long AbsorbedWorkspace(in LatentAttentionShape shape, ReadOnlySpan<AttentionSegment> segments)
    {
        // Where a longer run lies between those of few tokens, they take turns with it: this is more than enough.
        var (values, spans) = (0L, 0L);
        foreach (var segment in segments)
        {
            if (!IsFew(segment))
                continue;
            values += segment.Count * (LatentRowWidth(shape.C, shape.R) + ((long)segment.Spans * RunningSoftmax.StateWidth(shape.C)));
            spans += segment.Spans;
        }

        return values == 0 ? 0 : (Line / sizeof(float)) + (shape.H * values) + (spans * (SpanGap + ItemValues(shape.H)));
    }

    /// <summary>
    /// Attention over full keys and values held in the cache (grouped-query attention; with G = H, multi-head): query head h uses key/value head h * G / H.
    /// </summary>
    /// <param name="query">[T, H, A], turned.</param>
    /// <param name="heads">H.</param>
    /// <param name="keyValueHeads">G, a divisor of H.</param>
    /// <param name="headDim">A.</param>
    /// <param name="scale">Softmax scale.</param>
    /// <param name="cache">Rows of <see cref="CacheLayout.KeysAndValues"/>, the T new ones already written.</param>
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
        Check(query.Length, (long)tokens * heads * headDim, output.Length, (long)tokens * heads * headDim, cache, CacheLayout.KeysAndValues(cache.Format, keyValueHeads, headDim), firstPosition, tokens);
        fixed (float* q = query, o = output)
            threads.Run(keyValueHeads * ((tokens + TokenTile - 1) / TokenTile), 1, new GroupedQueryJob(q, heads, keyValueHeads, headDim, scale, cache, firstPosition, o, tokens, threads));
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
        Check(query.Length, (long)tokens * shape.H * (shape.N + shape.R), output.Length, (long)tokens * shape.H * shape.U, cache, CacheLayout.Latent(cache.Format, shape.C, shape.R), firstPosition, tokens);
        up.Check(shape);
        if (fp8Scales is not null && (up.KeyTransposed || up.Key(0).Format != WeightFormat.F8_E4M3))
            throw new ArgumentException($"W8A8 needs the up-projection in one F8_E4M3 matrix, but it is {up.Key(0).Format}{(up.KeyTransposed ? ", split" : string.Empty)}");
        fixed (float* q = query, o = output)
            threads.Run(shape.H, 1, new NaiveJob(shape, q, up, fp8Scales, cache, firstPosition, o, tokens, threads));
    }

    private static void Check(long query, long queryExpected, long output, long outputExpected, CachePages cache, CacheLayout layoutExpected, int firstPosition, int tokens)
    {
        if (query != queryExpected || output != outputExpected || cache.Layout != layoutExpected)
            throw new ArgumentException($"query of {query} values (expected {queryExpected}), output of {output} (expected {outputExpected}), {cache.Layout} (expected {layoutExpected})");
        if (tokens <= 0 || firstPosition < 0 || firstPosition + (long)tokens > Math.Min(cache.Capacity, int.MaxValue))
            throw new ArgumentException($"rows [{firstPosition}, {firstPosition + (long)tokens}) of a cache of {cache.Capacity}");
    }

    // MatMul uses the worker's first scratch inside these jobs, so they keep theirs in the second.
    private static float* JobScratch(KernelThreads threads, int worker, long values) => (float*)threads.JobScratch(worker, values * sizeof(float));
}
