using Hadal.Checkpoints.Config;
using Hadal.Training.Model;
using Hadal.Training.Precision;

namespace Hadal.Training.Tests.Kernels;

/// <summary>The modules of a model, one at a time, against recorded operators.</summary>
public sealed class RecordedModuleTests
{
    private const string Attention = "model.layers.0.self_attn";
    private const string Block = "model.layers.0.mlp";

    // The recorded operators' shape: D 24, H 3, N 8, R 4, U 6, C 12, Q 10, E 12, K 3, F 10; YaRN's factor 4.
    private static readonly ModelConfig Shape = new()
    {
        Architecture = Architecture.DeepseekV3, VocabSize = 4, HiddenSize = 24, IntermediateSize = 10, NumHiddenLayers = 1, NumAttentionHeads = 3, QLoraRank = 10, KvLoraRank = 12,
        QkNopeHeadDim = 8, QkRopeHeadDim = 4, VHeadDim = 6, NRoutedExperts = 12, NSharedExperts = 2, NumExpertsPerTok = 3, MoeIntermediateSize = 10, FirstKDenseReplace = 0, NGroup = 4,
        TopkGroup = 2, RoutedScalingFactor = 2.5, ScoringFunc = ScoringFunc.Sigmoid, TopkMethod = TopkMethod.NoauxTc, NormTopkProb = true, RmsNormEps = 1e-6, RopeTheta = 10000,
        RopeInterleaved = true, MaxPositionEmbeddings = 256,
        RopeScaling = new YarnScaling { Factor = 4, BetaFast = 32, BetaSlow = 1, Mscale = 1, MscaleAllDim = 1, OriginalMaxPositionEmbeddings = 64 },
    };

    [Theory]
    [InlineData("mla")]
    [InlineData("mla_noqlora")]
    public void LatentAttention(string name)
    {
        using var op = new RecordedOperator(name);
        var lora = name == "mla";
        var config = Shape with { QLoraRank = lora ? 10 : null };
        var memory = op.Memory(config);
        Assert.Equal(op.Scalar("softmax_scale"), Positions.SoftmaxScale(config), 1e-7);
        Assert.Equal(op.Doubles("inv_freq"), memory.Rotary.Frequencies.ToArray(), (a, b) => Math.Abs(a - b) < 1e-12);
        var attention = new LatentAttention(memory, Attention);
        string[] weights = [.. lora ? ["q_a_proj", "q_a_layernorm", "q_b_proj"] : (string[])["q_proj"], "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj", "o_proj"];
        foreach (var weight in weights)
            op.Weight(weight, $"{Attention}.{weight}.weight");
        memory.Refresh();
        var layout = RecordedOperator.Layout(memory, 2, 7);
        var (x, y, dx) = (op.Rows("x"), op.Empty(14, 24), op.Empty(14, 24));
        attention.Forward(x, y, layout);
        attention.Backward(op.Rows("dy"), x, dx, layout);
        op.Close("y", y);
        op.Close("dx", dx);
        foreach (var weight in weights)
            op.Gradient($"d{weight}", $"{Attention}.{weight}.weight");
    }

    [Fact]
    public void FeedForwardLayer()
    {
        using var op = new RecordedOperator("mlp");
        var memory = op.Memory(Shape with { FirstKDenseReplace = 1 });
        var layer = new FeedForward(memory, Block);
        string[] weights = ["gate_proj", "up_proj", "down_proj"];
        foreach (var weight in weights)
            op.Weight(weight, $"{Block}.{weight}.weight");
        memory.Refresh();
        var layout = RecordedOperator.Layout(memory, 1, 6);
        var (x, y, dx) = (op.Rows("x"), op.Empty(6, 24), op.Empty(6, 24));
        layer.Forward(x, op.Empty(6, 24), y, layout);
        layer.Backward(op.Rows("dy"), x, dx, layout, lossScale: 1);
        op.Close("y", y);
        op.Close("dx", dx);
        foreach (var weight in weights)
            op.Gradient($"d{weight}", $"{Block}.{weight}.weight");
    }

    [Fact]
    public void LinearLayer()
    {
        using var op = new RecordedOperator("linear");
        var memory = op.Memory(Shape with { VocabSize = 9 });
        var linear = memory.Linear("lm_head.weight", 9, 24);
        op.Weight("w", "lm_head.weight");
        memory.Refresh();
        var (x, dy, y, dx) = (op.Rows("x"), op.Rows("dy"), op.Empty(6, 9), op.Empty(6, 24));
        linear.Fprop(x, y, op.Threads);
        linear.Dgrad(dy, dx, op.Threads);
        linear.Wgrad(dy, x, op.Threads);
        op.Close("y", y);
        op.Close("dx", dx);
        op.Gradient("dw", "lm_head.weight");
    }

    [Theory]
    [InlineData("router_sigmoid")]
    [InlineData("router_sigmoid_nogroups")]
    [InlineData("router_softmax")]
    [InlineData("router_softmax_greedy")]
    public void RouterAndItsBalanceLosses(string name)
    {
        var dweights = Run("none", sequenceAlpha: 0, batchAlpha: 0);
        Run("balance_sequence", sequenceAlpha: 1, batchAlpha: 0);
        Run("balance_batch", sequenceAlpha: 0, batchAlpha: 1);
        Assert.Contains(dweights, value => value != 0);

        float[] Run(string loss, double sequenceAlpha, double batchAlpha)
        {
            using var op = new RecordedOperator(name);
            var config = Routing(op, name);
            var memory = op.Memory(config, new TrainingOptions { Precision = TrainingPrecision.Fp32, MaxTokens = 28, SequenceAlpha = sequenceAlpha, BatchAlpha = batchAlpha });
            var router = new Router(memory, $"{Block}.gate", Bias(op, config));
            op.Weight("w_gate", $"{Block}.gate.weight");
            memory.Refresh();
            memory.Probe = (_, dlogits) => op.Close(loss == "none" ? "dlogits" : $"{loss}.dlogits", dlogits);
            var layout = RecordedOperator.Layout(memory, 4, 7);
            var (x, dx) = (op.Rows("x"), op.Empty(28, 24));
            router.Forward(x, layout);
            Assert.Equal(Sorted(op.Integers("ids")), Sorted(router.Ids));
            Assert.Equal(Sorted(op.Integers("unbiased_topk_ids")), Sorted([.. router.Choices(28).Skip(84)]));

            // Recorded in the order of recorded ids.
            float[] upstream = loss == "none" ? Reordered(op.Integers("ids"), op.Doubles("dweights"), router.Ids) : new float[84];
            op.Close("weights", Reordered(router.Ids, [.. router.Weights.Select(w => (double)w)], op.Integers("ids")));
            router.Backward(upstream, x, dx, layout, lossScale: 1, "layer0");
            if (loss == "none")
            {
                op.Close("dx", dx);
                op.Gradient("dw_gate", $"{Block}.gate.weight");
                return upstream;
            }

            var (value, f, p) = loss == "balance_batch"
                ? (router.Balance.Batch, router.Balance.BatchF, router.Balance.BatchP)
                : (router.Balance.Sequence, router.Balance.SequenceF[..48], router.Balance.SequenceP[..48]);
            Assert.Equal(op.Scalar($"{loss}.loss"), value, 1e-6);
            Assert.Equal(op.Doubles($"{loss}.f"), f, (a, b) => Math.Abs(a - b) < 1e-12);
            Assert.Equal(op.Doubles($"{loss}.P"), p, (a, b) => Math.Abs(a - b) < 1e-7);
            return upstream;
        }
    }

    [Theory]
    [InlineData("moe_v3")]
    [InlineData("moe_v2")]
    public void MixtureWithAnExpertThatNobodyChooses(string name)
    {
        using var op = new RecordedOperator(name);
        var config = Routing(op, name);
        var memory = op.Memory(config, new TrainingOptions { Precision = TrainingPrecision.Fp32, MaxTokens = 14, SequenceAlpha = 1 });
        var layer = new MixtureOfExperts(memory, Block, Bias(op, config), "layer0");
        op.Weight("w_gate", $"{Block}.gate.weight");
        Each((tensor, parameter, expert) => op.Weight(tensor, parameter, expert));
        memory.Refresh();
        var layout = RecordedOperator.Layout(memory, 2, 7);
        var (x, y, dx) = (op.Rows("x"), op.Empty(14, 24), op.Empty(14, 24));
        layer.Forward(x, op.Empty(14, 24), y, layout);
        Assert.Equal(op.Integers("counts"), layer.Router.Counts);
        op.Close("y", y);
        Assert.Equal(op.Scalar("balance"), layer.Router.Balance.Sequence, 1e-6);
        memory.Probe = (what, rows) =>
        {
            if (what == "layer0.router_logits")
                op.Close("dlogits", rows);
        };
        layer.Backward(op.Rows("dy"), x, dx, layout, lossScale: 1);
        op.Close("dx", dx);
        op.Gradient("dw_gate", $"{Block}.gate.weight");
        Each((tensor, parameter, expert) => op.Gradient($"d{tensor}", parameter, expert));
        Assert.Equal(name == "moe_v3", layer.Router.Counts.Contains(0));

        void Each(Action<string, string, int?> visit)
        {
            foreach (var part in new[] { "gate", "up", "down" })
            {
                visit($"shared_{part}", $"{Block}.shared_experts.{part}_proj.weight", null);
                for (var e = 0; e < 12; e++)
                    visit($"expert_{part}", $"{Block}.experts.{e}.{part}_proj.weight", e);
            }
        }
    }

    [Fact]
    public void CombinationOfEmbeddingAndState()
    {
        using var op = new RecordedOperator("mtp_combine");
        var memory = op.Memory(Shape with { NumNextnPredictLayers = 1 });
        var (embeddingNorm, stateNorm) = (memory.Norm("model.layers.1.enorm.weight"), memory.Norm("model.layers.1.hnorm.weight"));
        var projection = memory.Linear("model.layers.1.eh_proj.weight", 24, 48);
        string[] weights = ["enorm", "hnorm", "eh_proj"];
        foreach (var weight in weights)
            op.Weight(weight, $"model.layers.1.{weight}.weight");
        memory.Refresh();
        var (embedded, state, dy) = (op.Rows("emb"), op.Rows("h"), op.Rows("dy"));
        var (both, dboth, y, dembedded, dstate) = (op.Empty(14, 48), op.Empty(14, 48), op.Empty(14, 24), op.Empty(14, 24), op.Empty(14, 24));
        embeddingNorm.Forward(embedded, both.SliceColumns(0, 24));
        stateNorm.Forward(state, both.SliceColumns(24, 24));
        projection.Fprop(both, y, op.Threads);
        projection.Wgrad(dy, both, op.Threads);
        projection.Dgrad(dy, dboth, op.Threads);
        embeddingNorm.Backward(dboth.SliceColumns(0, 24), embedded, dembedded, accumulate: false);
        stateNorm.Backward(dboth.SliceColumns(24, 24), state, dstate, accumulate: false);
        op.Close("y", y);
        op.Close("demb", dembedded);
        op.Close("dh", dstate);
        foreach (var weight in weights)
            op.Gradient($"d{weight}", $"model.layers.1.{weight}.weight");
    }

    private static ModelConfig Routing(RecordedOperator op, string name)
    {
        var numbers = op.Integers("config");
        var config = Shape with
        {
            NRoutedExperts = numbers[0], NumExpertsPerTok = numbers[1], NGroup = numbers[2], TopkGroup = numbers[3], RoutedScalingFactor = op.Scalar("routed_scaling_factor"),
        };
        return name.Contains("softmax", StringComparison.Ordinal) || name == "moe_v2"
            ? config with
            {
                Architecture = Architecture.DeepseekV2, ScoringFunc = ScoringFunc.Softmax, NormTopkProb = false,
                TopkMethod = name.EndsWith("greedy", StringComparison.Ordinal) ? TopkMethod.Greedy : TopkMethod.GroupLimitedGreedy,
            }
            : config;
    }

    private static float[]? Bias(RecordedOperator op, ModelConfig config) => config.TopkMethod == TopkMethod.NoauxTc ? [.. op.Doubles("bias").Select(b => (float)b)] : null;

    private static int[] Sorted(int[] ids) => [.. ids.Chunk(3).SelectMany(chunk => chunk.Order())];

    // Values of experts listed in one order, in the order of another list.
    private static float[] Reordered(int[] from, double[] values, int[] to)
    {
        var result = new float[to.Length];
        for (var i = 0; i < to.Length; i++)
            result[i] = (float)values[(i / 3 * 3) + Array.IndexOf(from, to[i], i / 3 * 3, 3) - (i / 3 * 3)];
        return result;
    }
}
