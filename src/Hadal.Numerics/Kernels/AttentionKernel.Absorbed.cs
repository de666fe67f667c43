using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

public static unsafe partial class AttentionKernel
{
    // What the jobs of absorbed attention have in common. Queries in the latent space are [T, G, W] and states [T, G, S] for any group of G heads.
    private readonly struct AbsorbedPass(
        LatentAttentionShape shape, float* query, KeyValueUp up, CachePages cache, int firstPosition, float* output, int tokens, KernelThreads threads)
    {
        public LatentAttentionShape Shape => shape;

        public int Tokens => tokens;

        public int Width => cache.Width;

        public int StateWidth => RunningSoftmax.StateWidth(shape.C);

        /// <summary>Rows that the last of <paramref name="count"/> tokens from <paramref name="t0"/> on sees.</summary>
        public int Length(int t0, int count) => firstPosition + t0 + count;

        public float* Scratch(int worker, long values) => JobScratch(threads, worker, values);

        /// <summary>Memory of <see cref="Attend"/>.</summary>
        public long AttendValues(int headGroup) => (long)RunningSoftmax.ChunkRows * (headGroup + cache.Width);

        /// <summary>One head's queries, carried into the latent space, with their rotary parts and zeros behind.</summary>
        public void Absorb(int head, int t0, int count, float* q_TW, int stride, int worker)
        {
            var (h, n, r, c, _, _) = shape;
            var q = query + ((((long)t0 * h) + head) * (n + r));
            up.AbsorbQuery(head, q, h * (n + r), q_TW, stride, count, threads, worker);
            for (var t = 0; t < count; t++)
            {
                var rope = new Span<float>(q_TW + ((long)t * stride) + c, cache.Width - c);
                new ReadOnlySpan<float>(q + ((long)t * h * (n + r)) + n, r).CopyTo(rope);
                rope[r..].Clear();
            }
        }

        /// <summary>The states of a group of heads over one span of rows.</summary>
        public void Attend(int span, int heads, int t0, int count, float* q_TGW, int qStride, float* state_TGS, int stateStride, float* scratch)
        {
            for (var t = 0; t < count; t++)
                RunningSoftmax.Begin(state_TGS + ((long)t * stateStride), heads, shape.C);
            var end = Math.Min((span + 1) * RunningSoftmax.SpanRows, Length(t0, count));
            var panel = scratch + ((long)RunningSoftmax.ChunkRows * heads);
            for (var l = span * RunningSoftmax.SpanRows; l < end; l += RunningSoftmax.ChunkRows)
            {
                var rows = Math.Min(RunningSoftmax.ChunkRows, end - l);
                var chunk = new CacheChunk(cache, l, rows, 0, cache.Width, panel);
                var ahead = cache.Ahead(l + rows, Math.Min(RunningSoftmax.ChunkRows, end - l - rows));
                for (var t = 0; t < count; t++)
                {
                    var visible = Math.Min(rows, Length(t0, t) + 1 - l);
                    if (visible <= 0)
                        continue;
                    RunningSoftmax.Add(q_TGW + ((long)t * qStride), heads, shape.Scale, chunk, chunk, shape.C, visible, scratch, state_TGS + ((long)t * stateStride), ahead);
                    ahead = default;
                }
            }
        }

        /// <summary>One head's values from its finished states.</summary>
        public void Project(int head, int t0, int count, float* state_TS, int stride, int worker) =>
            up.ProjectValue(head, state_TS, stride, output + ((((long)t0 * shape.H) + head) * shape.U), shape.H * shape.U, count, threads, worker);
    }

    // Few tokens, first: queries [T, H, W].
    private readonly struct AbsorbJob(AbsorbedPass pass, float* q_THW) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var head = start; head < end; head++)
                pass.Absorb(head, 0, pass.Tokens, q_THW + ((long)head * pass.Width), pass.Shape.H * pass.Width, worker);
        }
    }

    // Second: states [span, T, H, S], an item for each span and group of heads.
    private readonly struct SpanJob(AbsorbedPass pass, float* q_THW, float* states, int headGroup) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var h = pass.Shape.H;
            var groups = (h + headGroup - 1) / headGroup;
            var scratch = pass.Scratch(worker, pass.AttendValues(headGroup));
            for (var item = start; item < end; item++)
            {
                var span = item / groups;
                var head = item % groups * headGroup;
                pass.Attend(
                    span, Math.Min(headGroup, h - head), 0, pass.Tokens, q_THW + ((long)head * pass.Width), h * pass.Width,
                    states + ((((long)span * pass.Tokens * h) + head) * pass.StateWidth), h * pass.StateWidth, scratch);
            }
        }
    }

    // Third: spans brought together in their order, and values.
    private readonly struct ProjectJob(AbsorbedPass pass, float* states, int spans) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (h, c) = (pass.Shape.H, pass.Shape.C);
            for (var head = start; head < end; head++)
            {
                for (var t = 0; t < pass.Tokens; t++)
                {
                    var state = states + ((((long)t * h) + head) * pass.StateWidth);
                    for (var span = 1; span < spans; span++)
                        RunningSoftmax.Merge(state, state + ((long)span * pass.Tokens * h * pass.StateWidth), 1, c);
                    RunningSoftmax.Finish(state, 1, c);
                }

                pass.Project(head, 0, pass.Tokens, states + ((long)head * pass.StateWidth), h * pass.StateWidth, worker);
            }
        }
    }

    // Many tokens: all of it for one tile of tokens and one group of heads.
    private readonly struct TileJob(AbsorbedPass pass, int headGroup) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (h, c) = (pass.Shape.H, pass.Shape.C);
            var groups = (h + headGroup - 1) / headGroup;
            var (queryStride, stateStride) = (headGroup * pass.Width, headGroup * pass.StateWidth);
            var q_TGW = pass.Scratch(worker, (TokenTile * (queryStride + (2L * stateStride))) + pass.AttendValues(headGroup));
            var state_TGS = q_TGW + ((long)TokenTile * queryStride);
            var span_TGS = state_TGS + ((long)TokenTile * stateStride);
            var scratch = span_TGS + ((long)TokenTile * stateStride);
            for (var item = start; item < end; item++)
            {
                var head = item % groups * headGroup;
                var heads = Math.Min(headGroup, h - head);
                var t0 = item / groups * TokenTile;
                var count = Math.Min(TokenTile, pass.Tokens - t0);
                for (var g = 0; g < heads; g++)
                    pass.Absorb(head + g, t0, count, q_TGW + ((long)g * pass.Width), queryStride, worker);
                pass.Attend(0, heads, t0, count, q_TGW, queryStride, state_TGS, stateStride, scratch);
                for (var span = 1; span < RunningSoftmax.Spans(pass.Length(t0, count)); span++)
                {
                    pass.Attend(span, heads, t0, count, q_TGW, queryStride, span_TGS, stateStride, scratch);
                    for (var t = 0; t < count; t++)
                        RunningSoftmax.Merge(state_TGS + ((long)t * stateStride), span_TGS + ((long)t * stateStride), heads, c);
                }

                for (var t = 0; t < count; t++)
                    RunningSoftmax.Finish(state_TGS + ((long)t * stateStride), heads, c);
                for (var g = 0; g < heads; g++)
                    pass.Project(head + g, t0, count, state_TGS + ((long)g * pass.StateWidth), stateStride, worker);
            }
        }
    }
}
