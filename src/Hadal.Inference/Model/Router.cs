using Hadal.Checkpoints.Config;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>
/// Chooses K of E experts for each token and their weights. V3: sigmoid affinities, a bias for selection only, group score = sum of the two best biased
/// affinities, other groups excluded with -infinity, weights normalised and scaled (DeepSeek-V3 report equations 13-16 and section 2.1.2;
/// <c>Gate</c> of deepseek-ai/DeepSeek-V3 inference/model.py). V2: softmax affinities, group score = maximum (DeepSeek-V2 report section 2.2.2).
/// </summary>
internal sealed class Router
{
    private readonly Linear gate;
    private readonly float[]? bias;
    private readonly ScoringFunc scoring;
    private readonly int experts;
    private readonly int groups;
    private readonly int keptGroups;
    private readonly bool groupByMaximum;
    private readonly bool normalize;
    private readonly float scale;

    public Router(Weights weights)
    {
        var config = weights.Config;
        experts = config.NRoutedExperts;
        ExpertsPerToken = config.NumExpertsPerTok;
        gate = weights.Linear("gate", experts, config.HiddenSize);
        bias = config.TopkMethod == TopkMethod.NoauxTc ? weights.Vector("gate.e_score_correction_bias", experts) : null;
        scoring = config.ScoringFunc;
        groups = config.TopkMethod == TopkMethod.Greedy ? 1 : config.NGroup;
        keptGroups = groups == 1 ? 1 : config.TopkGroup;
        groupByMaximum = config.TopkMethod == TopkMethod.GroupLimitedGreedy;
        normalize = config.NormTopkProb;
        scale = (float)config.RoutedScalingFactor;
    }

    /// <summary>K.</summary>
    public int ExpertsPerToken { get; }

    /// <summary>Routes a batch.</summary>
    /// <param name="x">[T, D].</param>
    /// <param name="ids">[T, K], in descending order of selection score.</param>
    /// <param name="routedWeights">[T, K].</param>
    /// <param name="tokens">T.</param>
    /// <param name="context">Threads and scratch.</param>
    public void Route(ReadOnlySpan<float> x, Span<int> ids, Span<float> routedWeights, int tokens, ForwardContext context)
    {
        // For each token its affinities; for one token at a time what experts and groups are selected by.
        var memory = context.Scratch.Take(Slot.RouterScores, ((long)tokens * experts) + experts + (2L * groups));
        var scores_TE = memory[..(tokens * experts)];
        var selection_E = memory.Slice(tokens * experts, experts);
        var groups_2G = memory[((tokens * experts) + experts)..];

        // A routing decision must not hang on the rounding of activations to bfloat16 either.
        if (context.Options.Activations == ActivationPrecision.BF16 && !WeightFormats.HasIntegerProducts(gate.Weight.Format))
            MatMul.Multiply(gate.Weight, x, scores_TE, tokens, context.Threads);
        else
            gate.Apply(x, scores_TE, tokens, context);
        for (var t = 0; t < tokens; t++)
        {
            Choose(
                scores_TE.Slice(t * experts, experts), selection_E, groups_2G,
                ids.Slice(t * ExpertsPerToken, ExpertsPerToken), routedWeights.Slice(t * ExpertsPerToken, ExpertsPerToken));
        }
    }

    private static void Sigmoid(Span<float> x)
    {
        // Scalar and in double: a routing decision must not hang on the rounding of a vector exponential.
        for (var i = 0; i < x.Length; i++)
            x[i] = (float)(1 / (1 + Math.Exp(-(double)x[i])));
    }

    private void Choose(Span<float> scores, Span<float> selection, Span<float> groupMemory, Span<int> ids, Span<float> routedWeights)
    {
        if (scoring == ScoringFunc.Sigmoid)
            Sigmoid(scores);
        else
            Softmax.InPlace(scores);
        scores.CopyTo(selection);
        for (var e = 0; bias is not null && e < experts; e++)
            selection[e] += bias[e];
        if (groups > 1)
            ExcludeGroups(selection, groupMemory[..groups], groupMemory[groups..]);

        var sum = 0f;
        for (var k = 0; k < ids.Length; k++)
        {
            var best = IndexOfMaximum(selection);
            selection[best] = float.NegativeInfinity;
            ids[k] = best;
            routedWeights[k] = scores[best];
            sum += scores[best];
        }

        // 1e-20 as Hugging Face's code: without effect except that a sum of zero gives no NaN.
        var factor = normalize ? 1 / (sum + 1e-20f) : 1;
        for (var k = 0; k < ids.Length; k++)
            routedWeights[k] = routedWeights[k] * factor * scale;
    }

    private void ExcludeGroups(Span<float> selection, Span<float> groupScores, Span<float> excluded)
    {
        var size = experts / groups;
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

            groupScores[g] = groupByMaximum || size == 1 ? first : first + second;
        }

        excluded.Fill(1);
        for (var i = 0; i < keptGroups; i++)
        {
            var best = IndexOfMaximum(groupScores);
            excluded[best] = 0;
            groupScores[best] = float.NegativeInfinity;
        }

        for (var g = 0; g < groups; g++)
        {
            if (excluded[g] != 0)
                selection.Slice(g * size, size).Fill(float.NegativeInfinity);
        }
    }

    // The first of equals. A NaN (a broken model) is never greater, so the answer is always an index.
    private static int IndexOfMaximum(ReadOnlySpan<float> values)
    {
        var best = 0;
        for (var i = 1; i < values.Length; i++)
        {
            if (values[i] > values[best])
                best = i;
        }

        return best;
    }
}
