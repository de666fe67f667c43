using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Checkpoints.Config;
using Hadal.Numerics.Threading;
using Hadal.Training.Model;

namespace Hadal.Training.Runs;

/// <summary>Arithmetic of training: what a model needs, and what a machine can do.</summary>
public static class ModelFlops
{
    /// <summary>
    /// Floating-point operations that one token of training takes, forward and backward, nothing counted twice that is recomputed: 6 for each matrix weight at work, routed
    /// experts counting by num_experts_per_tok of n_routed_experts, the head once more for each MTP module, the embedding not at all; and for causal attention
    /// 6 · H · (S/2) · (Dqk + Dv) for each layer.
    /// </summary>
    /// <param name="config">The model.</param>
    /// <param name="sequenceLength">Tokens of a sequence (S).</param>
    public static double PerToken(ModelConfig config, int sequenceLength)
    {
        ArgumentNullException.ThrowIfNull(config);
        var weights = config.TieWordEmbeddings ? (double)config.VocabSize * config.HiddenSize : 0;
        foreach (var shape in ParameterList.Of(config))
        {
            if (!shape.IsMatrix || shape.Name == "model.embed_tokens.weight")
                continue;
            var part = shape.Name.Contains(".mlp.experts.", StringComparison.Ordinal) ? (double)config.NumExpertsPerTok / config.NRoutedExperts : 1;
            weights += shape.Count * part;
        }

        weights += (double)config.NumNextnPredictLayers * config.VocabSize * config.HiddenSize;
        var widths = config.IsLatentAttention ? config.QkNopeHeadDim + config.QkRopeHeadDim + config.VHeadDim : 2 * config.HeadDim;
        var attention = (double)(config.NumHiddenLayers + config.NumNextnPredictLayers) * config.NumAttentionHeads * widths * sequenceLength / 2;
        return 6 * (weights + attention);
    }

    /// <summary>
    /// Float32 operations a second that fused multiply-adds in registers reach on all threads, measured in about 20 ms: what utilisation is relative to. Processors that multiply bfloat16
    /// faster can go beyond.
    /// </summary>
    public static double MeasurePeak(KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var sums = new float[threads.Count];
        var best = 0.0;
        for (var round = 0; round < 5; round++)
        {
            var start = TimeProvider.System.GetTimestamp();
            threads.Run(threads.Count, 1, new Multiply(sums));
            best = Math.Max(best, threads.Count * Multiply.Operations / TimeProvider.System.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    private readonly struct Multiply(float[] sums) : IKernelJob
    {
        private const int Rounds = 1_000_000;

        // Eight sums of 16 lanes, each added to and multiplied.
        public const double Operations = 2.0 * 8 * 16 * Rounds;

        public void Invoke(int start, int end, int worker)
        {
            for (var item = start; item < end; item++)
                sums[item] = One(item);
        }

        // Optimised from the first call on, or most of the time would go by in code that is not.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float One(int item)
        {
            var factor = Vector512.Create(1 - (1e-7f * item));
            Vector512<float> a = factor, b = factor, c = factor, d = factor, e = factor, f = factor, g = factor, h = factor;
            for (var i = 0; i < Rounds; i++)
            {
                a = Vector512.FusedMultiplyAdd(a, factor, factor);
                b = Vector512.FusedMultiplyAdd(b, factor, factor);
                c = Vector512.FusedMultiplyAdd(c, factor, factor);
                d = Vector512.FusedMultiplyAdd(d, factor, factor);
                e = Vector512.FusedMultiplyAdd(e, factor, factor);
                f = Vector512.FusedMultiplyAdd(f, factor, factor);
                g = Vector512.FusedMultiplyAdd(g, factor, factor);
                h = Vector512.FusedMultiplyAdd(h, factor, factor);
            }

            return Vector512.Sum(a + b + c + d + e + f + g + h);
        }
    }
}
