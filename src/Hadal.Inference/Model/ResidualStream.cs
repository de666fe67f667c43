using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Inference.Model;

/// <summary>
/// The hidden states that layers add to. What a part of a layer has made (its branch) is added by whoever reads the states next, in the same pass over them
/// (<see cref="ResidualNorm"/>).
/// </summary>
/// <param name="hidden">[T, D].</param>
/// <param name="context">Threads, scratch, options.</param>
internal ref struct ResidualStream(Span<float> hidden, ForwardContext context)
{
    private readonly Span<float> hidden = hidden;
    private bool isPending;

    /// <summary>[T, D]: the input of a part of a layer, which leaves its output there.</summary>
    public readonly Span<float> Branch => context.Scratch.Take(Slot.Branch, hidden.Length);

    /// <summary>What is in <see cref="Branch"/> belongs to the states.</summary>
    public void Add() => isPending = true;

    /// <summary>Adds what is left to add.</summary>
    /// <returns>[T, D].</returns>
    public Span<float> Whole()
    {
        if (isPending)
            TensorPrimitives.Add(hidden, Branch, hidden);
        isPending = false;
        return hidden;
    }

    /// <summary>Normalises the states.</summary>
    /// <param name="weight">[D].</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="target">[T, D]; may be <see cref="Branch"/>.</param>
    /// <param name="block">Values that get one scale where they are quantised as well; else 0.</param>
    /// <returns>The target, and codes until the next call.</returns>
    public Activations Normalize(ReadOnlySpan<float> weight, double epsilon, Span<float> target, int block = 0)
    {
        var bytes = block == 0 ? 0 : (long)hidden.Length / weight.Length * IntegerActivations.RowBytes(weight.Length, block);
        var codes = MemoryMarshal.AsBytes(context.Scratch.Take(Slot.NormedCodes, bytes / sizeof(float)));
        ResidualNorm.Apply(hidden, isPending ? Branch : [], weight, epsilon, target, block, codes, context.Threads);
        isPending = false;
        return new Activations(target, codes, block);
    }
}
