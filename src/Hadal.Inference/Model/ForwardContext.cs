using Hadal.Numerics;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Model;

/// <summary>Named working memory of a forward pass; see <see cref="ForwardScratch"/>.</summary>
internal enum Slot
{
    Hidden,
    Residual,
    FinalHidden,
    FinalNormed,

    /// <summary>Input and output of the attention or the feed-forward part of a layer.</summary>
    Branch,

    /// <summary>What such a part computes on its way; the two are never at work at once.</summary>
    Intermediate,

    RouterScores,
    RoutedWeights,

    /// <summary>Rows of x brought together for their experts, then the experts' outputs.</summary>
    ExpertRows,

    Cos,
    Sin,
    Codes,
    CodeScales,

    /// <summary>Quantised rows of normalised hidden states.</summary>
    NormedCodes,

    /// <summary>Quantised rows of silu(gate x) * (up x).</summary>
    GatedCodes,

    Workspace,
    MtpHidden,
    LogitInput,
    Logits,
    Count,
}

/// <summary>Working memory that grows to the largest batch seen and is then used again and again, so that steady decoding allocates nothing.</summary>
public sealed class ForwardScratch
{
    private readonly AlignedArray[] buffers = new AlignedArray[(int)Slot.Count];
    private int[] integers = [];
    private Product[] products = [];
    private GatedProduct[] gatedProducts = [];
    private AttentionSegment[] segments = [];

    /// <summary>The memory of a slot, which begins at a cache line; what it held is lost when it grows. Every index of a forward pass lies in one such piece, and so fits an int.</summary>
    /// <exception cref="ArgumentException">No array can be that long: the batch has too many tokens.</exception>
    internal Span<float> Take(Slot slot, long count)
    {
        if (count > AlignedArray.MaxLength)
            throw new ArgumentException($"the batch is too long: it needs {count} values of working memory ({slot}), and a piece has at most {AlignedArray.MaxLength}");
        ref var buffer = ref buffers[(int)slot];
        if (buffer.Length < count)
            buffer = AlignedArray.Allocate((int)Math.Max(count, Math.Min(2L * buffer.Length, AlignedArray.MaxLength)));
        return buffer.Span((int)count);
    }

    internal Span<Product> TakeProducts(int count)
    {
        if (products.Length < count)
            products = new Product[count];
        return products.AsSpan(0, count);
    }

    internal Span<GatedProduct> TakeGatedProducts(int count)
    {
        if (gatedProducts.Length < count)
            gatedProducts = new GatedProduct[count];
        return gatedProducts.AsSpan(0, count);
    }

    internal Span<AttentionSegment> TakeSegments(int count)
    {
        if (segments.Length < count)
            segments = new AttentionSegment[count];
        return segments.AsSpan(0, count);
    }

    internal Span<int> TakeIntegers(int count)
    {
        if (integers.Length < count)
            integers = new int[Math.Max(count, 2 * integers.Length)];
        return integers.AsSpan(0, count);
    }
}

/// <summary>What a forward pass works with, besides weights and caches. Belongs to one caller at a time.</summary>
public sealed class ForwardContext
{
    /// <summary>Brings together a thread pool, fresh scratch memory and options.</summary>
    /// <param name="threads">Pool for the kernels; may be shared.</param>
    /// <param name="options">Arithmetic choices; null for the defaults.</param>
    /// <param name="probe">Receives intermediate results; null for none.</param>
    public ForwardContext(KernelThreads threads, ForwardOptions? options = null, IForwardProbe? probe = null)
    {
        Threads = threads;
        Options = options ?? new ForwardOptions();
        Probe = probe;
    }

    /// <summary>Pool for the kernels.</summary>
    public KernelThreads Threads { get; }

    /// <summary>Arithmetic choices.</summary>
    public ForwardOptions Options { get; }

    /// <summary>Receives intermediate results, or null.</summary>
    public IForwardProbe? Probe { get; }

    internal ForwardScratch Scratch { get; } = new();

    /// <summary>Time spent in attention kernels, the projections around them not counted, in ticks of <see cref="System.Diagnostics.Stopwatch"/>.</summary>
    internal long AttentionTicks { get; set; }
}

/// <summary>Sees intermediate results of a forward pass, for verification. Called on the thread of the pass; spans are valid during the call only.</summary>
public interface IForwardProbe
{
    /// <summary>Whether tensors are looked at: the residual stream after each layer is made for them, which is otherwise never whole.</summary>
    bool SeesTensors => true;

    /// <summary>A tensor was computed.</summary>
    /// <param name="name">One of embed, attn_out, ffn_out, hidden, normed, and for MTP modules eh.</param>
    /// <param name="layer">Layer number; -1 where it belongs to none.</param>
    /// <param name="values">[T, D].</param>
    void Tensor(string name, int layer, ReadOnlySpan<float> values);

    /// <summary>Experts were chosen.</summary>
    /// <param name="layer">Layer number.</param>
    /// <param name="ids">[T, K], in descending order of selection score.</param>
    /// <param name="weights">[T, K], as they multiply the experts' outputs.</param>
    void Routing(int layer, ReadOnlySpan<int> ids, ReadOnlySpan<float> weights);
}
