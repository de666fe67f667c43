using System.Runtime.InteropServices;
using System.Threading.Channels;
using Hadal.Inference.Cache;
using Hadal.Inference.Constraints;
using Hadal.Inference.Generation;
using Hadal.Inference.Sampling;

namespace Hadal.Inference.Engine;

/// <summary>
/// Everything about one request. Its life: 1 submitted, 2 waiting, 3 admitted with the rows its prompt shares with earlier ones, 4 prefilled in chunks,
/// 5 decoded a token (and accepted drafts) at a time, 6 perhaps pre-empted, back to 2, 7 finished, failed or cancelled, 8 its rows remembered.
/// </summary>
internal sealed class Sequence
{
    private readonly List<int> tokens;
    private readonly Channel<GenerationEvent> events;
    private volatile bool cancelled;
    private bool scoresGiven;

    public Sequence(GenerationRequest request, long arrival, long submitted, OutputText output, int maxUnread)
    {
        Request = request;
        Arrival = arrival;
        Submitted = submitted;
        Output = output;
        tokens = [.. request.Prompt];
        Sampler = new Sampler(request.Sampling, Tokens);
        Constraint = request.Constraint is { } form ? new ConstraintState(form, output.EndTokens) : null;
        MaxUnread = maxUnread;
        events = Channel.CreateBounded<GenerationEvent>(new BoundedChannelOptions(maxUnread) { SingleReader = true, SingleWriter = true });
    }

    public GenerationRequest Request { get; }

    /// <summary>Order of submission.</summary>
    public long Arrival { get; }

    /// <summary>Time of submission, in the time provider's ticks.</summary>
    public long Submitted { get; }

    public OutputText Output { get; }

    public Sampler Sampler { get; }

    /// <summary>Holds the output to its form; null without one.</summary>
    public ConstraintState? Constraint { get; }

    /// <summary>Of the prompt's tokens from the second on, how probable each was, as far as they are computed.</summary>
    public List<ScoredToken> PromptScores { get; } = [];

    /// <summary>Whether tokens of the prompt are still to be scored: it is computed row by row, nothing of it is taken from the cache.</summary>
    public bool ScoresPrompt => Request.PromptLogprobs is not null && PromptScores.Count < PromptTokens - 1;

    /// <summary>What ends this sequence and no other.</summary>
    public Exception? Failure { get; set; }

    public int PromptTokens => Request.Prompt.Count;

    /// <summary>Prompt and output. The last token has never been computed.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(tokens);

    /// <summary>Its rows while it runs; null while it waits.</summary>
    public SequenceCache? Cache { get; set; }

    /// <summary>Tokens to compute before the next is chosen.</summary>
    public int Pending => tokens.Count - (Cache?.Length ?? 0);

    /// <summary>Whether more than the last token is to be computed: its prompt, or all of it after a pre-emption.</summary>
    public bool IsPrefilling => Pending > 1;

    /// <summary>Rows that the prefix tree knows.</summary>
    public int Remembered { get; set; }

    /// <summary>The next token where it is drawn already, but not yet taken.</summary>
    public int? Drawn { get; set; }

    /// <summary>Drafts to verify in the next step.</summary>
    public List<int> Drafts { get; } = [];

    /// <summary>With rejection sampling, the distribution each draft was drawn from.</summary>
    public double[][] DraftDistributions { get; set; } = [];

    public int CachedTokens { get; set; }

    public bool WasAdmitted { get; set; }

    /// <summary>Whether the engine's totals have its prompt.</summary>
    public bool IsCounted { get; set; }

    public int Steps { get; set; }

    public int DraftedTokens { get; set; }

    public int AcceptedTokens { get; set; }

    public bool IsFinished { get; set; }

    public bool IsCancelled => cancelled;

    public ChannelReader<GenerationEvent> Events => events.Reader;

    /// <summary>Whether the reader is so far behind that a step's events might not fit.</summary>
    public bool IsPaused => events.Reader.Count + Drafts.Count + 2 > MaxUnread;

    private int MaxUnread { get; }

    public GenerationUsage Usage => new()
    {
        PromptTokens = PromptTokens, CachedTokens = CachedTokens, GeneratedTokens = Output.Count, Steps = Steps, DraftedTokens = DraftedTokens, AcceptedTokens = AcceptedTokens,
    };

    /// <summary>Earlier in the queue: higher priority, then earlier arrival.</summary>
    public static int Compare(Sequence a, Sequence b) =>
        a.Request.Priority != b.Request.Priority ? b.Request.Priority.CompareTo(a.Request.Priority) : a.Arrival.CompareTo(b.Arrival);

    public void Append(int token) => tokens.Add(token);

    public void Cancel() => cancelled = true;

    public void Publish(GenerationEvent step)
    {
        if (Request.PromptLogprobs is not null && !scoresGiven)
        {
            step = step with { PromptLogprobs = PromptScores };
            scoresGiven = true;
        }

        if (!events.Writer.TryWrite(step))
            throw new InvalidOperationException("a paused sequence was run");
    }

    /// <summary>Ends the stream, with an error or without.</summary>
    public void Complete(Exception? error) => events.Writer.TryComplete(error);
}
