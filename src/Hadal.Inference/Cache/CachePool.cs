using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Cache;

/// <summary>
/// The memory of all sequences' caches: pages of <see cref="PageTokens"/> rows for every layer, handed out as sequences grow. A row holds the compressed
/// latent <c>[c_kv (C) | k_rope (R)]</c> of a token (DeepSeek-V2 report section 2.1.2), or the keys and values of a dense Llama, in any <see cref="CacheFormat"/>.
/// A page may have several holders, sequences that begin alike and the <see cref="PrefixTree"/>; it is free again when the last lets go.
/// </summary>
/// <remarks>Taking and returning pages is safe from several threads; the rows themselves belong to their holders, who write only to pages they hold alone.</remarks>
public sealed class CachePool : IDisposable
{
    private readonly NativeBuffer memory;
    private readonly Stack<int> free;
    private readonly int[] references;
    private readonly Lock gate = new();
    private readonly long layerBytes;

    /// <summary>Allocates room for <paramref name="capacityTokens"/> tokens, rounded up to whole pages.</summary>
    /// <param name="config">Model whose layers (MTP modules included) are cached.</param>
    /// <param name="capacityTokens">Tokens of all sequences together.</param>
    /// <param name="pageTokens">Rows in a page, a power of two.</param>
    /// <param name="format">How rows are stored.</param>
    /// <exception cref="OutOfMemoryException">The system has not that much.</exception>
    public CachePool(ModelConfig config, int capacityTokens, int pageTokens = 64, CacheFormat format = CacheFormat.F32)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacityTokens);
        if (!int.IsPow2(pageTokens))
            throw new ArgumentOutOfRangeException(nameof(pageTokens), pageTokens, "a power of two");
        PageTokens = pageTokens;
        PageCount = (int)(((long)capacityTokens + pageTokens - 1) / pageTokens);
        Layout = MemoryPlan.CacheLayoutOf(config, format);
        MtpModules = config.NumNextnPredictLayers;
        Layers = config.NumHiddenLayers + MtpModules;
        layerBytes = (long)PageCount * pageTokens * Layout.RowBytes;
        memory = new NativeBuffer(checked(layerBytes * Layers));
        free = new Stack<int>(Enumerable.Range(0, PageCount).Reverse());
        references = new int[PageCount];
    }

    /// <summary>Rows in a page.</summary>
    public int PageTokens { get; }

    /// <summary>Pages of each layer.</summary>
    public int PageCount { get; }

    /// <summary>How rows are stored.</summary>
    public CacheLayout Layout { get; }

    /// <summary>How their values are stored.</summary>
    public CacheFormat Format => Layout.Format;

    /// <summary>Bytes of all pages of all layers.</summary>
    public long ByteLength => layerBytes * Layers;

    /// <summary>Layers cached, MTP modules included.</summary>
    public int Layers { get; }

    /// <summary>MTP modules among the layers.</summary>
    public int MtpModules { get; }

    /// <summary>Pages that nobody holds.</summary>
    public int FreePages
    {
        get
        {
            lock (gate)
                return free.Count;
        }
    }

    /// <summary>Pages that <paramref name="tokens"/> rows take up.</summary>
    public int PagesFor(int tokens) => (int)(((long)tokens + PageTokens - 1) / PageTokens);

    /// <summary>Frees the memory. No sequence may be in use.</summary>
    public void Dispose() => memory.Dispose();

    /// <summary>Checks that each page is either free or held, and that what is free is free once.</summary>
    /// <param name="holders">How many times each page should be held, as the holders count it; null leaves that out.</param>
    /// <exception cref="InvalidOperationException">The books do not balance: a mistake in this program.</exception>
    internal void CheckIntegrity(ReadOnlySpan<int> holders)
    {
        lock (gate)
        {
            var isFree = new bool[PageCount];
            foreach (var page in free)
            {
                if (isFree[page])
                    throw new InvalidOperationException($"cache page {page} is free twice");
                isFree[page] = true;
            }

            for (var page = 0; page < PageCount; page++)
            {
                if (isFree[page] != (references[page] == 0))
                    throw new InvalidOperationException($"cache page {page} has {references[page]} holders and is {(isFree[page] ? "free" : "not free")}");
                if (!holders.IsEmpty && references[page] != holders[page])
                    throw new InvalidOperationException($"cache page {page} counts {references[page]} holders, but {holders[page]} hold it");
            }
        }
    }

    internal int Take() => TryTake(out var page) ? page : throw new CacheFullException($"all {PageCount} cache pages of {PageTokens} tokens are in use");

    internal bool TryTake(out int page)
    {
        lock (gate)
        {
            if (!free.TryPop(out page))
                return false;
            references[page] = 1;
            return true;
        }
    }

    /// <summary>Adds a holder to a page that is held.</summary>
    internal void Share(int page)
    {
        lock (gate)
        {
            if (references[page] == 0)
                throw new InvalidOperationException($"cache page {page} is free and cannot be shared");
            references[page]++;
        }
    }

    internal int References(int page)
    {
        lock (gate)
            return references[page];
    }

    internal void Return(ReadOnlySpan<int> pages)
    {
        lock (gate)
        {
            foreach (var page in pages)
            {
                if (references[page] == 0)
                    throw new InvalidOperationException($"cache page {page} is returned, but nobody holds it");
                if (--references[page] == 0)
                    free.Push(page);
            }
        }
    }

    /// <summary>A part of the first <paramref name="rows"/> rows of a page in one layer, as they are stored.</summary>
    internal Span<byte> Rows(int layer, int page, int part, int rows) =>
        memory.Span<byte>((layer * layerBytes) + (((long)page * Layout.RowBytes) + ((long)part * Layout.PartBytes)) * PageTokens, rows * Layout.PartBytes);

    /// <summary>Copies the first rows of a page, in every layer.</summary>
    internal void Copy(int from, int to, int rows)
    {
        for (var layer = 0; layer < Layers; layer++)
        {
            for (var part = 0; part < Layout.Parts; part++)
                Rows(layer, from, part, rows).CopyTo(Rows(layer, to, part, rows));
        }
    }

    internal CachePages Pages(int layer, NativeBuffer table) => new(memory, layer * layerBytes, table, PageTokens, Layout);
}

/// <summary>No page is left in the <see cref="CachePool"/>.</summary>
public sealed class CacheFullException(string message) : Exception(message);
