using Hadal.Inference.Cache;

namespace Hadal.Inference.Model;

/// <summary>
/// Tokens to be processed together: each sequence contributes a run of consecutive tokens that follow what its cache holds. Made once and used again:
/// <see cref="Clear"/>, <see cref="Add"/>, <see cref="DeepSeek.Forward"/>.
/// </summary>
public sealed class ForwardBatch
{
    private readonly List<int> tokens = [];
    private readonly List<BatchSegment> segments = [];
    private readonly List<int> logitRows = [];
    private readonly List<int> sourceRows = [];
    private ForwardBatch? asked;
    private ForwardBatch? others;

    /// <summary>Number of tokens (T).</summary>
    public int TokenCount => tokens.Count;

    /// <summary>Rows of the batch whose logits are asked for, in order.</summary>
    public IReadOnlyList<int> LogitRows => logitRows;

    /// <summary>
    /// Whether states of tokens without logits are of no use: the last layer then passes on only the tokens whose logits are asked for, and
    /// <see cref="ForwardResult"/> has a row for each of those. Logits and caches are the same either way. Stays as it is when the batch is emptied; <see cref="DeepSeek.ForwardMtp"/> passes over it.
    /// </summary>
    public bool LogitsOnly { get; set; }

    internal ReadOnlySpan<int> Tokens => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(tokens);

    internal ReadOnlySpan<BatchSegment> Segments => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(segments);

    internal ReadOnlySpan<int> LogitRowSpan => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(logitRows);

    /// <summary>Where the rows of a part lie in the batch that was split.</summary>
    internal ReadOnlySpan<int> SourceRows => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(sourceRows);

    /// <summary>Empties the batch.</summary>
    public void Clear()
    {
        tokens.Clear();
        segments.Clear();
        logitRows.Clear();
        sourceRows.Clear();
    }

    /// <summary>Adds a run of tokens.</summary>
    /// <param name="cache">Cache of the sequence; no sequence may appear twice.</param>
    /// <param name="run">Token ids, at least one.</param>
    /// <param name="logits">Which of them need logits.</param>
    /// <exception cref="ArgumentException">The run is empty, or the sequence is in the batch already.</exception>
    public void Add(SequenceCache cache, ReadOnlySpan<int> run, LogitRequest logits)
    {
        ArgumentNullException.ThrowIfNull(cache);
        if (run.IsEmpty)
            throw new ArgumentException("a run has at least one token", nameof(run));
        foreach (var segment in segments)
        {
            if (ReferenceEquals(segment.Cache, cache))
                throw new ArgumentException("a sequence cannot be in a batch twice", nameof(cache));
        }

        var start = tokens.Count;
        tokens.AddRange(run);
        segments.Add(new BatchSegment(cache, start, run.Length, cache.Length));
        for (var i = logits == LogitRequest.All ? 0 : run.Length - 1; logits != LogitRequest.None && i < run.Length; i++)
            logitRows.Add(start + i);
    }

    /// <summary>Puts each run behind what its cache holds of the main model, or of an MTP module.</summary>
    internal void Place(int? mtpModule)
    {
        foreach (ref var segment in System.Runtime.InteropServices.CollectionsMarshal.AsSpan(segments))
            segment = segment with { First = segment.Cache.LengthOf(mtpModule) };
    }

    /// <summary>
    /// The tokens whose logits are asked for, which are the last of each run, and the others, as two batches with the runs' places.
    /// </summary>
    internal (ForwardBatch Asked, ForwardBatch Others) Split()
    {
        asked ??= new ForwardBatch();
        others ??= new ForwardBatch();
        asked.Clear();
        others.Clear();
        var next = 0;
        foreach (var segment in segments)
        {
            var end = segment.Start + segment.Count;
            var from = next;
            while (next < logitRows.Count && logitRows[next] < end)
                next++;
            var first = end - (next - from);
            others.AddRows(this, segment, segment.Start, first, logits: false);
            asked.AddRows(this, segment, first, end, logits: true);
        }

        return (asked, others);
    }

    /// <summary>Counts the runs as held by their caches.</summary>
    internal void Advance(int? mtpModule = null)
    {
        foreach (var segment in segments)
            segment.Cache.Advance(mtpModule, segment.Count);
    }

    private void AddRows(ForwardBatch batch, BatchSegment segment, int start, int end, bool logits)
    {
        if (start == end)
            return;
        segments.Add(new BatchSegment(segment.Cache, tokens.Count, end - start, segment.First + start - segment.Start));
        for (var row = start; row < end; row++)
        {
            if (logits)
                logitRows.Add(tokens.Count);
            tokens.Add(batch.tokens[row]);
            sourceRows.Add(row);
        }
    }
}

/// <summary>Which tokens of a run need logits.</summary>
public enum LogitRequest
{
    /// <summary>None: the run only fills the cache.</summary>
    None,

    /// <summary>The last one: the next token is to be chosen.</summary>
    Last,

    /// <summary>Every one: the run is to be scored.</summary>
    All,
}

/// <summary>One sequence's run in a batch.</summary>
/// <param name="Cache">Its cache.</param>
/// <param name="Start">First row in the batch.</param>
/// <param name="Count">Number of rows.</param>
/// <param name="First">Position of the first row in the sequence.</param>
internal readonly record struct BatchSegment(SequenceCache Cache, int Start, int Count, int First);
