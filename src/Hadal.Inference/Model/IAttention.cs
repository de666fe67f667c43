using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>The attention of one layer: from normalised hidden states to the output projection, writing the cache on the way.</summary>
internal interface IAttention
{
    /// <summary>Values of <see cref="Slot.Intermediate"/> that <see cref="Forward"/> needs for each token.</summary>
    long ScratchWidth { get; }

    /// <summary>In what blocks it takes its input quantised; 0 where it does not.</summary>
    int QuantizedBlock(ForwardContext context);

    /// <summary>Attends.</summary>
    /// <param name="x">[T, D]: normalised hidden states.</param>
    /// <param name="output">[T, D]; may be the memory of the input.</param>
    /// <param name="layer">Layer whose cache rows are written and read.</param>
    /// <param name="batch">Runs of tokens and their caches, room reserved.</param>
    /// <param name="angles">Cosines and sines of the batch's positions.</param>
    /// <param name="context">Threads, scratch, options.</param>
    void Forward(Activations x, Span<float> output, int layer, ForwardBatch batch, in RotaryAngles angles, ForwardContext context);

    /// <summary>Writes the cache rows that <see cref="Forward"/> would write, and nothing else.</summary>
    /// <param name="x">[T, D], normalised.</param>
    /// <param name="layer">Layer whose cache rows are written.</param>
    /// <param name="batch">Runs of tokens and their caches, room reserved.</param>
    /// <param name="angles">Cosines and sines of the batch's positions.</param>
    /// <param name="context">Threads, scratch, options.</param>
    void Fill(Activations x, int layer, ForwardBatch batch, in RotaryAngles angles, ForwardContext context);
}

/// <summary>Cosines and sines for each token of a batch, shared by all layers and heads.</summary>
internal readonly ref struct RotaryAngles
{
    private readonly Span<float> cos;
    private readonly Span<float> sin;
    private readonly int half;

    public RotaryAngles(RotaryEmbedding rotary, ForwardBatch batch, ForwardScratch scratch)
    {
        Rotary = rotary;
        half = rotary.Dimension / 2;
        cos = scratch.Take(Slot.Cos, (long)batch.TokenCount * half);
        sin = scratch.Take(Slot.Sin, (long)batch.TokenCount * half);
        foreach (var segment in batch.Segments)
        {
            for (var i = 0; i < segment.Count; i++)
                rotary.Angles(segment.First + i, Cos(segment.Start + i), Sin(segment.Start + i));
        }
    }

    private RotaryEmbedding Rotary { get; }

    /// <summary>Turns one vector [R] of token <paramref name="token"/> in place.</summary>
    public void Rotate(Span<float> x, int token) => Rotary.Rotate(x, Cos(token), Sin(token));

    private Span<float> Cos(int token) => cos.Slice(token * half, half);

    private Span<float> Sin(int token) => sin.Slice(token * half, half);
}
