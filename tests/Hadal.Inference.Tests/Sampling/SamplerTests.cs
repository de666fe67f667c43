using CsCheck;
using Hadal.Inference.Sampling;

namespace Hadal.Inference.Tests.Sampling;

public sealed class SamplerTests
{
    private const int Draws = 20_000;

    [Theory]
    [InlineData(1.0, 0, 1.0, 0.0)]
    [InlineData(0.5, 0, 1.0, 0.0)]
    [InlineData(2.0, 0, 1.0, 0.0)]
    [InlineData(1.0, 4, 1.0, 0.0)]
    [InlineData(1.0, 100, 1.0, 0.0)]
    [InlineData(1.0, 0, 0.7, 0.0)]
    [InlineData(1.0, 0, 0.01, 0.0)]
    [InlineData(1.0, 0, 1.0, 0.2)]
    [InlineData(1.0, 0, 1.0, 1.0)]
    [InlineData(0.8, 5, 0.8, 0.1)]
    [InlineData(1.5, 6, 0.9, 0.3)]
    [InlineData(3.0, 3, 0.5, 0.01)]
    public void DrawsFollowTheDefinition(double temperature, int topK, double topP, double minP)
    {
        var options = new SamplingOptions { Temperature = temperature, TopK = topK, TopP = topP, MinP = minP, LogitBias = new Dictionary<int, double> { [2] = 1.5, [7] = double.NegativeInfinity } };
        float[] logits = [0.1f, 1.3f, -2, 0.7f, 2.2f, 0.7f, -0.4f, 5, 1.9f, -9];
        var expected = Definition(logits, options);
        for (var seed = 0; seed < 3; seed++)
        {
            var sampler = new Sampler(options with { Seed = seed }, []);
            var counts = new int[logits.Length];
            for (var i = 0; i < Draws; i++)
                counts[sampler.Sample((float[])logits.Clone())]++;
            AssertDistribution(expected, counts);
        }
    }

    // Top-p counts the probabilities among what top-k has left: of [0.4, 0.3, 0.2, 0.1] the first two are 57% and 43%.
    [Fact]
    public void TopPCountsWithinTopK()
    {
        float[] logits = [MathF.Log(0.4f), MathF.Log(0.3f), MathF.Log(0.2f), MathF.Log(0.1f)];
        Assert.Equal([0], Drawn(logits, new SamplingOptions { TopK = 2, TopP = 0.55 }));
        Assert.Equal([0, 1], Drawn(logits, new SamplingOptions { TopP = 0.55 }));
        Assert.Equal([0, 1], Drawn(logits, new SamplingOptions { TopK = 2, TopP = 0.6 }));
        Assert.Equal([0, 1], Drawn(logits, new SamplingOptions { TopK = 3, MinP = 0.6 }));
        Assert.Equal([0, 1, 2, 3], Drawn(logits, new SamplingOptions { MinP = 0.1 }));
    }

    [Fact]
    public void RestrictedDrawsOfALargeVocabularyFollowTheDefinition() => Gen.Int[0, 1 << 24].Sample(
        seed =>
        {
            var random = new Random(seed);
            var logits = Enumerable.Range(0, random.Next(1, 400)).Select(_ => (float)Math.Round(random.NextDouble() * 8, random.Next(1, 4))).ToArray();
            var options = new SamplingOptions { Temperature = 0.3 + random.NextDouble(), TopK = random.Next(60), TopP = 0.05 + (0.95 * random.NextDouble()), MinP = random.NextDouble() / 4, Seed = seed };
            var expected = Definition(logits, options);
            var sampler = new Sampler(options, []);
            for (var i = 0; i < 40; i++)
                Assert.True(expected[sampler.Sample((float[])logits.Clone())] > 0, "drew what the options exclude");
        },
        iter: 100);

    [Fact]
    public void GreedyTakesTheFirstOfTheHighest()
    {
        var sampler = new Sampler(new SamplingOptions { Temperature = 0 }, []);
        Assert.Equal(1, sampler.Sample([1, 3, 2, 3, 3]));
        var many = new float[1000];
        (many[700], many[300], many[999]) = (1, 1, 1);
        Assert.Equal(300, sampler.Sample(many));
        Assert.Equal(0, sampler.Sample([float.NegativeInfinity, float.NegativeInfinity]));
        Assert.Equal(0, sampler.Sample(new float[77]));
    }

    [Fact]
    public void PenaltiesAreThoseOfTheirFormulas()
    {
        // Frequency 0.3 and presence 0.2 for what was generated, the prompt not counted.
        var sampler = new Sampler(new SamplingOptions { Temperature = 0, FrequencyPenalty = 0.3, PresencePenalty = 0.2 }, [1, 1, 1]);
        float[] Step(params float[] logits)
        {
            sampler.Sample(logits);
            return logits;
        }

        Assert.Equal([1f, 2f, 0f], Step(1, 2, 0));
        Assert.Equal([1f, 1.5f, 0f], Step(1, 2, 0));
        Assert.Equal([1f, 1.2f, 0f], Step(1, 2, 0));
        Assert.Equal([1f, (float)(2 - (3 * 0.3) - 0.2), 0f], Step(1, 2, 0));
        Assert.Equal([0.5f, (float)(2 - (3 * 0.3) - 0.2), 0f], Step(1, 2, 0));

        // Repetition 2: positive logits halved, negative doubled, once for prompt and output together, ids beyond the vocabulary ignored.
        sampler = new Sampler(new SamplingOptions { Temperature = 0, RepetitionPenalty = 2 }, [0, 1, 1, 5000, -1]);
        Assert.Equal([2f, -6f, 3f, -5f], Step(4, -3, 3, -5));
        Assert.Equal([2f, -6f, 1.5f, -5f], Step(4, -3, 3, -5));
        Assert.Equal([2f, -6f, 1.5f, -5f], Step(4, -3, 3, -5));
    }

    [Fact]
    public void BiasComesBeforePenalties()
    {
        var sampler = new Sampler(new SamplingOptions { Temperature = 0, RepetitionPenalty = 2, LogitBias = new Dictionary<int, double> { [0] = 3, [1] = double.NegativeInfinity, [99] = 1, [-3] = 1 } }, [0]);
        float[] logits = [1, 9, 1.5f];
        Assert.Equal(0, sampler.Sample(logits));
        Assert.Equal([2f, float.NegativeInfinity, 1.5f], logits);
    }

    [Fact]
    public void ASeedGivesTheSameTokensAgain()
    {
        int[] Run(int? seed)
        {
            var sampler = new Sampler(new SamplingOptions { Seed = seed, TopP = 0.95, FrequencyPenalty = 0.1 }, [3]);
            return [.. Enumerable.Range(0, 50).Select(_ => sampler.Sample(new float[1000]))];
        }

        Assert.Equal(Run(7), Run(7));
        Assert.NotEqual(Run(7), Run(8));
        Assert.NotEqual(Run(null), Run(null));
    }

    [Fact]
    public void ExtremeLogitsAndTemperaturesDrawSomethingPossible()
    {
        foreach (var temperature in new[] { double.Epsilon, 1e-300, 1e-10, 1, 1e10, double.MaxValue })
        {
            var options = new SamplingOptions { Temperature = temperature, Seed = 1 };
            foreach (var restricted in new[] { options, options with { TopK = 2 }, options with { TopP = 0.5 }, options with { MinP = 0.5 } })
            {
                Assert.InRange(new Sampler(restricted, []).Sample([1e30f, float.NegativeInfinity, 1e30f, -1e30f]), 0, 3);
                Assert.NotEqual(1, new Sampler(restricted, []).Sample([0, float.NegativeInfinity]));
            }
        }
    }

    [Fact]
    public void SamplingAllocatesNothing()
    {
        foreach (var options in new SamplingOptions[] { new() { Temperature = 0 }, new(), new() { TopK = 5, TopP = 0.9 }, new() { LogitBias = new Dictionary<int, double> { [1] = 1, [2] = 2 }, RepetitionPenalty = 1.1, FrequencyPenalty = 0.1 } })
        {
            var sampler = new Sampler(options with { Seed = 1 }, [1, 2]);
            var logits = new float[50];
            for (var i = 0; i < 2000; i++)
                sampler.Sample(logits);
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 200; i++)
                sampler.Sample(logits);
            Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        }
    }

    [Fact]
    public void LogprobsAddUpToOneAndListTheBestFirst() => Gen.Select(Gen.Int[1, 300], Gen.Int[0, 20], Gen.Int[0, 1 << 20]).Sample((count, top, seed) =>
    {
        var random = new Random(seed);
        var logits = Enumerable.Range(0, count).Select(_ => (float)((Math.Round(random.NextDouble() * 20) / 2) + 1000)).ToArray();
        var (logSum, best) = Sampler.Logprobs(logits, top);
        Assert.Equal(1, logits.Sum(x => Math.Exp(x - logSum)), 1e-9);
        var expected = Enumerable.Range(0, count).OrderByDescending(i => logits[i]).ThenBy(i => i).Take(top).ToArray();
        Assert.Equal(expected, best.Select(b => b.Id));
        Assert.All(best, b => Assert.Equal(logits[b.Id] - logSum, b.Logprob));
    });

    [Fact]
    public void OptionsOutsideTheirRangeAreNamed()
    {
        foreach (var (options, name) in new (SamplingOptions, string)[]
        {
            (new() { Temperature = -1 }, "Temperature"), (new() { Temperature = double.NaN }, "Temperature"), (new() { TopK = -1 }, "TopK"), (new() { TopP = 0 }, "TopP"),
            (new() { TopP = 1.01 }, "TopP"), (new() { TopP = double.NaN }, "TopP"), (new() { MinP = -0.1 }, "MinP"), (new() { MinP = 1.1 }, "MinP"), (new() { RepetitionPenalty = 0 }, "RepetitionPenalty"),
            (new() { FrequencyPenalty = double.NaN }, "FrequencyPenalty"), (new() { PresencePenalty = double.PositiveInfinity }, "PresencePenalty"), (new() { TopLogprobs = -1 }, "TopLogprobs"),
            (new() { LogitBias = new Dictionary<int, double> { [3] = double.NaN } }, "LogitBias[3]"), (new() { LogitBias = new Dictionary<int, double> { [3] = double.PositiveInfinity } }, "LogitBias[3]"),
        })
            Assert.Equal(name, Assert.Throws<ArgumentOutOfRangeException>(() => new Sampler(options, [])).ParamName);
    }

    private static int[] Drawn(float[] logits, SamplingOptions options)
    {
        var sampler = new Sampler(options with { Seed = 1 }, []);
        return [.. Enumerable.Range(0, 500).Select(_ => sampler.Sample((float[])logits.Clone())).Distinct().Order()];
    }

    // The documented order, step by step, over a sorted list.
    private static double[] Definition(float[] logits, SamplingOptions options)
    {
        var biased = logits.Select((x, i) => x + options.LogitBias.GetValueOrDefault(i)).ToArray();
        var p = Normalized(biased.Select(x => Math.Exp((x - biased.Max()) / options.Temperature)).ToArray());
        var order = Enumerable.Range(0, p.Length).OrderByDescending(i => p[i]).ThenBy(i => i).ToArray();
        if (options.TopK > 0)
        {
            foreach (var i in order.Skip(options.TopK))
                p[i] = 0;
        }

        p = Normalized(p);
        var sum = 0.0;
        var nucleus = (double[])p.Clone();
        foreach (var i in order)
        {
            if (options.TopP < 1 && sum >= options.TopP - 1e-12)
                nucleus[i] = 0;
            sum += p[i];
        }

        var max = nucleus.Max();
        return Normalized([.. nucleus.Select(x => x < (options.MinP * max) - 1e-12 ? 0 : x)]);
    }

    private static double[] Normalized(double[] p) => [.. p.Select(x => x / p.Sum())];

    // Pearson's chi-square; its quantile by the cube-root approximation, at one failure in a million.
    private static void AssertDistribution(double[] expected, int[] counts)
    {
        Assert.Equal(0, counts.Where((_, i) => expected[i] == 0).Sum());
        var cells = Enumerable.Range(0, counts.Length).Where(i => expected[i] * Draws >= 5).ToArray();
        var statistic = cells.Sum(i => Math.Pow(counts[i] - (expected[i] * Draws), 2) / (expected[i] * Draws));
        double freedom = Math.Max(1, cells.Length - 1);
        var quantile = freedom * Math.Pow(1 - (2 / (9 * freedom)) + (4.75 * Math.Sqrt(2 / (9 * freedom))), 3);
        Assert.True(statistic <= quantile, $"chi-square {statistic} with {freedom} degrees of freedom, counts {string.Join(' ', counts)}");
    }
}
