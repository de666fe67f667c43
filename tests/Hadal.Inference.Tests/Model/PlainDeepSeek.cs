using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Inference.Model;
using Hadal.Numerics.Tests.Kernels;

namespace Hadal.Inference.Tests.Model;

/// <summary>
/// The forward pass a second time, in plain loops over doubles: no cache, no batching, none of Hadal's kernels (weights are only decoded by it). Written from
/// the equations of the DeepSeek LLM, V2 and V3 reports and the formulas of huggingface/transformers, as a sequence of textbook steps.
/// </summary>
internal sealed class PlainDeepSeek(Checkpoint checkpoint)
{
    private readonly ModelConfig config = checkpoint.Config;
    private readonly Dictionary<string, double[]> decoded = [];

    /// <summary>The least difference between a score that was chosen and one that was not: a routing decision nearer than float32 rounds may fall either way.</summary>
    public double SmallestMargin { get; private set; } = double.PositiveInfinity;

    /// <summary>Logits [T][V] of the main model, its residual stream and its normed state [T][D].</summary>
    public (double[][] Logits, double[][] Hidden, double[][] Normed) Forward(int[] tokens)
    {
        var x = Embed("model.embed_tokens", tokens);
        for (var layer = 0; layer < config.NumHiddenLayers; layer++)
            x = Block(layer, x);
        var normed = Each(x, row => Norm("model.norm", row));
        return (Each(normed, row => Linear(config.TieWordEmbeddings ? "model.embed_tokens" : "lm_head", row, config.VocabSize)), x, normed);
    }

    /// <summary>One MTP module: states h_i and the tokens t_{i+1} give logits for t_{i+2}; also the block's output and its normed form.</summary>
    public (double[][] Logits, double[][] Hidden, double[][] Normed) ForwardMtp(int module, double[][] states, int[] nextTokens)
    {
        var layer = config.NumHiddenLayers + module;
        var prefix = $"model.layers.{layer}";
        var embedding = Embed(checkpoint.Contains($"{prefix}.embed_tokens.weight") ? $"{prefix}.embed_tokens" : "model.embed_tokens", nextTokens);
        var x = embedding.Select((e, i) => Linear($"{prefix}.eh_proj", [.. Norm($"{prefix}.enorm", e), .. Norm($"{prefix}.hnorm", states[i])], config.HiddenSize)).ToArray();
        x = Block(layer, x);
        var normed = Each(x, row => Norm($"{prefix}.shared_head.norm", row));
        var head = checkpoint.Contains($"{prefix}.shared_head.head.weight") ? $"{prefix}.shared_head.head"
            : config.TieWordEmbeddings ? "model.embed_tokens" : "lm_head";
        return (Each(normed, row => Linear(head, row, config.VocabSize)), x, normed);
    }

    private double[][] Block(int layer, double[][] x)
    {
        var prefix = $"model.layers.{layer}";
        var attended = Attention(prefix, Each(x, row => Norm($"{prefix}.input_layernorm", row)));
        x = x.Zip(attended, Add).ToArray();
        return Each(x, row =>
        {
            var normed = Norm($"{prefix}.post_attention_layernorm", row);
            var isMixture = config.NRoutedExperts > 0 && layer >= config.FirstKDenseReplace && layer % config.MoeLayerFreq == 0;
            return Add(row, isMixture ? Mixture($"{prefix}.mlp", normed) : Mlp($"{prefix}.mlp", normed, config.IntermediateSize));
        });
    }

    private double[][] Attention(string prefix, double[][] x)
    {
        var heads = config.NumAttentionHeads;
        var latent = config.Architecture != Architecture.Llama;
        var (queryWidth, valueWidth) = latent ? (config.QkNopeHeadDim + config.QkRopeHeadDim, config.VHeadDim) : (config.HeadDim, config.HeadDim);
        var queries = new double[x.Length][][];
        var keys = new double[x.Length][][];
        var values = new double[x.Length][][];
        for (var t = 0; t < x.Length; t++)
        {
            if (latent)
                (queries[t], keys[t], values[t]) = Latent($"{prefix}.self_attn", x[t], t);
            else
                (queries[t], keys[t], values[t]) = Grouped($"{prefix}.self_attn", x[t], t);
        }

        var scale = 1 / Math.Sqrt(queryWidth);
        if (latent && config.RopeScaling is { } yarn)
            scale *= Math.Pow(Mscale(yarn.Factor, yarn.MscaleAllDim), 2);
        var output = new double[x.Length][];
        for (var t = 0; t < x.Length; t++)
        {
            var all = new double[heads * valueWidth];
            for (var h = 0; h < heads; h++)
            {
                var weights = Softmax(Enumerable.Range(0, t + 1).Select(s => scale * Dot(queries[t][h], keys[s][h])).ToArray());
                for (var s = 0; s <= t; s++)
                {
                    for (var i = 0; i < valueWidth; i++)
                        all[(h * valueWidth) + i] += weights[s] * values[s][h][i];
                }
            }

            output[t] = Linear($"{prefix}.self_attn.o_proj", all, config.HiddenSize);
        }

        return output;
    }

    private (double[][] Query, double[][] Key, double[][] Value) Grouped(string prefix, double[] x, int position)
    {
        var (heads, groups, width) = (config.NumAttentionHeads, config.NumKeyValueHeads, config.HeadDim);
        var query = Split(Linear($"{prefix}.q_proj", x, heads * width), width);
        var key = Split(Linear($"{prefix}.k_proj", x, groups * width), width);
        var value = Split(Linear($"{prefix}.v_proj", x, groups * width), width);
        double[] Of(double[][] grouped, int head) => grouped[head / (heads / groups)];
        return (
            Each(query, q => Rotate(q, position)),
            [.. Enumerable.Range(0, heads).Select(h => Rotate(Of(key, h), position))],
            [.. Enumerable.Range(0, heads).Select(h => Of(value, h))]);
    }

    private (double[][] Query, double[][] Key, double[][] Value) Latent(string prefix, double[] x, int position)
    {
        var (heads, n, r, c, u) = (config.NumAttentionHeads, config.QkNopeHeadDim, config.QkRopeHeadDim, config.KvLoraRank, config.VHeadDim);
        var query = config.QLoraRank is { } rank
            ? Linear($"{prefix}.q_b_proj", Norm($"{prefix}.q_a_layernorm", Linear($"{prefix}.q_a_proj", x, rank)), heads * (n + r))
            : Linear($"{prefix}.q_proj", x, heads * (n + r));
        var compressed = Linear($"{prefix}.kv_a_proj_with_mqa", x, c + r);
        var latent = Norm($"{prefix}.kv_a_layernorm", compressed[..c]);
        var ropeKey = Rotate(compressed[c..], position);
        double[][] nopeKeys, values;
        if (checkpoint.Contains($"{prefix}.k_b_proj.weight"))
        {
            // Each head's keys are [C, N] here.
            var k = Weight($"{prefix}.k_b_proj", heads * c, n);
            nopeKeys = [.. Enumerable.Range(0, heads).Select(h => Enumerable.Range(0, n).Select(i => Enumerable.Range(0, c).Sum(j => k[(((h * c) + j) * n) + i] * latent[j])).ToArray())];
            values = Split(Linear($"{prefix}.v_b_proj", latent, heads * u), u);
        }
        else
        {
            var both = Split(Linear($"{prefix}.kv_b_proj", latent, heads * (n + u)), n + u);
            nopeKeys = Each(both, kv => kv[..n]);
            values = Each(both, kv => kv[n..]);
        }

        return (
            Each(Split(query, n + r), q => [.. q[..n], .. Rotate(q[n..], position)]),
            Each(nopeKeys, k => [.. k, .. ropeKey]),
            values);
    }

    private double[] Rotate(double[] x, int position)
    {
        var half = x.Length / 2;
        var turned = new double[x.Length];
        var magnitude = config.RopeScaling is { } yarn ? Mscale(yarn.Factor, yarn.Mscale) / Mscale(yarn.Factor, yarn.MscaleAllDim) : 1;
        for (var i = 0; i < half; i++)
        {
            var angle = position * Frequency(i, x.Length);
            var (a, b) = config.RopeInterleaved ? (2 * i, (2 * i) + 1) : (i, i + half);
            turned[a] = magnitude * ((x[a] * Math.Cos(angle)) - (x[b] * Math.Sin(angle)));
            turned[b] = magnitude * ((x[a] * Math.Sin(angle)) + (x[b] * Math.Cos(angle)));
        }

        return turned;
    }

    private double Frequency(int i, int width)
    {
        var frequency = 1 / Math.Pow(config.RopeTheta, 2.0 * i / width);
        if (config.RopeScaling is not { } yarn)
            return frequency / config.RopeLinearFactor;
        double Dimension(double rotations) => width * Math.Log(yarn.OriginalMaxPositionEmbeddings / (rotations * 2 * Math.PI)) / (2 * Math.Log(config.RopeTheta));
        var low = Math.Max(Math.Floor(Dimension(yarn.BetaFast)), 0);
        var high = Math.Min(Math.Ceiling(Dimension(yarn.BetaSlow)), width - 1);
        var ramp = Math.Clamp((i - low) / (high == low ? 0.001 : high - low), 0, 1);
        return (frequency / yarn.Factor * ramp) + (frequency * (1 - ramp));
    }

    private static double Mscale(double factor, double mscale) => factor <= 1 ? 1 : (0.1 * mscale * Math.Log(factor)) + 1;

    private double[] Mixture(string prefix, double[] x)
    {
        var experts = config.NRoutedExperts;
        var scores = Linear($"{prefix}.gate", x, experts);
        scores = config.ScoringFunc == ScoringFunc.Sigmoid ? [.. scores.Select(s => 1 / (1 + Math.Exp(-s)))] : Softmax(scores);
        var selection = scores.ToArray();
        if (config.TopkMethod == TopkMethod.NoauxTc)
            selection = Add(selection, [.. checkpoint.Vector($"{prefix}.gate.e_score_correction_bias", experts).Select(b => (double)b)]);
        var allowed = Enumerable.Range(0, experts);
        if (config.TopkMethod != TopkMethod.Greedy && config.NGroup > 1)
        {
            var groups = Split(selection, experts / config.NGroup);
            var groupScores = groups.Select(g => config.TopkMethod == TopkMethod.NoauxTc ? g.OrderDescending().Take(2).Sum() : g.Max()).ToArray();
            var kept = Best(groupScores, Enumerable.Range(0, config.NGroup), config.TopkGroup);
            allowed = allowed.Where(e => kept.Contains(e / (experts / config.NGroup)));
        }

        var chosen = Best(selection, allowed, config.NumExpertsPerTok);
        var sum = config.NormTopkProb ? chosen.Sum(e => scores[e]) : 1;
        var output = config.NSharedExperts > 0 ? Mlp($"{prefix}.shared_experts", x, config.NSharedExperts * config.MoeIntermediateSize) : new double[x.Length];
        foreach (var e in chosen)
            output = Add(output, [.. Mlp($"{prefix}.experts.{e}", x, config.MoeIntermediateSize).Select(v => v * scores[e] / sum * config.RoutedScalingFactor)]);
        return output;
    }

    private int[] Best(double[] scores, IEnumerable<int> candidates, int count)
    {
        var order = candidates.OrderByDescending(i => scores[i]).ToArray();
        if (count < order.Length)
            SmallestMargin = Math.Min(SmallestMargin, scores[order[count - 1]] - scores[order[count]]);
        return order[..count];
    }

    private double[] Mlp(string prefix, double[] x, int width)
    {
        var up = Linear($"{prefix}.up_proj", x, width);
        return Linear($"{prefix}.down_proj", [.. Linear($"{prefix}.gate_proj", x, width).Select((g, i) => g / (1 + Math.Exp(-g)) * up[i])], config.HiddenSize);
    }

    private double[][] Embed(string name, int[] tokens)
    {
        var table = Weight(name, config.VocabSize, config.HiddenSize);
        return [.. tokens.Select(t => table[(t * config.HiddenSize)..((t + 1) * config.HiddenSize)])];
    }

    private double[] Linear(string name, double[] x, int outputs)
    {
        var weight = Weight(name, outputs, x.Length);
        var y = new double[outputs];
        for (var m = 0; m < outputs; m++)
        {
            for (var k = 0; k < x.Length; k++)
                y[m] += weight[(m * x.Length) + k] * x[k];
        }

        return y;
    }

    private double[] Norm(string name, double[] x)
    {
        var weight = checkpoint.Vector($"{name}.weight", x.Length);
        var root = Math.Sqrt(x.Average(v => v * v) + config.RmsNormEps);
        return [.. x.Select((v, i) => v / root * weight[i])];
    }

    private double[] Weight(string name, int rows, int cols)
    {
        if (!decoded.TryGetValue(name, out var values))
            decoded[name] = values = [.. RandomMatrix.Decode(checkpoint.Matrix($"{name}.weight", rows, cols)).Select(v => (double)v)];
        return values;
    }

    private static double[] Softmax(double[] x)
    {
        var max = x.Max();
        var exps = x.Select(v => Math.Exp(v - max)).ToArray();
        var sum = exps.Sum();
        return [.. exps.Select(e => e / sum)];
    }

    private static double Dot(double[] x, double[] y) => x.Select((v, i) => v * y[i]).Sum();

    private static double[] Add(double[] x, double[] y) => [.. x.Select((v, i) => v + y[i])];

    private static double[][] Split(double[] x, int width) => [.. x.Chunk(width)];

    private static double[][] Each(double[][] rows, Func<double[], double[]> f) => [.. rows.Select(f)];
}
