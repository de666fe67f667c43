using System.Numerics;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>One sequence's run of tokens in a batch, and the rows they attend to.</summary>
/// <param name="Cache">Rows [c (C) | k (R)] of the sequence, the new ones already written.</param>
/// <param name="Start">The run's first token in the batch.</param>
/// <param name="Count">Its tokens.</param>
/// <param name="First">Cache row of its first token.</param>
public readonly record struct AttentionSegment(CachePages Cache, int Start, int Count, int First)
{
    /// <summary>One past the last token of the batch.</summary>
    internal int End => Start + Count;

    /// <summary>Rows that the last of <paramref name="count"/> tokens from <paramref name="t0"/> on sees.</summary>
    internal int Length(int t0, int count) => First + t0 + count;

    /// <summary>Spans of rows that the run touches.</summary>
    internal int Spans => RunningSoftmax.Spans(Length(0, Count));
}

/// <content>
/// Absorbed attention. Queries in the latent space are [T, G, W] and states [T, G, S] for any group of G heads. Runs of few tokens, as in decoding, are
/// processed together: queries of all of them are carried into the latent space at once, then spans of rows are dealt out evenly, whole or by heads, so that all workers
/// share the reading of the caches, then the values are carried out at once. A longer run is cut into tiles of tokens that each do all three.
/// </content>
public static unsafe partial class AttentionKernel
{
    // How many rows ahead of those in use the first chunk's are asked for.
    private const int RowsAhead = 8;

    // Fewer heads are not worth an item: a tile has as many.
    private const int LeastHeads = 4;

    // Values between the states of two spans: a core that walks through one reads ahead of itself, and must not take the lines that another is writing (docs/LOG.md).
    private const int SpanGap = 16384;

    // Values of memory that a span takes in the lists of all parts.
    private static long ItemValues(int heads) => Math.Max(1, heads / LeastHeads) * (long)sizeof(SpanItem) / sizeof(float);

    private static bool IsFew(in AttentionSegment segment) => segment.Count <= TokenTile;

    private static void Few(in AbsorbedPass pass, ReadOnlySpan<AttentionSegment> run, float* workspace)
    {
        var h = pass.Shape.H;
        fixed (AttentionSegment* segments = run)
        {
            var few = new FewTokens(pass, segments, run.Length, workspace);
            var steps = few.ShareOut();
            pass.Threads.Run(h, 1, new AbsorbJob(few));
            pass.Threads.Run(few.Parts * steps, 1, new SpanJob(few, steps));
            pass.Threads.Run(h, 1, new ProjectJob(few));
        }
    }

    private static void Many(in AbsorbedPass pass, in AttentionSegment segment)
    {
        var tiles = (segment.Count + TokenTile - 1) / TokenTile;
        var headGroup = HeadsOfItem(pass.Shape.H, tiles, pass.Threads.Count);
        pass.Threads.Run((pass.Shape.H + headGroup - 1) / headGroup * tiles, 1, new TileJob(pass, segment, headGroup));
    }

    // Heads that share the reading of a row: as many as leave each worker two items.
    private static int HeadsOfItem(int heads, int others, int workers)
    {
        var group = HeadGroup;
        while (group > 4 && (heads + group - 1) / group * others < 2 * workers)
            group /= 2;
        return Math.Min(group, heads);
    }

    // What the jobs have in common.
    private readonly struct AbsorbedPass(LatentAttentionShape shape, float* query, KeyValueUp up, int width, float* output, AttentionOperands operands, KernelThreads threads)
    {
        public LatentAttentionShape Shape => shape;

        /// <summary>W, of a cache row and of a query in the latent space.</summary>
        public int Width => width;

        public KernelThreads Threads => threads;

        public int StateWidth => RunningSoftmax.StateWidth(shape.C);

        public float* Scratch(int worker, long values) => JobScratch(threads, worker, values);

        /// <summary>Memory of <see cref="Attend"/>.</summary>
        public long AttendValues(int headGroup) => operands == AttentionOperands.BF16
            ? BfloatAttention.Values(TokenTile, headGroup, width, StateWidth)
            : (long)RunningSoftmax.ChunkRows * (headGroup + width);

        /// <summary>Heads that <see cref="Attend"/> takes of few tokens: as many as there is memory for where a chunk is packed for all of them.</summary>
        public int HeadsTogether(int tokens) => operands == AttentionOperands.BF16 ? TokenTile * HeadGroup / tokens : HeadGroup;

        /// <summary>One head's queries, carried into the latent space, with their rotary parts and zeros behind.</summary>
        public void Absorb(int head, int token, int count, float* q_TW, int stride, int worker)
        {
            var (h, n, r, c, _, _) = shape;
            var q = query + ((((long)token * h) + head) * (n + r));
            up.AbsorbQuery(head, q, h * (n + r), q_TW, stride, count, threads, worker);
            for (var t = 0; t < count; t++)
            {
                var rope = new Span<float>(q_TW + ((long)t * stride) + c, width - c);
                new ReadOnlySpan<float>(q + ((long)t * h * (n + r)) + n, r).CopyTo(rope);
                rope[r..].Clear();
            }
        }

        /// <summary>The states of a group of heads and some tokens of a segment over one span of rows.</summary>
        public void Attend(in AttentionSegment segment, int span, int heads, int t0, int count, float* q_TGW, int qStride, float* state_TGS, int stateStride, float* scratch)
        {
            for (var t = 0; t < count; t++)
                RunningSoftmax.Begin(state_TGS + ((long)t * stateStride), heads, shape.C);
            var (first, end) = (RunningSoftmax.SpanStart(span), Math.Min(RunningSoftmax.SpanStart(span + 1), segment.Length(t0, count)));
            AskForPages(segment.Cache, first, end);
            AskForPages(segment.Cache, first + RunningSoftmax.ChunkRows, end);
            if (operands == AttentionOperands.BF16)
                AttendBfloat(segment, first, end, heads, t0, count, q_TGW, qStride, state_TGS, stateStride, scratch);
            else
                AttendFloat(segment, first, end, heads, t0, count, q_TGW, qStride, state_TGS, stateStride, scratch);
        }

        private void AttendFloat(in AttentionSegment segment, int first, int end, int heads, int t0, int count, float* q_TGW, int qStride, float* state_TGS, int stateStride, float* scratch)
        {
            var panel = scratch + ((long)RunningSoftmax.ChunkRows * heads);
            for (var l = first; l < end; l += RunningSoftmax.ChunkRows)
            {
                // The next chunk's rows come while this one is computed, the first one's shortly before they are needed.
                var rows = Math.Min(RunningSoftmax.ChunkRows, end - l);
                var next = Next(segment.Cache, l, end);
                var chunk = new CacheChunk(segment.Cache, l, rows, 0, panel);
                var (during, after) = l == first ? (segment.Cache.Ahead(l + RowsAhead, rows - RowsAhead), next) : next.Halves();
                for (var t = 0; t < count; t++)
                {
                    var visible = Math.Min(rows, segment.Length(t0, t) + 1 - l);
                    if (visible <= 0)
                        continue;
                    RunningSoftmax.Add(
                        q_TGW + ((long)t * qStride), heads, shape.Scale, chunk, chunk, shape.C, visible, scratch, state_TGS + ((long)t * stateStride), during, after);
                    (during, after) = (default, default);
                }
            }
        }

        private void AttendBfloat(in AttentionSegment segment, int first, int end, int heads, int t0, int count, float* q_TGW, int qStride, float* state_TGS, int stateStride, float* scratch)
        {
            var bfloat = new BfloatAttention(count, heads, width, (shape.C + 15) / 16 * 16, scratch);
            for (var t = 0; t < count; t++)
                bfloat.SetQueries(t, q_TGW + ((long)t * qStride));
            for (var l = first; l < end; l += RunningSoftmax.ChunkRows)
            {
                var rows = Math.Min(RunningSoftmax.ChunkRows, end - l);
                bfloat.Add(segment.Cache, l, rows, segment.Length(t0, 1) - l, count, shape.Scale, state_TGS, stateStride, l == first, Next(segment.Cache, l, end));
            }
        }

        // The rows behind a chunk; pages of those behind them are looked up.
        private static ReadAhead Next(CachePages cache, int row, int end)
        {
            AskForPages(cache, row + (2 * RunningSoftmax.ChunkRows), end);
            var next = row + RunningSoftmax.ChunkRows;
            return cache.Ahead(next, Math.Min(RunningSoftmax.ChunkRows, end - next));
        }

        private static void AskForPages(CachePages cache, int row, int end) => cache.Ahead(row, Math.Min(RunningSoftmax.ChunkRows, end - row)).FetchPages();

        /// <summary>One head's values from its finished states.</summary>
        public void Project(int head, int token, int count, float* state_TS, int stride, int worker) =>
            up.ProjectValue(head, state_TS, stride, output + ((((long)token * shape.H) + head) * shape.U), shape.H * shape.U, count, threads, worker);
    }

    // A run of segments and its working memory: queries [T, H, W], states of the first spans [T, H, S], then those of later spans, segment by segment [span, T, H, S].
    private readonly struct FewTokens(AbsorbedPass pass, AttentionSegment* segments, int count, float* workspace)
    {
        public AbsorbedPass Pass => pass;

        public int Segments => count;

        /// <summary>Spans of all segments.</summary>
        public int SpanCount { get; } = CountSpans(segments, count);

        /// <summary>Parts that the spans are shared out in, one for each worker as far as each has heads enough.</summary>
        public int Parts => Math.Clamp(pass.Shape.H / LeastHeads, 1, pass.Threads.Count);

        public int Start => segments[0].Start;

        public int Tokens => segments[count - 1].End - Start;

        public float* Queries => workspace;

        public float* States => workspace + ((long)Tokens * pass.Shape.H * pass.Width);

        public float* LaterStates => States + ((long)Tokens * pass.Shape.H * pass.StateWidth) + SpanGap;

        // What each part takes, as many places each as there are spans.
        private SpanItem* Items => (SpanItem*)(LaterStates + LaterValues(count));

        public AttentionSegment* Segment(int i) => segments + i;

        /// <summary>Values from a segment's states of one span to those of the next.</summary>
        public long SpanValues(int i) => ((long)segments[i].Count * pass.Shape.H * pass.StateWidth) + SpanGap;

        /// <summary>Values of the states of later spans of the first <paramref name="end"/> segments.</summary>
        public long LaterValues(int end)
        {
            var values = 0L;
            for (var i = 0; i < end; i++)
                values += (segments[i].Spans - 1) * SpanValues(i);
            return values;
        }

        /// <summary>The place <paramref name="step"/> of what a part takes.</summary>
        public SpanItem Item(int part, int step) => Items[((long)part * SpanCount) + step];

        /// <summary>
        /// Deals the spans out, longest first, each to the part with the least work. What would leave one part waiting for another is taken by all of them, some heads each,
        /// which costs reading it again.
        /// </summary>
        /// <returns>Places of the part with the most; behind their last span others have empty ones.</returns>
        public int ShareOut()
        {
            var (most, total) = (0L, 0L);
            for (var i = 0; i < count; i++)
            {
                for (var span = 0; span < segments[i].Spans; span++)
                    (most, total) = (Math.Max(most, Work(i, span)), total + Work(i, span));
            }

            var load = stackalloc long[Parts];
            var taken = stackalloc int[Parts];
            new Span<long>(load, Parts).Clear();
            new Span<int>(taken, Parts).Clear();
            for (var size = BitOperations.Log2((ulong)most); size >= 0; size--)
            {
                for (var i = count - 1; i >= 0; i--)
                {
                    for (var span = segments[i].Spans - 1; span >= 0; span--)
                    {
                        var work = Work(i, span);
                        if (BitOperations.Log2((ulong)work) != size)
                            continue;
                        var least = 0;
                        for (var part = 1; part < Parts; part++)
                            least = load[part] < load[least] ? part : least;
                        var byHeads = load[least] + work > (total / Parts) + (work / 4);
                        for (var part = byHeads ? 0 : least; part < (byHeads ? Parts : least + 1); part++)
                        {
                            Items[((long)part * SpanCount) + taken[part]++] = new SpanItem(i, span, byHeads);
                            load[part] += byHeads ? work / Parts : work;
                        }
                    }
                }
            }

            var steps = 0;
            for (var part = 0; part < Parts; part++)
                steps = Math.Max(steps, taken[part]);
            for (var part = 0; part < Parts; part++)
            {
                for (var step = taken[part]; step < steps; step++)
                    Items[((long)part * SpanCount) + step] = new SpanItem(-1, 0, false);
            }

            return steps;
        }

        private static int CountSpans(AttentionSegment* segments, int count)
        {
            var spans = 0;
            for (var i = 0; i < count; i++)
                spans += segments[i].Spans;
            return spans;
        }

        // Rows times tokens.
        private long Work(int i, int span) =>
            (long)segments[i].Count * (Math.Min(RunningSoftmax.SpanStart(span + 1), segments[i].Length(0, segments[i].Count)) - RunningSoftmax.SpanStart(span));
    }

    // A span of a segment, all heads of it or those of a part; no segment: nothing.
    private readonly record struct SpanItem(int Segment, int Span, bool ByHeads);

    private readonly struct AbsorbJob(FewTokens few) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var pass = few.Pass;
            for (var head = start; head < end; head++)
                pass.Absorb(head, few.Start, few.Tokens, few.Queries + ((long)head * pass.Width), pass.Shape.H * pass.Width, worker);
        }
    }

    // Items are the steps of the first part, then those of the second, so that a worker's own are one behind the other.
    private readonly struct SpanJob(FewTokens few, int steps) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var h = few.Pass.Shape.H;
            var scratch = few.Pass.Scratch(worker, few.Pass.AttendValues(HeadGroup));
            for (var item = start; item < end; item++)
            {
                var (part, step) = Math.DivRem(item, steps);
                var own = few.Item(part, step);
                if (own.Segment >= 0)
                    Attend(own, own.ByHeads ? h * part / few.Parts : 0, own.ByHeads ? h * (part + 1) / few.Parts : h, scratch);
            }
        }

        private void Attend(SpanItem item, int head, int end, float* scratch)
        {
            var pass = few.Pass;
            var (queryStride, stateStride) = (pass.Shape.H * pass.Width, pass.Shape.H * pass.StateWidth);
            var segment = few.Segment(item.Segment);
            var token = segment->Start - few.Start;
            var states = item.Span == 0
                ? few.States + ((long)token * stateStride)
                : few.LaterStates + few.LaterValues(item.Segment) + ((item.Span - 1) * few.SpanValues(item.Segment));
            var group = pass.HeadsTogether(segment->Count);
            for (; head < end; head += group)
            {
                pass.Attend(
                    *segment, item.Span, Math.Min(group, end - head), 0, segment->Count, few.Queries + ((long)token * queryStride) + ((long)head * pass.Width), queryStride,
                    states + ((long)head * pass.StateWidth), stateStride, scratch);
            }
        }
    }

    // Spans brought together in their order, and values.
    private readonly struct ProjectJob(FewTokens few) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var pass = few.Pass;
            var (h, c) = (pass.Shape.H, pass.Shape.C);
            for (var head = start; head < end; head++)
            {
                var later = few.LaterStates;
                for (var i = 0; i < few.Segments; i++)
                {
                    var segment = few.Segment(i);
                    for (var t = 0; t < segment->Count; t++)
                    {
                        var state = few.States + (((((long)segment->Start - few.Start + t) * h) + head) * pass.StateWidth);
                        for (var span = 1; span < segment->Spans; span++)
                            RunningSoftmax.Merge(state, later + ((span - 1) * few.SpanValues(i)) + ((((long)t * h) + head) * pass.StateWidth), 1, c);
                        RunningSoftmax.Finish(state, 1, c);
                    }

                    later += (segment->Spans - 1) * few.SpanValues(i);
                }

                pass.Project(head, few.Start, few.Tokens, few.States + ((long)head * pass.StateWidth), h * pass.StateWidth, worker);
            }
        }
    }

    // Many tokens: all of it for one tile of tokens and one group of heads.
    private readonly struct TileJob(AbsorbedPass pass, AttentionSegment segment, int headGroup) : IKernelJob
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
                var count = Math.Min(TokenTile, segment.Count - t0);
                for (var g = 0; g < heads; g++)
                    pass.Absorb(head + g, segment.Start + t0, count, q_TGW + ((long)g * pass.Width), queryStride, worker);
                pass.Attend(segment, 0, heads, t0, count, q_TGW, queryStride, state_TGS, stateStride, scratch);
                for (var span = 1; span < RunningSoftmax.Spans(segment.Length(t0, count)); span++)
                {
                    pass.Attend(segment, span, heads, t0, count, q_TGW, queryStride, span_TGS, stateStride, scratch);
                    for (var t = 0; t < count; t++)
                        RunningSoftmax.Merge(state_TGS + ((long)t * stateStride), span_TGS + ((long)t * stateStride), heads, c);
                }

                for (var t = 0; t < count; t++)
                    RunningSoftmax.Finish(state_TGS + ((long)t * stateStride), heads, c);
                for (var g = 0; g < heads; g++)
                    pass.Project(head + g, segment.Start + t0, count, state_TGS + ((long)g * pass.StateWidth), stateStride, worker);
            }
        }
    }
}
