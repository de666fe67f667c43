namespace Hadal.Evaluation.Models;

/// <summary>
/// What a set of texts has in common: a tree whose nodes are runs of tokens, with every beginning that several texts share in one node. Computing each
/// node once, parents first, computes no token twice.
/// </summary>
internal sealed class PrefixPlan
{
    /// <summary>Plans the scoring of texts.</summary>
    public PrefixPlan(IReadOnlyList<ScoredText> texts)
    {
        var order = Enumerable.Range(0, texts.Count).ToArray();
        Array.Sort(order, (a, b) => texts[a].Tokens.AsSpan().SequenceCompareTo(texts[b].Tokens) is var c && c != 0 ? c : a.CompareTo(b));
        Grow(null, texts, order, 0);
    }

    /// <summary>Every node; parents come before their children.</summary>
    public List<Node> Nodes { get; } = [];

    /// <summary>Tokens of all nodes: what has to be computed when nothing is cached.</summary>
    public int DistinctTokens => Nodes.Sum(n => n.End - n.Start);

    // Adds the nodes of texts[order], which agree up to depth, below parent.
    private void Grow(Node? parent, IReadOnlyList<ScoredText> texts, ReadOnlySpan<int> order, int depth)
    {
        for (var i = 0; i < order.Length;)
        {
            var first = texts[order[i]];
            if (first.Tokens.Length - 1 == depth)
            {
                // The last token is only predicted, never computed.
                i++;
                continue;
            }

            var next = first.Tokens[depth];
            var group = i;
            while (group < order.Length && texts[order[group]].Tokens is var tokens && tokens.Length - 1 > depth && tokens[depth] == next)
                group++;
            var members = order[i..group];
            var end = SharedEnd(texts, members, depth);
            var node = new Node(first.Tokens, depth, end, parent, (parent?.Level ?? -1) + 1);
            foreach (var member in members)
            {
                var text = texts[member];
                for (var position = Math.Max(text.Start, depth + 1); position <= Math.Min(end, text.Tokens.Length - 1); position++)
                    node.Targets.Add(new Target(position - 1, text.Tokens[position], member));
            }

            Nodes.Add(node);
            Grow(node, texts, members, end);
            i = group;
        }
    }

    // How far all members agree, counting computed tokens only, and cut where the scoring of one of them begins: before that no logits are needed.
    private static int SharedEnd(IReadOnlyList<ScoredText> texts, ReadOnlySpan<int> members, int depth)
    {
        var first = texts[members[0]].Tokens;
        var end = int.MaxValue;
        foreach (var member in members)
        {
            var text = texts[member];
            var computed = text.Tokens.AsSpan(0, text.Tokens.Length - 1);
            end = Math.Min(end, first.AsSpan().CommonPrefixLength(computed));
            if (text.Start > depth)
                end = Math.Min(end, text.Start);
        }

        return end;
    }

    /// <summary>A run of tokens of one or more texts.</summary>
    /// <param name="Tokens">Tokens of one of the texts, from its beginning.</param>
    /// <param name="Start">Position of the run's first token.</param>
    /// <param name="End">Position behind its last.</param>
    /// <param name="Parent">The run before it, or null.</param>
    /// <param name="Level">Runs before it.</param>
    internal sealed record Node(int[] Tokens, int Start, int End, Node? Parent, int Level)
    {
        /// <summary>What the logits of the run's rows are needed for.</summary>
        public List<Target> Targets { get; } = [];

        /// <summary>Whether only the last row has targets.</summary>
        public bool OnlyLast => Targets.TrueForAll(t => t.Row == End - 1);
    }

    /// <summary>A token that is scored.</summary>
    /// <param name="Row">Position whose logits predict it.</param>
    /// <param name="Token">Its id.</param>
    /// <param name="Text">Whose it is.</param>
    internal readonly record struct Target(int Row, int Token, int Text);
}
