using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Cache;

/// <summary>
/// The memory of all sequences' caches: pages of <see cref="PageTokens"/> rows for every layer, handed out as sequences grow. A row holds the compressed
/// latent <c>[c_kv (C) | k_rope (R)]</c> of a token (DeepSeek-V2 report section 2.1.2), or the keys and values of a dense Llama.
/// </summary>
/// <remarks>Taking and returning pages is safe from several threads; the rows themselves belong to their sequence.</remarks>
public sealed class CachePool : IDisposable
{
    private readonly NativeBuffer memory;
    private readonly Stack<int> free;
    private readonly Lock gate = new();
    private readonly long layerValues;

    /// <summary>Allocates room for <paramref name="capacityTokens"/> tokens, rounded up to whole pages.</summary>
    /// <param name="config">Model whose layers (MTP modules included) are cached.</param>
    /// <param name="capacityTokens">Tokens of all sequences together.</param>
    /// <param name="pageTokens">Rows in a page, a power of two.</param>
    /// <exception cref="OutOfMemoryException">The system has not that much.</exception>
    public CachePool(ModelConfig config, int capacityTokens, int pageTokens = 64)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacityTokens);
        if (!int.IsPow2(pageTokens))
            throw new ArgumentOutOfRangeException(nameof(pageTokens), pageTokens, "a power of two");
        PageTokens = pageTokens;
        PageCount = (int)(((long)capacityTokens + pageTokens - 1) / pageTokens);
        RowWidth = Width(config);
        MtpModules = config.NumNextnPredictLayers;
        Layers = config.NumHiddenLayers + MtpModules;
        layerValues = (long)PageCount * pageTokens * RowWidth;
        memory = new NativeBuffer(checked(layerValues * Layers * sizeof(float)));
        free = new Stack<int>(Enumerable.Range(0, PageCount).Reverse());
    }

    /// <summary>Rows in a page.</summary>
    public int PageTokens { get; }

    /// <summary>Pages of each layer.</summary>
    public int PageCount { get; }

    /// <summary>Values in a row.</summary>
    public int RowWidth { get; }

    /// <summary>Layers cached, MTP modules included.</summary>
    public int Layers { get; }

    /// <summary>MTP modules among the layers.</summary>
    public int MtpModules { get; }

    /// <summary>Pages that no sequence holds.</summary>
    public int FreePages
    {
        get
        {
            lock (gate)
                return free.Count;
        }
    }

    /// <summary>Values that one token needs in one layer: C + R (rounded up to 64), or 2 G A for grouped-query attention.</summary>
    public static int Width(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config.IsLatentAttention ? AttentionKernel.LatentRowWidth(config.KvLoraRank, config.QkRopeHeadDim) : checked(2 * config.NumKeyValueHeads * config.HeadDim);
    }

    /// <summary>Frees the memory. No sequence may be in use.</summary>
    public void Dispose() => memory.Dispose();

    internal int Take()
    {
        lock (gate)
            return free.TryPop(out var page) ? page : throw new CacheFullException($"all {PageCount} cache pages of {PageTokens} tokens are in use");
    }

    internal void Return(ReadOnlySpan<int> pages)
    {
        lock (gate)
        {
            foreach (var page in pages)
                free.Push(page);
        }
    }

    internal CachePages Pages(int layer, NativeBuffer table) => new(memory, layer * layerValues, table, PageTokens, RowWidth);
}

/// <summary>No page is left in the <see cref="CachePool"/>.</summary>
public sealed class CacheFullException(string message) : Exception(message);

/// <summary>One sequence's rows in a <see cref="CachePool"/>. Not safe for use from several threads at once.</summary>
public sealed class SequenceCache : IDisposable
{
    private readonly CachePool pool;
    private readonly NativeBuffer table;
    private readonly int[] mtpLengths;
    private int pages;
    private bool disposed;

    /// <summary>An empty sequence.</summary>
    public SequenceCache(CachePool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        this.pool = pool;
        table = new NativeBuffer((long)pool.PageCount * sizeof(int));
        mtpLengths = new int[pool.MtpModules];
    }

    /// <summary>Tokens whose rows are complete in the main model.</summary>
    public int Length { get; private set; }

    /// <summary>Returns the pages to the pool.</summary>
    public void Dispose()
    {
        if (disposed)
            return;
        disposed = true;
        pool.Return(table.Span<int>(0, pages));
        table.Dispose();
    }

    /// <summary>
    /// Forgets the rows from <paramref name="length"/> on, and the rows of MTP modules that were computed from the tokens there: row i of module m has seen
    /// token i + m + 1.
    /// </summary>
    /// <param name="length">Tokens to keep; nothing changes when that is all of them.</param>
    public void Truncate(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length);
        if (length == Length)
            return;
        Length = length;
        for (var m = 0; m < mtpLengths.Length; m++)
            mtpLengths[m] = Math.Min(mtpLengths[m], Math.Max(0, length - 1 - m));
        ReturnUnused();
    }

    /// <summary>Gives back the pages that hold no row.</summary>
    internal void ReturnUnused()
    {
        var rows = Length;
        foreach (var length in mtpLengths)
            rows = Math.Max(rows, length);
        var kept = PagesFor(rows);
        pool.Return(table.Span<int>(kept, pages - kept));
        pages = kept;
    }

    /// <summary>Makes room for <paramref name="tokens"/> rows in all.</summary>
    /// <exception cref="CacheFullException">The pool has no page left.</exception>
    internal void Reserve(int tokens)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        var needed = PagesFor(tokens);
        while (pages < needed)
        {
            // Taken before its place in the table is looked up: a sequence that holds every page has no place left either.
            var page = pool.Take();
            table.Span<int>(pages, 1)[0] = page;
            pages++;
        }
    }

    /// <summary>Rows that are complete in the main model, or in an MTP module (which lags behind it).</summary>
    internal int LengthOf(int? mtpModule) => mtpModule is { } m ? mtpLengths[m] : Length;

    internal void Advance(int? mtpModule, int tokens)
    {
        if (mtpModule is { } m)
            mtpLengths[m] += tokens;
        else
            Length += tokens;
    }

    internal CachePages Pages(int layer) => pool.Pages(layer, table);

    private int PagesFor(int rows) => (int)(((long)rows + pool.PageTokens - 1) / pool.PageTokens);
}
