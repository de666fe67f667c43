namespace Hadal.Inference.Cache;

/// <summary>
/// Remembers the cache pages of finished (and running) sequences by their tokens, so that a request that begins like an earlier one computes only the
/// rest: the turns of a chat, a common system prompt, the examples of a benchmark. A radix tree with one page to a node: full pages are shared as they
/// are, of a page that agrees in part the rows are copied. The least recently used leaves go first. For one thread at a time.
/// </summary>
/// <remarks>
/// A row of the main model depends on its own and earlier tokens. A row of an MTP module depends on the token after its own as well, so where those rows
/// matter ("lookahead") a node is known by its tokens and the one that follows them.
/// After SGLang's RadixAttention (arXiv 2312.07104), in pages.
/// </remarks>
public sealed class PrefixTree : IDisposable
{
    private readonly CachePool pool;
    private readonly Node root = new([], -1, -1, null);

    // From the least to the most recently used; a node always comes before its parent.
    private readonly LinkedList<Node> uses = new();
    private readonly List<int> whole = [];

    /// <summary>An empty tree.</summary>
    /// <param name="pool">Where the pages are.</param>
    /// <param name="lookahead">Whether rows of MTP modules are to be valid too.</param>
    public PrefixTree(CachePool pool, bool lookahead = false)
    {
        ArgumentNullException.ThrowIfNull(pool);
        this.pool = pool;
        Lookahead = lookahead;
        MaxPages = pool.PageCount;
    }

    /// <summary>Pages the tree holds.</summary>
    public int Pages => uses.Count;

    /// <summary>Pages the tree may hold; what is more goes at the next <see cref="Insert"/>.</summary>
    public int MaxPages { get; set; }

    /// <summary>Pages that could be freed now: those that no sequence holds.</summary>
    public int EvictablePages
    {
        get
        {
            var count = 0;
            for (var use = uses.First; use is not null; use = use.Next)
                count += pool.References(use.Value.Page) == 1 ? 1 : 0;
            return count;
        }
    }

    internal bool Lookahead { get; }

    /// <summary>Nodes from the most recently used on; parents come before their children.</summary>
    internal IEnumerable<Node> NodesByUse
    {
        get
        {
            for (var use = uses.Last; use is not null; use = use.Previous)
                yield return use.Value;
        }
    }

    /// <summary>
    /// Rows of the longest known beginning of <paramref name="tokens"/>, at most one less than there are tokens: the last token's logits are always computed.
    /// </summary>
    public int Match(ReadOnlySpan<int> tokens) => Find(tokens).Rows;

    /// <summary>Gives an empty sequence the rows of the longest known beginning of <paramref name="tokens"/>.</summary>
    /// <param name="tokens">The sequence's tokens.</param>
    /// <param name="cache">An empty sequence of the same pool.</param>
    /// <param name="touch">Whether that counts as use.</param>
    /// <returns>Rows taken over.</returns>
    /// <exception cref="CacheFullException">There is no free page to copy into.</exception>
    public int Adopt(ReadOnlySpan<int> tokens, SequenceCache cache, bool touch = true)
    {
        ArgumentNullException.ThrowIfNull(cache);
        var (rows, last, partialRows) = Find(tokens);
        whole.Clear();
        for (var node = partialRows > 0 ? last.Parent! : last; node != root; node = node.Parent!)
            whole.Add(node.Page);
        whole.Reverse();
        cache.Adopt(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(whole), partialRows > 0 ? last.Page : null, partialRows);
        if (touch)
            Touch(last);
        return rows;
    }

    /// <summary>
    /// Remembers the first <paramref name="rows"/> rows of a sequence. Where the tree knows them already, the sequence takes over the tree's pages: they
    /// hold the same bits, because a row does not depend on how it was computed.
    /// </summary>
    /// <param name="tokens">The sequence's tokens; with lookahead at least one more than rows.</param>
    /// <param name="cache">The sequence.</param>
    /// <param name="rows">Complete rows; with lookahead complete in the MTP module too. A last page that is not full is only for sequences that grow no more.</param>
    public void Insert(ReadOnlySpan<int> tokens, SequenceCache cache, int rows)
    {
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows, Math.Min(cache.Length, tokens.Length - (Lookahead ? 1 : 0)));
        var node = root;
        for (var start = 0; start < rows; start += pool.PageTokens)
        {
            var count = Math.Min(pool.PageTokens, rows - start);
            var next = Lookahead ? tokens[start + count] : -1;
            var index = start / pool.PageTokens;
            var child = Place(node, tokens.Slice(start, count), next, cache.HeldPages[index]);
            if (child is null)
                break;
            if (child.Tokens.Length == pool.PageTokens)
                cache.Exchange(index, child.Page);
            node = child;
        }

        Touch(node);
        if (Pages > MaxPages)
            Evict(Pages - MaxPages);
    }

    /// <summary>Lets go of up to <paramref name="count"/> pages that no sequence holds, the least recently used first.</summary>
    /// <returns>Pages freed.</returns>
    public int Evict(int count)
    {
        var freed = 0;
        for (var use = uses.First; use is not null && freed < count;)
        {
            var node = use.Value;
            use = use.Next;
            if (node.Children.Count > 0 || pool.References(node.Page) > 1)
                continue;
            Remove(node);
            freed++;
        }

        return freed;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        foreach (var node in uses)
            pool.Return([node.Page]);
        uses.Clear();
        root.Children.Clear();
    }

    /// <inheritdoc/>
    public void Dispose() => Clear();

    /// <summary>Checks the tree's shape, and that every page of the pool is free or held by the tree and these sequences, as often as it counts.</summary>
    /// <exception cref="InvalidOperationException">The books do not balance: a mistake in this program.</exception>
    public void CheckIntegrity(IEnumerable<SequenceCache> sequences)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        var holders = new int[pool.PageCount];
        var seen = new HashSet<Node>();
        foreach (var node in uses)
        {
            holders[node.Page]++;
            seen.Add(node);
            if (node.Tokens.Length == 0 || node.Tokens.Length > pool.PageTokens || (node.Children.Count > 0 && node.Tokens.Length < pool.PageTokens))
                throw new InvalidOperationException($"a node of {node.Tokens.Length} tokens has {node.Children.Count} children");
            if (node.Parent is null || !node.Parent.Children.Contains(node) || seen.Contains(node.Parent))
                throw new InvalidOperationException("a node is not its parent's child, or is used later than its parent");
        }

        if (Count(root) != uses.Count)
            throw new InvalidOperationException($"{Count(root)} nodes in the tree, {uses.Count} in the order of use");
        foreach (var sequence in sequences)
        {
            foreach (var page in sequence.HeldPages)
                holders[page]++;
        }

        pool.CheckIntegrity(holders);

        static int Count(Node node) => node.Children.Sum(c => 1 + Count(c));
    }

    /// <summary>Adds a node read from a file; its page is the tree's from now on.</summary>
    internal Node Restore(Node? parent, int[] tokens, int next, int page)
    {
        var node = new Node(tokens, next, page, parent ?? root);
        node.Parent!.Children.Add(node);
        uses.AddFirst(node.Use);
        return node;
    }

    internal bool IsRoot(Node node) => node == root;

    private (int Rows, Node Last, int PartialRows) Find(ReadOnlySpan<int> tokens)
    {
        var node = root;
        var start = 0;
        while (true)
        {
            // With lookahead the last token has no successor yet, so its row never counts; without, its logits are needed all the same.
            var query = Lookahead || tokens.IsEmpty ? tokens[start..] : tokens[start..^1];
            Node? best = null;
            var bestRows = 0;
            foreach (var child in node.Children)
            {
                var rows = UsableRows(child, query);
                if (rows > bestRows)
                    (best, bestRows) = (child, rows);
            }

            if (best is null)
                return (start, node, 0);
            if (bestRows < pool.PageTokens)
                return (start + bestRows, best, bestRows);
            node = best;
            start += bestRows;
        }
    }

    private int UsableRows(Node node, ReadOnlySpan<int> query)
    {
        var same = query.CommonPrefixLength(node.Tokens);
        if (!Lookahead)
            return same;
        var followed = same == node.Tokens.Length && same < query.Length && query[same] == node.Next;
        return followed ? same : Math.Max(0, same - 1);
    }

    // The node for these tokens, made or made longer where needed; null when the tree knows more than this already.
    private Node? Place(Node parent, ReadOnlySpan<int> tokens, int next, int page)
    {
        foreach (var child in parent.Children)
        {
            var same = tokens.CommonPrefixLength(child.Tokens);
            if (same == tokens.Length && same == child.Tokens.Length && next == child.Next)
                return child;
            if (same == tokens.Length && same < child.Tokens.Length && (!Lookahead || child.Tokens[same] == next))
            {
                Touch(child);
                return null;
            }

            if (same == child.Tokens.Length && same < tokens.Length && (!Lookahead || tokens[same] == child.Next))
            {
                pool.Share(page);
                pool.Return([child.Page]);
                child.Become(tokens.ToArray(), next, page);
                return child;
            }
        }

        pool.Share(page);
        return Restore(parent, tokens.ToArray(), next, page);
    }

    // Children first, so that a parent is never older than its child.
    private void Touch(Node node)
    {
        for (; node != root; node = node.Parent!)
        {
            uses.Remove(node.Use);
            uses.AddLast(node.Use);
        }
    }

    private void Remove(Node node)
    {
        node.Parent!.Children.Remove(node);
        uses.Remove(node.Use);
        pool.Return([node.Page]);
    }

    /// <summary>One page: up to <see cref="CachePool.PageTokens"/> tokens, and with lookahead the token after them.</summary>
    internal sealed class Node
    {
        public Node(int[] tokens, int next, int page, Node? parent)
        {
            Tokens = tokens;
            Next = next;
            Page = page;
            Parent = parent;
            Use = new LinkedListNode<Node>(this);
        }

        public int[] Tokens { get; private set; }

        public int Next { get; private set; }

        public int Page { get; private set; }

        public Node? Parent { get; }

        public List<Node> Children { get; } = [];

        public LinkedListNode<Node> Use { get; }

        public void Become(int[] tokens, int next, int page) => (Tokens, Next, Page) = (tokens, next, page);
    }
}
