using CsCheck;
using Hadal.Checkpoints.Config;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Model;

/// <summary>The router against its definition, by looking at every set of groups and every set of experts.</summary>
public sealed class RouterTests : IDisposable
{
    private readonly KernelThreads threads = new(1);

    public void Dispose() => threads.Dispose();

    [Theory]
    [InlineData(TopkMethod.NoauxTc, -0.25)]
    [InlineData(TopkMethod.NoauxTc, -2.0)]
    [InlineData(TopkMethod.GroupLimitedGreedy, 0)]
    [InlineData(TopkMethod.Greedy, 0)]
    public void ChoosesWhatTheDefinitionChooses(TopkMethod method, double lowestBias) => Gen.Int[0, 1 << 24].Sample(
        seed =>
        {
            var random = new Random(seed);
            var groups = random.Next(1, 5);
            var size = random.Next(1, 4);
            var kept = random.Next(1, groups + 1);
            var available = method == TopkMethod.Greedy ? groups * size : kept * size;
            var config = Config(groups * size, groups, kept, random.Next(1, Math.Min(available, 5) + 1), method) with { NormTopkProb = random.Next(2) == 0, RoutedScalingFactor = 2.5 };

            // Coarse logits and biases now and then, so that scores tie.
            var step = random.Next(2) == 0 ? 0.5 : 1e-4;
            float[] Draw(int count, double low, double high) => [.. Enumerable.Range(0, count).Select(_ => (float)(Math.Round((low + (random.NextDouble() * (high - low))) / step) * step))];
            var bias = Draw(config.NRoutedExperts, lowestBias, lowestBias + 0.5);
            const int Tokens = 3;
            var logits = Draw(Tokens * config.NRoutedExperts, -3, 3);
            var (ids, weights) = Route(config, logits, bias, Tokens);
            for (var t = 0; t < Tokens; t++)
            {
                var row = logits.AsSpan(t * config.NRoutedExperts, config.NRoutedExperts).ToArray();
                var (expectedIds, expectedWeights) = Definition(config, row, bias);
                var k = config.NumExpertsPerTok;
                Assert.Equal(expectedIds, ids[(t * k)..((t + 1) * k)]);
                for (var i = 0; i < k; i++)
                    Assert.Equal(expectedWeights[i], weights[(t * k) + i], 1e-6 * Math.Abs(expectedWeights[i]));
            }
        },
        iter: 300,
        threads: 1);

    // Biased scores of every expert are below zero; a mask of 0 instead of -infinity would choose from dropped groups.
    [Fact]
    public void DroppedGroupsStayDroppedBelowZero()
    {
        var config = Config(8, 4, 1, 2, TopkMethod.NoauxTc);
        var (ids, _) = Route(config, [0, 0, 1, 1, 2, 2, 0, 0], [-9, -9, -9, -9, -9, -9, -9, -9], 1);
        Assert.Equal([4, 5], ids);
    }

    // The bias chooses; the weight is the affinity without it.
    [Fact]
    public void TheBiasIsNoPartOfTheWeight()
    {
        var config = Config(4, 1, 1, 2, TopkMethod.NoauxTc) with { RoutedScalingFactor = 2 };
        var (ids, weights) = Route(config, [0, 0, 1, 2], [5, 6, 0, 0], 1);
        Assert.Equal([1, 0], ids);
        Assert.Equal([1f, 1f], weights);
    }

    // Sum of the two best for V3, the best for V2: they choose differently here.
    [Fact]
    public void GroupsAreScoredByTheirTwoBestOrTheirBest()
    {
        float[] logits = [2, -3, -3, 1.5f, 1.5f, -3];
        Assert.Equal([3], Route(Config(6, 2, 1, 1, TopkMethod.NoauxTc), logits, new float[6], 1).Ids);
        Assert.Equal([0], Route(Config(6, 2, 1, 1, TopkMethod.GroupLimitedGreedy), logits, new float[6], 1).Ids);
    }

    [Fact]
    public void OneExpertInAGroupIsItsScore() =>
        Assert.Equal([1, 3], Route(Config(4, 4, 2, 2, TopkMethod.NoauxTc), [0, 3, 1, 2], new float[4], 1).Ids);

    [Fact]
    public void EqualScoresGoToTheLowerId()
    {
        Assert.Equal([0, 1, 2], Route(Config(6, 1, 1, 3, TopkMethod.Greedy), new float[6], new float[6], 1).Ids);
        Assert.Equal([0, 1], Route(Config(6, 3, 1, 2, TopkMethod.NoauxTc), new float[6], new float[6], 1).Ids);
    }

    // A broken model must not break the process.
    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void LogitsThatAreNoNumbersGiveIdsInRange(float logit)
    {
        foreach (var method in Enum.GetValues<TopkMethod>())
        {
            var (ids, _) = Route(Config(8, 4, 2, 3, method), [.. Enumerable.Repeat(logit, 8)], new float[8], 1);
            Assert.All(ids, id => Assert.InRange(id, 0, 7));
        }
    }

    // As many groups as a file may claim must not go on the stack.
    [Fact]
    public void ManyGroupsNeedNoStack()
    {
        const int Experts = 1 << 16;
        var config = Config(Experts, Experts / 2, 3, 4, TopkMethod.NoauxTc) with { HiddenSize = 1 };
        using var checkpoint = new RandomCheckpoint(config, 1);
        checkpoint.Set("gate.weight", Experts, 1, [.. Enumerable.Range(0, Experts).Select(e => e == 40_000 || e == 40_001 || e == 7 || e == 9 ? 2f : -1f)]);
        checkpoint.Set("gate.e_score_correction_bias", new float[Experts]);
        var ids = new int[4];
        var thread = new Thread(() => new Router(new Weights(checkpoint, string.Empty)).Route([1], ids, new float[4], 1, new ForwardContext(threads)), 128 << 10);
        thread.Start();
        thread.Join();
        Assert.Equal([7, 9, 40_000, 40_001], ids);
    }

    private static ModelConfig Config(int experts, int groups, int kept, int chosen, TopkMethod method) => RandomConfigs.Latent(0) with
    {
        HiddenSize = experts, NRoutedExperts = experts, NGroup = groups, TopkGroup = kept, NumExpertsPerTok = chosen, TopkMethod = method,
        ScoringFunc = method == TopkMethod.NoauxTc ? ScoringFunc.Sigmoid : ScoringFunc.Softmax, NormTopkProb = true, RoutedScalingFactor = 1,
    };

    // With the identity for a gate, the hidden state is the router's logits.
    private (int[] Ids, float[] Weights) Route(ModelConfig config, float[] logits, float[] bias, int tokens)
    {
        var e = config.NRoutedExperts;
        using var checkpoint = new RandomCheckpoint(config, 1);
        checkpoint.Set("gate.weight", e, e, [.. Enumerable.Range(0, e * e).Select(i => i / e == i % e ? 1f : 0)]);
        checkpoint.Set("gate.e_score_correction_bias", bias);
        var ids = new int[tokens * config.NumExpertsPerTok];
        var weights = new float[ids.Length];
        new Router(new Weights(checkpoint, string.Empty)).Route(logits, ids, weights, tokens, new ForwardContext(threads));
        return (ids, weights);
    }

    private static (int[] Ids, double[] Weights) Definition(ModelConfig config, float[] logits, float[] bias)
    {
        var e = config.NRoutedExperts;
        float[] scores;
        if (config.ScoringFunc == ScoringFunc.Sigmoid)
        {
            scores = [.. logits.Select(x => (float)(1 / (1 + Math.Exp(-(double)x))))];
        }
        else
        {
            var sum = logits.Sum(x => Math.Exp(x));
            scores = [.. logits.Select(x => (float)(Math.Exp(x) / sum))];
        }

        var selection = config.TopkMethod == TopkMethod.NoauxTc ? [.. scores.Select((s, i) => s + bias[i])] : scores;
        var allowed = Enumerable.Range(0, e).ToArray();
        if (config.TopkMethod != TopkMethod.Greedy)
        {
            var size = e / config.NGroup;
            var groupScores = selection.Chunk(size).Select(g => config.TopkMethod == TopkMethod.NoauxTc && size > 1 ? Subsets([.. Enumerable.Range(0, size)], 2).Max(p => g[p[0]] + g[p[1]]) : g.Max()).ToArray();
            var kept = BestSubset([.. Enumerable.Range(0, config.NGroup)], config.TopkGroup, groupScores);
            allowed = [.. allowed.Where(i => kept.Contains(i / size))];
        }

        var ids = BestSubset(allowed, config.NumExpertsPerTok, selection).OrderByDescending(i => selection[i]).ThenBy(i => i).ToArray();
        var norm = config.NormTopkProb ? ids.Sum(i => (double)scores[i]) : 1;
        return (ids, [.. ids.Select(i => scores[i] / norm * config.RoutedScalingFactor)]);
    }

    // The first, in the order of ids, whose scores, highest first, are not exceeded by those of another.
    private static int[] BestSubset(int[] from, int count, float[] scores) => Subsets(from, count)
        .Aggregate((best, next) => Compare(next, best, scores) > 0 ? next : best);

    private static int Compare(int[] a, int[] b, float[] scores) => a.Select(i => scores[i]).OrderDescending()
        .Zip(b.Select(i => scores[i]).OrderDescending(), (x, y) => x.CompareTo(y)).FirstOrDefault(c => c != 0);

    private static IEnumerable<int[]> Subsets(int[] from, int count)
    {
        if (count == 0)
            return [[]];
        return Enumerable.Range(0, from.Length - count + 1).SelectMany(i => Subsets(from[(i + 1)..], count - 1).Select(rest => (int[])[from[i], .. rest]));
    }
}
