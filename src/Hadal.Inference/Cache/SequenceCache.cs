using Hadal.Numerics;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Cache;

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

    /// <summary>The pages held, in the order of the sequence.</summary>
    internal ReadOnlySpan<int> HeldPages => disposed ? default : table.Span<int>(0, pages);

    /// <summary>Returns the pages to the pool.</summary>
    public void Dispose()
    {
        if (disposed)
            return;
        pool.Return(HeldPages);
        disposed = true;
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
        var kept = pool.PagesFor(rows);
        pool.Return(table.Span<int>(kept, pages - kept));
        pages = kept;
    }

    /// <summary>Forgets the rows of an MTP module from <paramref name="length"/> on; room stays reserved.</summary>
    internal void TruncateMtp(int module, int length) => mtpLengths[module] = Math.Min(mtpLengths[module], length);

    /// <summary>
    /// Begins with rows that are there already: whole pages are shared, and of a page that agrees only in part the rows are copied, since this sequence
    /// is going to write behind them.
    /// </summary>
    /// <param name="whole">Full pages, in order.</param>
    /// <param name="partial">A page whose first rows agree, or null.</param>
    /// <param name="partialRows">How many of them.</param>
    /// <exception cref="CacheFullException">There is no page to copy into; the sequence is as before.</exception>
    internal void Adopt(ReadOnlySpan<int> whole, int? partial, int partialRows)
    {
        if (pages != 0)
            throw new InvalidOperationException("a sequence adopts pages only when it has none");
        var copy = partial is null ? 0 : pool.Take();
        foreach (var page in whole)
        {
            pool.Share(page);
            table.Span<int>(pages++, 1)[0] = page;
        }

        Length = pages * pool.PageTokens;
        if (partial is { } source)
        {
            pool.Copy(source, copy, partialRows);
            table.Span<int>(pages++, 1)[0] = copy;
            Length += partialRows;
        }

        mtpLengths.AsSpan().Fill(Length);
    }

    /// <summary>Holds another page with the same rows instead of its own.</summary>
    internal void Exchange(int index, int page)
    {
        var held = table.Span<int>(index, 1);
        if (held[0] == page)
            return;
        pool.Share(page);
        pool.Return(held);
        held[0] = page;
    }

    /// <summary>Makes room for <paramref name="tokens"/> rows of the main model in all.</summary>
    /// <exception cref="CacheFullException">The pool has no page left.</exception>
    internal void Reserve(int tokens) => Reserve(Length, tokens);

    /// <summary>Makes room to write rows [<paramref name="first"/>, <paramref name="end"/>), on pages that this sequence alone holds.</summary>
    /// <exception cref="CacheFullException">The pool has no page left.</exception>
    internal void Reserve(int first, int end)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        var needed = pool.PagesFor(end);
        for (var i = first / pool.PageTokens; i < Math.Min(pages, needed); i++)
            OwnPage(i);
        while (pages < needed)
        {
            // Taken before its place in the table is looked up: a sequence that holds every page has no place left either.
            var page = pool.Take();
            table.Span<int>(pages, 1)[0] = page;
            pages++;
        }
    }

    /// <summary>Pages that <see cref="Reserve(int)"/> would have to take.</summary>
    internal int PagesMissing(int tokens) => Math.Max(0, pool.PagesFor(tokens) - pages);

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

    // Copy on write: rows are about to be written to a page that others read.
    private void OwnPage(int index)
    {
        var held = table.Span<int>(index, 1);
        if (pool.References(held[0]) == 1)
            return;
        var copy = pool.Take();
        pool.Copy(held[0], copy, pool.PageTokens);
        pool.Return(held);
        held[0] = copy;
    }
}
