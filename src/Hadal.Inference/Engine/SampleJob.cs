using Hadal.Numerics.Threading;

namespace Hadal.Inference.Engine;

/// <summary>Draws the next tokens of several sequences at once: with a large vocabulary one draw takes about a millisecond.</summary>
/// <param name="draws">The sequences, each with its row of the logits.</param>
/// <param name="logits">[rows, V]; changed by bias and penalties.</param>
/// <param name="vocabulary">V.</param>
internal readonly ref struct SampleJob(ReadOnlySpan<(Sequence Sequence, int Row)> draws, Span<float> logits, int vocabulary) : IKernelJob
{
    private readonly ReadOnlySpan<(Sequence Sequence, int Row)> draws = draws;
    private readonly Span<float> logits = logits;

    /// <inheritdoc/>
    public void Invoke(int start, int end, int worker)
    {
        foreach (var (sequence, row) in draws[start..end])
            sequence.Drawn = sequence.Sampler.Sample(logits.Slice(row * vocabulary, vocabulary));
    }
}
