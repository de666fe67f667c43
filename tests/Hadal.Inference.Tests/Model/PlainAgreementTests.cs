using Hadal.Checkpoints.Config;
using Hadal.Inference.Model;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Model;

/// <summary>The model against its second implementation in plain double loops, and its two forms of attention and low-precision modes against each other.</summary>
public sealed class PlainAgreementTests
{
    // Of the largest logit. What was seen is 2e-6.
    private const double Tolerance = 2e-5;

    // Nearer decisions of the router may fall either way in float32; the few random models that have one are passed over.
    private const double DecisionMargin = 1e-5;

    [Fact]
    public void LogitsAgreeWithDoubleLoops()
    {
        using var threads = new KernelThreads(2);
        var compared = 0;
        for (var seed = 0; seed < 40; seed++)
        {
            using var run = ModelRun.Random(seed);
            var tokens = run.Tokens(new Random(seed), 12);
            var plain = new PlainDeepSeek(run.Checkpoint);
            var expected = plain.Forward(tokens).Logits;
            if (plain.SmallestMargin < DecisionMargin)
                continue;
            compared++;
            foreach (var form in Enum.GetValues<AttentionForm>())
                AssertNear(expected, run.Logits(tokens, threads, new ForwardOptions { Attention = form }), $"seed {seed}, {form}, {run.Model.Config}");
        }

        Assert.InRange(compared, 34, 40);
    }

    [Theory]
    [InlineData(MtpInput.AfterFinalNorm)]
    [InlineData(MtpInput.BeforeFinalNorm)]
    public void MtpLogitsAgreeWithDoubleLoops(MtpInput input)
    {
        using var threads = new KernelThreads(2);
        var compared = 0;
        for (var seed = 100; seed < 130; seed++)
        {
            using var run = ModelRun.Random(seed, latent: true);
            var tokens = run.Tokens(new Random(seed), 10);
            var plain = new PlainDeepSeek(run.Checkpoint);
            var (_, hidden, normed) = plain.Forward(tokens);
            var expected = new List<double[][]>();
            for (var module = 0; module < run.Model.Config.NumNextnPredictLayers; module++)
            {
                var next = tokens[(module + 1)..];
                var states = (input == MtpInput.AfterFinalNorm ? normed : hidden)[..next.Length];
                (var logits, hidden, normed) = plain.ForwardMtp(module, states, next);
                expected.Add(logits);
            }

            if (plain.SmallestMargin < DecisionMargin)
                continue;
            compared += expected.Count;
            var found = run.MtpLogits(tokens, threads, new ForwardOptions { MtpInput = input });
            Assert.Equal(expected.Count, found.Count);
            for (var module = 0; module < expected.Count; module++)
                AssertNear(expected[module], found[module], $"seed {seed}, module {module}, {run.Model.Config}");
        }

        Assert.True(compared > 15, $"{compared}");
    }

    // In a dense model nothing flips, so that the noise of rounded activations (3% of each product for E4M3, less than 1% for integers, 0.2% for bfloat16) stays noise.
    [Theory]
    [InlineData(WeightFormat.BF16, ActivationPrecision.BF16, 1e-4)]
    [InlineData(WeightFormat.F8_E4M3, ActivationPrecision.BF16, 1e-4)]
    [InlineData(WeightFormat.Q8_0, ActivationPrecision.BF16, 1e-3)]
    [InlineData(WeightFormat.F8_E4M3, ActivationPrecision.Fp8, 1e-2)]
    [InlineData(WeightFormat.Q8_0, ActivationPrecision.Int8, 1e-3)]
    [InlineData(WeightFormat.Q4_K, ActivationPrecision.Int8, 2e-3)]
    public void LowPrecisionActivationsAreClose(WeightFormat format, ActivationPrecision precision, double limit)
    {
        Assert.SkipWhen(
            precision == ActivationPrecision.BF16 && !WeightFormats.HasIntegerProducts(format) && !BfloatMatMul.Has(format), "this processor has no AVX512-BF16, or HADAL_KERNEL forbids it");
        using var threads = new KernelThreads(2);
        for (var seed = 0; seed < 2; seed++)
        {
            var config = RandomConfigs.Latent(seed) with { NRoutedExperts = 0, NumNextnPredictLayers = 0, HiddenSize = 256, IntermediateSize = 512, QLoraRank = null, KvLoraRank = 256, NumAttentionHeads = 4, QkNopeHeadDim = 24, QkRopeHeadDim = 8, VHeadDim = 64 };
            using var run = new ModelRun(new RandomCheckpoint(config, seed, _ => format));
            var tokens = run.Tokens(new Random(seed), 20);
            foreach (var form in Enum.GetValues<AttentionForm>())
            {
                var exact = run.Logits(tokens, threads, new ForwardOptions { Attention = form });
                var rounded = run.Logits(tokens, threads, new ForwardOptions { Attention = form, Activations = precision });
                double dot = 0, squares = 0;
                for (var i = 0; i < exact.Length; i++)
                {
                    dot += (double)exact[i] * rounded[i];
                    squares += ((double)exact[i] * exact[i]) + ((double)rounded[i] * rounded[i]);
                }

                var difference = 1 - (2 * dot / squares);
                Assert.True(difference < limit, $"seed {seed}, {form}: {difference}");
                Assert.True(difference > 1e-9, "nothing was rounded");
            }
        }
    }

    [Fact]
    public void BiasesBelowZeroNeverLetADroppedGroupIn()
    {
        // With every biased score below zero, groups dropped by a score of 0 instead of -infinity would be chosen.
        using var threads = new KernelThreads(1);
        var config = RandomConfigs.Latent(1) with
        {
            NRoutedExperts = 12, NGroup = 4, TopkGroup = 1, NumExpertsPerTok = 3, MoeIntermediateSize = 8, FirstKDenseReplace = 0, MoeLayerFreq = 1,
            ScoringFunc = ScoringFunc.Sigmoid, TopkMethod = TopkMethod.NoauxTc, NormTopkProb = true,
        };
        using var run = new ModelRun(new RandomCheckpoint(config, 1) { LowestBias = -3 });
        var tokens = run.Tokens(new Random(1), 12);
        AssertNear(new PlainDeepSeek(run.Checkpoint).Forward(tokens).Logits, run.Logits(tokens, threads), "negative biases");
    }

    private static void AssertNear(double[][] expected, float[] found, string what)
    {
        var flat = expected.SelectMany(row => row).ToArray();
        var scale = Math.Max(1, flat.Max(Math.Abs));
        Assert.Equal(flat.Length, found.Length);
        for (var i = 0; i < flat.Length; i++)
            Assert.True(Math.Abs(flat[i] - found[i]) <= Tolerance * scale, $"{what}: logit {i} is {found[i]}, expected {flat[i]}");
    }
}
