using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Training;
using Hadal.Numerics.Threading;
using Hadal.Training.Losses;
using Hadal.Training.Precision;

namespace Hadal.Training.Model;

/// <summary>
/// Chooses K of E experts for each token and their weights, forward and backward, in float32 throughout. V3: sigmoid affinities s, a bias for selection only,
/// group score = sum of the two best biased affinities, weights c s / sum of the chosen s (DeepSeek-V3 report equations 13-16); V2: softmax affinities, group
/// score = maximum, weights c s (DeepSeek-V2 report section 2.2.2). Gradient flows through the weights and the balance losses; choices have none.
/// </summary>
internal sealed class Router
{
    // As Hugging Face's code: without effect except that a sum of zero gives no NaN.
    private const float Tiny = 1e-20f;
    private const int Grain = 16;

    private readonly ModelMemory memory;
    private readonly Linear gate;
    private readonly float[]? bias;
    private readonly int experts;
    private readonly int k;
    private readonly int groups;
    private readonly MatrixView scores_TE;
    private readonly MatrixView affinities_TE;
    private readonly int[] unbiased_TK;

    public Router(ModelMemory memory, string prefix, float[]? bias)
    {
        this.memory = memory;
        this.bias = bias;
        var config = memory.Config;
        (experts, k) = (config.NRoutedExperts, config.NumExpertsPerTok);
        groups = config.TopkMethod == TopkMethod.Greedy ? 1 : config.NGroup;
        gate = memory.Linear($"{prefix}.weight", experts, config.HiddenSize, WeightFormat.F32);
        scores_TE = memory.Kept(WeightFormat.F32, experts);
        affinities_TE = config.ScoringFunc == ScoringFunc.Softmax ? scores_TE : memory.Kept(WeightFormat.F32, experts);
        unbiased_TK = new int[memory.Options.MaxTokens * k];
        Ids = new int[memory.Options.MaxTokens * k];
        Weights = new float[memory.Options.MaxTokens * k];
        Counts = new int[experts];
        Balance = new BalanceLoss(experts, k, memory.Options);
    }

    /// <summary>[T, K], in descending order of selection score.</summary>
    public int[] Ids { get; }

    /// <summary>[T, K].</summary>
    public float[] Weights { get; }

    /// <summary>Tokens sent to each expert, [E].</summary>
    public int[] Counts { get; }

    /// <summary>Balance losses of the last pass.</summary>
    public BalanceLoss Balance { get; }

    /// <summary>Everything that was chosen for the first rows of the last pass: experts used, and experts that balance losses count.</summary>
    public IEnumerable<int> Choices(int rows) => Ids.Take(rows * k).Concat(unbiased_TK.Take(rows * k));

    /// <summary>Routes a batch.</summary>
    /// <param name="x">[T, D] operand.</param>
    /// <param name="layout">Sequences.</param>
    public void Forward(MatrixView x, RowLayout layout)
    {
        var t = layout.Rows;
        gate.Fprop(Input(x), scores_TE.SliceRows(0, t), memory.Threads);
        memory.Threads.Run(t, Grain, new ChooseJob(this));
        Array.Clear(Counts);
        foreach (var id in Ids.AsSpan(0, t * k))
            Counts[id]++;
        var chosen = memory.Options.BalanceCounts == BalanceCounts.Selected ? Ids : unbiased_TK;
        Balance.Compute(Flat(affinities_TE, t), chosen.AsSpan(0, t * k), layout.Sequences, layout.Length);
    }

    /// <summary>The gradient of the input, and of the gate.</summary>
    /// <param name="dweights">[T, K].</param>
    /// <param name="x">As in the forward pass.</param>
    /// <param name="dx">F32 [T, D], overwritten.</param>
    /// <param name="layout">As in the forward pass.</param>
    /// <param name="lossScale">What the balance losses are multiplied with.</param>
    /// <param name="name">What the gradient of the logits is called for a probe.</param>
    public void Backward(float[] dweights, MatrixView x, MatrixView dx, RowLayout layout, float lossScale, string name)
    {
        var t = layout.Rows;
        var dlogits_TE = memory.Scratch.Take(Slot.RouterGradient, WeightFormat.F32, t, experts);
        memory.Threads.Run(t, Grain, new GradientJob(this, dweights, dlogits_TE, lossScale));
        memory.Probe?.Invoke($"{name}.router_logits", dlogits_TE);
        gate.Wgrad(dlogits_TE, Input(x), memory.Threads);
        gate.Dgrad(dlogits_TE, dx, memory.Threads);
    }

    private static Span<float> Flat(MatrixView view, int rows) => view.Reshape(1, view.Rows * view.Cols).Row(0)[..(rows * view.Cols)];

    private MatrixView Input(MatrixView x)
    {
        if (x.Format == WeightFormat.F32)
            return x;
        var input = memory.Scratch.Take(Slot.RouterInput, WeightFormat.F32, x.Rows, x.Cols);
        RowKernels.Copy(x, input, memory.Threads);
        return input;
    }

    private static void Sigmoid(Span<float> x)
    {
        // Scalar and in double, as Hadal.Inference does it: a routing decision must not hang on the rounding of a vector exponential.
        for (var i = 0; i < x.Length; i++)
            x[i] = (float)(1 / (1 + Math.Exp(-(double)x[i])));
    }

    private void Choose(int token, Span<float> selection, Span<float> groupScores)
    {
        var config = memory.Config;
        var scores = scores_TE.Row(token);
        if (config.ScoringFunc == ScoringFunc.Sigmoid)
        {
            Sigmoid(scores);
            System.Numerics.Tensors.TensorPrimitives.Divide(scores, System.Numerics.Tensors.TensorPrimitives.Sum<float>(scores) + Tiny, affinities_TE.Row(token));
        }
        else
        {
            Softmax.InPlace(scores);
        }

        scores.CopyTo(selection);
        TakeBest(selection, unbiased_TK.AsSpan(token * k, k));
        scores.CopyTo(selection);
        for (var e = 0; bias is not null && e < experts; e++)
            selection[e] += bias[e];
        if (groups > 1)
            ExcludeGroups(selection, groupScores);
        var ids = Ids.AsSpan(token * k, k);
        TakeBest(selection, ids);
        var weights = Weights.AsSpan(token * k, k);
        var sum = 0f;
        for (var i = 0; i < k; i++)
            sum += scores[ids[i]];
        var factor = config.NormTopkProb ? 1 / (sum + Tiny) : 1;
        for (var i = 0; i < k; i++)
            weights[i] = scores[ids[i]] * factor * (float)config.RoutedScalingFactor;
    }

    // The first of equals first; what is taken becomes -infinity.
    private static void TakeBest(Span<float> selection, Span<int> ids)
    {
        for (var i = 0; i < ids.Length; i++)
        {
            ids[i] = IndexOfMaximum(selection);
            selection[ids[i]] = float.NegativeInfinity;
        }
    }

    private void ExcludeGroups(Span<float> selection, Span<float> groupScores)
    {
        var size = experts / groups;
        var byMaximum = memory.Config.TopkMethod == TopkMethod.GroupLimitedGreedy;
        for (var g = 0; g < groups; g++)
        {
            float first = float.NegativeInfinity, second = float.NegativeInfinity;
            foreach (var s in selection.Slice(g * size, size))
            {
                if (s > first)
                    (first, second) = (s, first);
                else if (s > second)
                    second = s;
            }

            groupScores[g] = byMaximum || size == 1 ? first : first + second;
        }

        // Groups that are kept are marked by NaN, which no score is.
        for (var i = 0; i < memory.Config.TopkGroup; i++)
            groupScores[IndexOfMaximum(groupScores)] = float.NaN;
        for (var g = 0; g < groups; g++)
        {
            if (!float.IsNaN(groupScores[g]))
                selection.Slice(g * size, size).Fill(float.NegativeInfinity);
        }
    }

    // The first of equals; NaN is never chosen while there is a number, and the answer is always an index.
    private static int IndexOfMaximum(ReadOnlySpan<float> values)
    {
        var best = 0;
        for (var i = 1; i < values.Length; i++)
        {
            if (values[i] > values[best] || float.IsNaN(values[best]))
                best = i;
        }

        return best;
    }

    private void Gradient(int token, ReadOnlySpan<float> dweights, Span<float> dlogits, Span<double> dscores, float lossScale)
    {
        var config = memory.Config;
        var scores = scores_TE.Row(token);
        var affinities = affinities_TE.Row(token);
        var ids = Ids.AsSpan(token * k, k);

        // Balance first: s' to s. For softmax s' is s.
        dscores.Clear();
        Balance.AddGradient(token, lossScale, dscores);
        if (config.ScoringFunc == ScoringFunc.Sigmoid)
        {
            double sum = 0, mean = 0;
            for (var e = 0; e < experts; e++)
            {
                sum += scores[e];
                mean += dscores[e] * affinities[e];
            }

            for (var e = 0; e < experts; e++)
                dscores[e] = (dscores[e] - mean) / (sum + Tiny);
        }

        // Weights: w = c s / sum, or c s.
        double chosen = 0, dot = 0;
        for (var i = 0; i < k; i++)
        {
            chosen += scores[ids[i]];
            dot += (double)dweights[i] * scores[ids[i]];
        }

        var normalize = config.NormTopkProb;
        for (var i = 0; i < k; i++)
            dscores[ids[i]] += config.RoutedScalingFactor * (normalize ? (dweights[i] - (dot / (chosen + Tiny))) / (chosen + Tiny) : dweights[i]);

        if (config.ScoringFunc == ScoringFunc.Sigmoid)
        {
            for (var e = 0; e < experts; e++)
                dlogits[e] = (float)(dscores[e] * scores[e] * (1 - (double)scores[e]));
            return;
        }

        var projection = 0.0;
        for (var e = 0; e < experts; e++)
            projection += dscores[e] * scores[e];
        for (var e = 0; e < experts; e++)
            dlogits[e] = (float)((dscores[e] - projection) * scores[e]);
    }

    private readonly struct ChooseJob(Router router) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            Span<float> selection = stackalloc float[router.experts], groups = stackalloc float[router.groups];
            for (var token = start; token < end; token++)
                router.Choose(token, selection, groups);
        }
    }

    private readonly struct GradientJob(Router router, float[] dweights, MatrixView dlogits, float lossScale) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            Span<double> dscores = stackalloc double[router.experts];
            for (var token = start; token < end; token++)
                router.Gradient(token, dweights.AsSpan(token * router.k, router.k), dlogits.Row(token), dscores, lossScale);
        }
    }
}
