using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// Attention with bfloat16 operands, a chunk of rows at a time: queries, cached rows and softmax weights are rounded, products are summed in float32 as
/// <see cref="GemmTile"/> does it, and softmax is float32. The heads of several tokens are the rows of one product, so that a chunk is packed once for all of them.
/// What a token gets does not depend on which others come with it. So do FlashMLA and every implementation on tensor cores.
/// </summary>
/// <remarks>Shape letters: T tokens, G heads of a group, L rows of a chunk, W width of a cache row and V of its latent, up to whole vectors of 16.</remarks>
internal readonly unsafe struct BfloatAttention
{
    private const int ChunkRows = RunningSoftmax.ChunkRows;
    private const int SpareColumns = 32;

    private readonly int heads;
    private readonly int width;
    private readonly int valueWidth;
    private readonly byte* query_TGW;
    private readonly byte* weight_TGL;
    private readonly float* score_TGL;
    private readonly float* spare;
    private readonly float* decoded_LW;
    private readonly byte* rounded_LW;
    private readonly byte* packed;

    /// <summary>Lays out working memory.</summary>
    /// <param name="tokens">T, at most.</param>
    /// <param name="heads">G.</param>
    /// <param name="width">W, a multiple of 16.</param>
    /// <param name="valueWidth">V, a multiple of 16.</param>
    /// <param name="memory"><see cref="Values"/> values, 64-byte aligned.</param>
    public BfloatAttention(int tokens, int heads, int width, int valueWidth, float* memory)
    {
        (this.heads, this.width, this.valueWidth) = (heads, width, valueWidth);
        var rows = (tokens * heads) + GemmTile.Rows;
        score_TGL = memory;
        weight_TGL = (byte*)(score_TGL + ((long)rows * ChunkRows));
        query_TGW = weight_TGL + ((long)rows * ChunkRows * sizeof(ushort));
        spare = (float*)(query_TGW + ((long)rows * width * sizeof(ushort)));
        decoded_LW = spare + (GemmTile.Rows * SpareColumns);
        rounded_LW = (byte*)(decoded_LW + ((long)ChunkRows * width));
        packed = rounded_LW + ((long)ChunkRows * width * sizeof(ushort));
    }

    /// <summary>Values of working memory.</summary>
    /// <inheritdoc cref="BfloatAttention(int, int, int, int, float*)"/>
    public static long Values(int tokens, int heads, int width, int valueWidth)
    {
        var rows = (long)(tokens * heads) + GemmTile.Rows;
        var panels = Math.Max(PackedMatrix.ByteLength(WeightFormat.BF16, width, ChunkRows), PackedMatrix.ByteLength(WeightFormat.BF16, ChunkRows, valueWidth));
        return (rows * (ChunkRows + ((ChunkRows + width) / 2))) + (GemmTile.Rows * SpareColumns) + (ChunkRows * (width + (width / 2L))) + (panels / sizeof(float));
    }

    /// <summary>Rounds the queries of a token.</summary>
    /// <param name="token">Which of T.</param>
    /// <param name="q_GW">[G, W].</param>
    public void SetQueries(int token, float* q_GW) =>
        BF16.Encode(new ReadOnlySpan<float>(q_GW, heads * width), new Span<byte>(query_TGW + ((long)token * heads * width * sizeof(ushort)), heads * width * sizeof(ushort)));

    /// <summary>Adds the rows of a chunk to the states of all tokens.</summary>
    /// <param name="cache">Where the rows lie.</param>
    /// <param name="first">First row of the chunk.</param>
    /// <param name="count">L.</param>
    /// <param name="seen">Rows of the chunk that the first token sees; each further one sees one more. May be negative.</param>
    /// <param name="tokens">T.</param>
    /// <param name="scale">Softmax scale.</param>
    /// <param name="state_TGS">[T, G, S], tokens <paramref name="stateStride"/> apart.</param>
    /// <param name="stateStride">Values from one token's states to the next.</param>
    /// <param name="isFirst">Whether the states have seen no row.</param>
    /// <param name="ahead">What to bring into the cache meanwhile.</param>
    public void Add(CachePages cache, int first, int count, int seen, int tokens, float scale, float* state_TGS, int stateStride, bool isFirst, ReadAhead ahead)
    {
        var rows = Rows(cache, first, count);
        var keys = new PackedMatrix(WeightFormat.BF16, packed, width, count);
        keys.PackTransposed(rows, 0, keys.Panels);
        var (during, after) = ahead.Halves();
        Multiply(query_TGW, width * sizeof(ushort), tokens * heads, keys, score_TGL, ChunkRows, false, during);
        for (var t = 0; t < tokens; t++)
        {
            var scores = score_TGL + ((long)t * heads * ChunkRows);
            if (seen + t > 0)
                RunningSoftmax.Weigh(scores, heads, Math.Min(count, seen + t), scale, state_TGS + ((long)t * stateStride), valueWidth);
            else
                new Span<float>(scores, heads * ChunkRows).Clear();
        }

        BF16.Encode(new ReadOnlySpan<float>(score_TGL, tokens * heads * ChunkRows), new Span<byte>(weight_TGL, tokens * heads * ChunkRows * sizeof(ushort)));
        var values = new PackedMatrix(WeightFormat.BF16, packed, count, valueWidth);
        values.PackRows(new MatrixView(rows.Format, rows.Data, count, valueWidth, rows.Stride), [], 0, values.Panels);
        var stateWidth = RunningSoftmax.StateWidth(valueWidth);
        var together = stateStride == heads * stateWidth ? tokens : 1;
        for (var t = 0; t < tokens; t += together)
        {
            Multiply(
                weight_TGL + ((long)t * heads * ChunkRows * sizeof(ushort)), ChunkRows * sizeof(ushort), together * heads, values, state_TGS + ((long)t * stateStride), stateWidth,
                !isFirst, t == 0 ? after : default);
        }
    }

    // As they lie where they are bfloat16 one after the other, else rounded.
    private MatrixView Rows(CachePages cache, int first, int count)
    {
        if (cache.TryView(first, count, 0, out var view))
            return view;
        var chunk = new CacheChunk(cache, first, count, 0, decoded_LW);
        BF16.Encode(new ReadOnlySpan<float>(chunk.Rows, count * width), new Span<byte>(rounded_LW, count * width * sizeof(ushort)));
        return new MatrixView(WeightFormat.BF16, rounded_LW, count, width, width);
    }

    // C (+)= A B; behind the last row of A lies more memory.
    private void Multiply(byte* a, int aRow, int rows, in PackedMatrix b, float* c, int cStride, bool accumulate, ReadAhead ahead)
    {
        // Heads of one token are seldom a multiple of a tile's rows, those of many leave little over.
        var few = rows % GemmTile.Rows != 0 && rows % GemmTile.FewRows == 0 && rows < 3 * GemmTile.Rows;
        var tileRows = few ? GemmTile.FewRows : GemmTile.Rows;
        var walk = ahead.Steps((long)b.Panels * ((rows + tileRows - 1) / tileRows) * b.Steps, null);
        var next = walk.Next;
        for (var panel = 0; panel < b.Panels; panel++)
        {
            var column = panel * PackedMatrix.PanelColumns;
            var tile = new GemmTile
            {
                ARow = aRow, AStep = sizeof(uint), B = b.Panel(panel), Steps = b.Steps, Accumulate = accumulate ? 1 : 0,
                Columns = Math.Min(PackedMatrix.PanelColumns, (b.Columns - column + 15) / 16 * 16), AheadStep = walk.Bytes, Few = few ? 1 : 0,
            };
            for (var row = 0; row < rows; row += tileRows, next += walk.Bytes * b.Steps)
            {
                tile.A = a + ((long)row * aRow);
                tile.Ahead = (byte*)next;
                var target = c + ((long)row * cStride) + column;
                var whole = rows - row >= tileRows;
                tile.C = (byte*)(whole ? target : spare);
                tile.CRow = (whole ? cStride : SpareColumns) * sizeof(float);
                if (!whole)
                    Move(target, cStride, spare, SpareColumns, rows - row, (int)tile.Columns);
                GemmTile.Multiply(WeightFormat.BF16, &tile);
                if (!whole)
                    Move(spare, SpareColumns, target, cStride, rows - row, (int)tile.Columns);
            }
        }
    }

    private static void Move(float* source, int sourceStride, float* target, int targetStride, int rows, int cols)
    {
        for (var row = 0; row < rows; row++)
            new ReadOnlySpan<float>(source + ((long)row * sourceStride), cols).CopyTo(new Span<float>(target + ((long)row * targetStride), cols));
    }
}
