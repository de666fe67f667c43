using Hadal.Training.Model;

namespace Hadal.Training.Losses;

/// <summary>
/// The balance losses of one layer: alpha * sum over experts of f_e P_e, with f_e = E/(K T) * tokens that chose e, and P_e the mean of the normalised
/// affinities s'. Sequence-wise: f and P of each sequence, the mean over sequences (DeepSeek-V3 report equations 17-20); batch-wise: over all tokens (section
/// 4.5.3). f carries no gradient.
/// </summary>
internal sealed class BalanceLoss
{
    private readonly int experts;
    private readonly int expertsPerToken;
    private readonly double sequenceAlpha;
    private readonly double batchAlpha;
    private readonly int maxTokens;
    private int sequences;
    private int length;

    public BalanceLoss(int experts, int expertsPerToken, TrainingOptions options)
    {
        this.experts = experts;
        this.expertsPerToken = expertsPerToken;
        (sequenceAlpha, batchAlpha, maxTokens) = (options.SequenceAlpha, options.BatchAlpha, options.MaxTokens);
        BatchF = new double[experts];
        BatchP = new double[experts];
    }

    /// <summary>Sequence-wise loss, alpha included.</summary>
    public double Sequence { get; private set; }

    /// <summary>Batch-wise loss, alpha included.</summary>
    public double Batch { get; private set; }

    /// <summary>f of each sequence, [B, E].</summary>
    public double[] SequenceF { get; private set; } = [];

    /// <summary>P of each sequence, [B, E].</summary>
    public double[] SequenceP { get; private set; } = [];

    /// <summary>f over all tokens, [E].</summary>
    public double[] BatchF { get; }

    /// <summary>P over all tokens, [E].</summary>
    public double[] BatchP { get; }

    /// <summary>Computes both losses.</summary>
    /// <param name="affinities">[B*S, E]: s' of each token.</param>
    /// <param name="chosen">[B*S, K]: which experts count as chosen.</param>
    /// <param name="sequences">B.</param>
    /// <param name="length">S.</param>
    public void Compute(ReadOnlySpan<float> affinities, ReadOnlySpan<int> chosen, int sequences, int length)
    {
        (this.sequences, this.length) = (sequences, length);
        if (SequenceF.Length < sequences * experts)
        {
            SequenceF = new double[Math.Min(maxTokens, Math.Max(sequences, 2 * SequenceF.Length / experts)) * experts];
            SequenceP = new double[SequenceF.Length];
        }

        Array.Clear(BatchF);
        Array.Clear(BatchP);
        Sequence = 0;
        for (var b = 0; b < sequences; b++)
        {
            var f = SequenceF.AsSpan(b * experts, experts);
            var p = SequenceP.AsSpan(b * experts, experts);
            f.Clear();
            p.Clear();
            foreach (var e in chosen.Slice(b * length * expertsPerToken, length * expertsPerToken))
                f[e]++;
            var own = affinities.Slice(b * length * experts, length * experts);
            for (var t = 0; t < own.Length; t += experts)
            {
                for (var e = 0; e < experts; e++)
                    p[e] += own[t + e];
            }

            for (var e = 0; e < experts; e++)
            {
                f[e] *= experts / ((double)expertsPerToken * length);
                p[e] /= length;
                BatchF[e] += f[e] / sequences;
                BatchP[e] += p[e] / sequences;
                Sequence += sequenceAlpha * f[e] * p[e] / sequences;
            }
        }

        Batch = 0;
        for (var e = 0; e < experts; e++)
            Batch += batchAlpha * BatchF[e] * BatchP[e];
    }

    /// <summary>Adds the gradient of both losses with respect to s' of one token.</summary>
    /// <param name="token">Row.</param>
    /// <param name="scale">What the losses are multiplied with.</param>
    /// <param name="gradient">[E].</param>
    public void AddGradient(int token, double scale, Span<double> gradient)
    {
        var f = SequenceF.AsSpan(token / length * experts, experts);
        var each = scale / ((double)sequences * length);
        for (var e = 0; e < experts; e++)
            gradient[e] += each * ((sequenceAlpha * f[e]) + (batchAlpha * BatchF[e]));
    }
}
