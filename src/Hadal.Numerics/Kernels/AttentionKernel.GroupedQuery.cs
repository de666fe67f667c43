using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

public static unsafe partial class AttentionKernel
{
    // Items are the key/value heads of the first tile of tokens, then those of the next.
    private readonly struct GroupedQueryJob(
        float* query, int heads, int keyValueHeads, int headDim, float scale, CachePages cache, int firstPosition, float* output, int tokens, KernelThreads threads) : IKernelJob
    {
        // Query heads of one key/value head.
        private int Shared => heads / keyValueHeads;

        private int Width => (headDim + 15) / 16 * 16;

        private int StateWidth => RunningSoftmax.StateWidth(headDim);

        public void Invoke(int start, int end, int worker)
        {
            for (int next; start < end; start = next)
            {
                var (tile, group) = Math.DivRem(start, keyValueHeads);
                next = Math.Min(end, (tile + 1) * keyValueHeads);
                Tile(tile * TokenTile, group, group + next - start, worker);
            }
        }

        // Some heads of a tile of tokens: all of them pass a chunk of rows before the next one, since their parts of it lie one behind the other.
        private void Tile(int t0, int firstGroup, int endGroup, int worker)
        {
            var count = Math.Min(TokenTile, tokens - t0);
            var (queryValues, stateValues) = ((long)count * Shared * Width, (long)count * Shared * StateWidth);
            var groups = endGroup - firstGroup;
            var q_GTHA = JobScratch(threads, worker, (groups * (queryValues + stateValues)) + ((long)count * Shared * RunningSoftmax.ChunkRows) + (2L * RunningSoftmax.ChunkRows * Width));
            var state_GTH = q_GTHA + (groups * queryValues);
            var scores = state_GTH + (groups * stateValues);
            var panels = scores + ((long)count * Shared * RunningSoftmax.ChunkRows);
            for (var group = firstGroup; group < endGroup; group++)
                ReadQueries(t0, count, group, q_GTHA + ((group - firstGroup) * queryValues));
            RunningSoftmax.Begin(state_GTH, groups * count * Shared, headDim);

            var length = firstPosition + t0 + count;
            for (var l = 0; l < length; l += RunningSoftmax.ChunkRows)
            {
                for (var group = firstGroup; group < endGroup; group++)
                {
                    // What is needed next comes meanwhile.
                    var (row, part) = group + 1 < endGroup ? (l, group + 1) : (l + RunningSoftmax.ChunkRows, firstGroup);
                    var rows = Math.Min(RunningSoftmax.ChunkRows, length - row);
                    var (during, after) = (cache.Ahead(row, rows, part), cache.Ahead(row, rows, keyValueHeads + part));
                    Chunk(l, Math.Min(RunningSoftmax.ChunkRows, length - l), t0, count, group, q_GTHA + ((group - firstGroup) * queryValues), state_GTH + ((group - firstGroup) * stateValues), scores, panels, during, after);
                }
            }

            RunningSoftmax.Finish(state_GTH, groups * count * Shared, headDim);
            for (var group = firstGroup; group < endGroup; group++)
                WriteOutputs(t0, count, group, state_GTH + ((group - firstGroup) * stateValues));
        }

        // One head's part of a chunk.
        private void Chunk(int l, int rows, int t0, int count, int group, float* q_THA, float* state_TH, float* scores, float* panels, ReadAhead during, ReadAhead after)
        {
            var asStored = count * Shared < AttentionTiles.ManyHeads;
            var keys = new CacheChunk(cache, l, rows, group, panels, asStored);
            var values = new CacheChunk(cache, l, rows, keyValueHeads + group, panels + ((long)RunningSoftmax.ChunkRows * Width), asStored);
            var visible = firstPosition + t0 + 1 - l;
            if (visible >= rows)
            {
                // Every token of the tile sees the whole chunk: all their heads share its rows.
                RunningSoftmax.Add(q_THA, count * Shared, scale, keys, values, headDim, rows, scores, state_TH, during, after);
                return;
            }

            for (var t = Math.Max(0, 1 - visible); t < count; t++)
            {
                RunningSoftmax.Add(
                    q_THA + ((long)t * Shared * Width), Shared, scale, keys, values, headDim, Math.Min(rows, visible + t), scores, state_TH + ((long)t * Shared * StateWidth), during, after);
                (during, after) = (default, default);
            }
        }

        private void ReadQueries(int t0, int count, int group, float* q_THA)
        {
            for (var i = 0; i < count * Shared; i++, q_THA += Width)
            {
                new Span<float>(q_THA, Width).Clear();
                new ReadOnlySpan<float>(query + (Head(t0, group, i) * headDim), headDim).CopyTo(new Span<float>(q_THA, headDim));
            }
        }

        private void WriteOutputs(int t0, int count, int group, float* state_TH)
        {
            for (var i = 0; i < count * Shared; i++, state_TH += StateWidth)
                new ReadOnlySpan<float>(state_TH, headDim).CopyTo(new Span<float>(output + (Head(t0, group, i) * headDim), headDim));
        }

        // Row of [T, H] that is the i-th of a tile's tokens and a group's heads.
        private long Head(int t0, int group, int i) => ((long)(t0 + (i / Shared)) * heads) + (group * Shared) + (i % Shared);
    }
}
