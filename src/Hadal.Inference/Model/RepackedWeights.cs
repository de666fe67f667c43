using Hadal.Checkpoints;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Model;

/// <summary>
/// Copies of a checkpoint's weights in the order that 8-bit activations are multiplied with fastest on this processor (<see cref="WeightInterleaving"/>), made
/// when a <see cref="DeepSeek"/> is. They take the place of the checkpoint's own in memory, which are given back: one model to a checkpoint. Must outlive the model.
/// </summary>
/// <param name="checkpoint">What is copied.</param>
/// <param name="threads">Pool to copy on.</param>
/// <param name="inHugePages">Whether weights of all formats are copied, into <see cref="HugePages"/>.</param>
public sealed class RepackedWeights(Checkpoint checkpoint, KernelThreads threads, bool inHugePages = false) : IDisposable
{
    // A copy is larger than the file's by at most one part in so many.
    private const int Growth = 16;

    // The system maps a file in pieces of up to so many bytes, whatever of them is read.
    private const long PieceBytes = 2L << 20;

    private readonly NativeArena copies = new(inHugePages);
    private readonly List<NativeBuffer> small = [];
    private readonly List<WeightMatrix> copied = [];

    /// <summary>
    /// Copies for a model that is about to be made, where they pay: into huge pages, if the system has so many that all weights fit; else into ordinary memory, if weights have a faster order.
    /// </summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="plan">What it takes as it lies.</param>
    /// <param name="threads">Pool to copy on.</param>
    /// <param name="wanted">Whether weights may be copied, and are going to be multiplied with activations that they are copied for.</param>
    /// <returns>Null where the weights are used as they lie.</returns>
    /// <exception cref="InsufficientMemoryException">Weights and cache do not fit.</exception>
    public static RepackedWeights? Plan(Checkpoint checkpoint, MemoryPlan plan, KernelThreads threads, bool wanted)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var free = HugePages.FreeBytes;
        if (wanted && Largest(plan) <= free + HugePages.OvercommitBytes && Math.Max(0, Largest(plan) - free) + plan.CacheBytes <= plan.AvailableBytes)
            return new RepackedWeights(checkpoint, threads, inHugePages: true);
        plan.Check();
        return wanted && Pays(checkpoint, plan) ? new RepackedWeights(checkpoint, threads) : null;
    }

    /// <summary>Whether any weight of a checkpoint has a faster order on this processor, and there is memory for copies, which the system cannot take back as it can a file's pages.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="plan">What it takes as it lies.</param>
    public static bool Pays(Checkpoint checkpoint, MemoryPlan plan)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(plan);
        return Largest(plan) + plan.CacheBytes <= plan.AvailableBytes && checkpoint.Tensors.Select(static tensor => tensor.Format).Distinct().Any(WeightInterleaving.Pays);
    }

    /// <summary>How many huge pages have to be free for <see cref="Plan"/> to copy weights into them; 0 where the system has none.</summary>
    /// <param name="plan">What the checkpoint takes as it lies.</param>
    public static long HugePagesFor(MemoryPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var page = HugePages.PageBytes;
        return page == 0 ? 0 : (Largest(plan) + page - 1) / page;
    }

    /// <summary>Whether weights of all formats are copied, into huge pages.</summary>
    public bool InHugePages => inHugePages;

    /// <summary>Frees the copies.</summary>
    public void Dispose()
    {
        copies.Dispose();
        small.ForEach(static buffer => buffer.Dispose());
    }

    /// <summary>The weight with a copy beside it, if that pays; a small one that stays as it is, copied out of the file.</summary>
    internal WeightMatrix Repack(WeightMatrix weight)
    {
        if (!WeightInterleaving.Pays(weight.Format))
            return inHugePages ? CopyIntoHugePages(weight) : weight.ByteLength < PieceBytes && weight.Format != WeightFormat.F8_E4M3 ? Copy(weight) : weight;
        var bytes = WeightInterleaving.Bytes(weight);

        // A copy is written through one span; a matrix that has none of that length is used as it lies.
        if (bytes > int.MaxValue)
            return weight;
        if (!copies.HasRoom(bytes))
            ReleaseCopied();
        copied.Add(weight);
        return WeightInterleaving.Interleave(weight, copies.TakeSpan((int)bytes), threads);
    }

    /// <summary>Gives back what was copied.</summary>
    internal void ReleaseCopied()
    {
        checkpoint.Release(copied);
        copied.Clear();
    }

    private static long Largest(MemoryPlan plan) => plan.WeightBytes + (plan.WeightBytes / Growth);

    private WeightMatrix CopyIntoHugePages(WeightMatrix weight)
    {
        if (!copies.HasRoom(weight.ByteLength))
            ReleaseCopied();
        copied.Add(weight);
        return weight.CopyTo(copies);
    }

    private WeightMatrix Copy(WeightMatrix weight)
    {
        var buffer = new NativeBuffer(weight.ByteLength);
        small.Add(buffer);
        for (var row = 0; row < weight.Rows; row++)
            weight.Row(row).CopyTo(buffer.Span<byte>(row * weight.RowBytes, (int)weight.RowBytes));
        copied.Add(weight);
        return WeightMatrix.Over(weight.Format, buffer, weight.Rows, weight.Cols);
    }
}
