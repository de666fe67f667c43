using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

public static unsafe partial class AttentionKernel
{
    // A tile of tokens with the query heads of one key/value head.
    private readonly struct GroupedQueryJob(
        float* query, int heads, int keyValueHeads, int headDim, float scale, CachePages cache, int firstPosition, float* output, int tokens, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var shared = heads / keyValueHeads;
            var width = (headDim + 15) / 16 * 16;
            var stateWidth = RunningSoftmax.StateWidth(headDim);
            var q_THA = JobScratch(threads, worker, ((long)TokenTile * shared * (width + stateWidth + RunningSoftmax.ChunkRows)) + (2L * RunningSoftmax.ChunkRows * width));
            var state_TH = q_THA + ((long)TokenTile * shared * width);
            var scores = state_TH + ((long)TokenTile * shared * stateWidth);
            var keyPanel = scores + ((long)TokenTile * shared * RunningSoftmax.ChunkRows);
            var valuePanel = keyPanel + ((long)RunningSoftmax.ChunkRows * width);
            for (var item = start; item < end; item++)
            {
                var group = item % keyValueHeads;
                var t0 = item / keyValueHeads * TokenTile;
                var count = Math.Min(TokenTile, tokens - t0);
                for (var i = 0; i < count * shared; i++)
                {
                    var q = new Span<float>(q_THA + ((long)i * width), width);
                    q.Clear();
                    new ReadOnlySpan<float>(query + (Head(t0, group, i) * headDim), headDim).CopyTo(q);
                }

                RunningSoftmax.Begin(state_TH, count * shared, headDim);
                var length = firstPosition + t0 + count;
                for (var l = 0; l < length; l += RunningSoftmax.ChunkRows)
                {
                    var rows = Math.Min(RunningSoftmax.ChunkRows, length - l);
                    var keys = new CacheChunk(cache, l, rows, group, keyPanel);
                    var values = new CacheChunk(cache, l, rows, keyValueHeads + group, valuePanel);
                    var visible = firstPosition + t0 + 1 - l;
                    if (visible >= rows)
                    {
                        // Every token of the tile sees the whole chunk: all their heads share its rows.
                        RunningSoftmax.Add(q_THA, count * shared, scale, keys, values, headDim, rows, scores, state_TH);
                        continue;
                    }

                    for (var t = Math.Max(0, 1 - visible); t < count; t++)
                    {
                        RunningSoftmax.Add(
                            q_THA + ((long)t * shared * width), shared, scale, keys, values, headDim, Math.Min(rows, visible + t), scores, state_TH + ((long)t * shared * stateWidth));
                    }
                }

                RunningSoftmax.Finish(state_TH, count * shared, headDim);
                for (var i = 0; i < count * shared; i++)
                    new ReadOnlySpan<float>(state_TH + ((long)i * stateWidth), headDim).CopyTo(new Span<float>(output + (Head(t0, group, i) * headDim), headDim));
            }
        }

        // Row of [T, H] that is the i-th of a tile's tokens and a group's heads.
        private long Head(int t0, int group, int i)
        {
            var shared = heads / keyValueHeads;
            return ((long)(t0 + (i / shared)) * heads) + (group * shared) + (i % shared);
        }
    }
}
