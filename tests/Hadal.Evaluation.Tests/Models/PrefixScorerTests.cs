using Hadal.Checkpoints;
using Hadal.Evaluation.Models;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Evaluation.Tests.Models;

/// <summary>Log-likelihoods with everything shared are those of texts scored one by one, and no token is computed twice.</summary>
public sealed class PrefixScorerTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    private const double Tolerance = 2e-5;

    [Fact]
    public void ScoresAreThoseOfTextsScoredOneByOne()
    {
        var random = new Random(1);
        var texts = Texts(random, count: 40, tiny.Model.Config.VocabSize);
        using var scorer = Scorer(cacheTokens: 4096);
        AssertBruteForce(tiny.Model, tiny.Threads, texts, scorer.Score(texts, CancellationToken.None));
    }

    [Fact]
    public void ScoresOfARealCheckpointAreThoseOfTextsScoredOneByOne()
    {
        using var checkpoint = Checkpoint.Open(Hadal.Tests.SharedFiles.Path("fixtures", "tiny-v3"));
        var model = new DeepSeek(checkpoint, dropMtp: true);
        var texts = Texts(new Random(2), count: 16, model.Config.VocabSize);
        using var scorer = new PrefixScorer(model, new ForwardContext(tiny.Threads), 1024, 120);
        AssertBruteForce(model, tiny.Threads, texts, scorer.Score(texts, CancellationToken.None));
    }

    [Fact]
    public void EveryDistinctBeginningIsComputedOnce()
    {
        var texts = Texts(new Random(3), count: 60, tiny.Model.Config.VocabSize);
        using var scorer = Scorer(cacheTokens: 16384);
        scorer.Score(texts, CancellationToken.None);
        Assert.Equal(Distinct(texts), new PrefixPlan(texts).DistinctTokens);
        Assert.Equal(Distinct(texts), scorer.ComputedTokens);
    }

    [Fact]
    public void WhatAnEarlierCallComputedIsNotComputedAgain()
    {
        int[] shared = [.. Enumerable.Range(3, 100)];
        ScoredText Question(int token) => new([.. shared, token, 7, 8], shared.Length + 1);
        using var scorer = Scorer(cacheTokens: 4096);
        scorer.Score([Question(50), Question(51)], CancellationToken.None);
        var before = scorer.ComputedTokens;
        var result = scorer.Score([Question(52), Question(53)], CancellationToken.None);
        Assert.Equal(4, scorer.ComputedTokens - before);
        Assert.Equal(tiny.BruteForce(Question(52)).Sum, result[0].Sum, Tolerance);
    }

    [Fact]
    public void OneForwardPassScoresSeveralLetters()
    {
        int[] context = [.. Enumerable.Range(3, 30)];
        var texts = Enumerable.Range(60, 4).Select(letter => new ScoredText([.. context, letter], context.Length)).ToList();
        using var scorer = Scorer(cacheTokens: 4096);
        scorer.Score(texts, CancellationToken.None);
        Assert.Equal((30, 1), (scorer.ComputedTokens, scorer.Passes));
    }

    [Theory]
    [InlineData(256)]
    [InlineData(600)]
    [InlineData(8192)]
    public void ScoresDoNotDependOnTheRoomThereIs(int cacheTokens)
    {
        var texts = Texts(new Random(4), count: 50, tiny.Model.Config.VocabSize);
        using var small = Scorer(cacheTokens);
        using var large = Scorer(cacheTokens: 65536);
        Assert.Equal(large.Score(texts, CancellationToken.None), small.Score(texts, CancellationToken.None));
    }

    [Fact]
    public void ScoresDoNotDependOnWhatElseIsScoredOrOnThreads()
    {
        var texts = Texts(new Random(5), count: 30, tiny.Model.Config.VocabSize);
        using var one = new KernelThreads(1);
        using var alone = new PrefixScorer(tiny.Model, new ForwardContext(one), 4096, 120);
        using var together = Scorer(cacheTokens: 4096);
        var all = together.Score(texts, CancellationToken.None);
        for (var i = 0; i < texts.Count; i += 7)
            Assert.Equal(alone.Score([texts[i]], CancellationToken.None)[0], all[i]);
    }

    [Fact]
    public void EveryPageIsReturnedAndCancellationLeavesTheScorerUsable()
    {
        var texts = Texts(new Random(6), count: 20, tiny.Model.Config.VocabSize);
        using var scorer = Scorer(cacheTokens: 600);
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        for (var i = 0; i < 30; i++)
            Assert.Throws<OperationCanceledException>(() => scorer.Score(texts, cancelled.Token));
        AssertBruteForce(tiny.Model, tiny.Threads, texts, scorer.Score(texts, CancellationToken.None));
    }

    [Fact]
    public void ATextLongerThanTheWindowIsRefused()
    {
        using var scorer = Scorer(cacheTokens: 256);
        Assert.Throws<ArgumentException>(() => scorer.Score([new ScoredText(new int[122], 1)], CancellationToken.None));
    }

    private PrefixScorer Scorer(int cacheTokens) => new(tiny.Model, new ForwardContext(tiny.Threads), cacheTokens, 120);

    private static void AssertBruteForce(DeepSeek model, KernelThreads threads, List<ScoredText> texts, Loglikelihood[] scores)
    {
        for (var i = 0; i < texts.Count; i++)
        {
            var (sum, greedy) = TinyModel.BruteForce(model, threads, texts[i]);
            Assert.Equal(sum, scores[i].Sum, Tolerance * (texts[i].Tokens.Length - texts[i].Start));
            Assert.Equal((texts[i].Tokens.Length - texts[i].Start, greedy), (scores[i].Tokens, scores[i].IsGreedy));
        }
    }

    private static int Distinct(List<ScoredText> texts) =>
        texts.SelectMany(t => Enumerable.Range(1, t.Tokens.Length - 1).Select(n => string.Join(',', t.Tokens.Take(n)))).Distinct().Count();

    // Texts that begin alike at several depths, some equal, some a beginning of another.
    private static List<ScoredText> Texts(Random random, int count, int vocabulary)
    {
        var stems = Enumerable.Range(0, 5).Select(_ => Tokens(random, random.Next(1, 60), vocabulary)).ToList();
        var texts = new List<ScoredText>();
        while (texts.Count < count)
        {
            int[] tokens = [.. stems[random.Next(5)], .. random.Next(3) == 0 ? stems[random.Next(5)].Take(10) : [], .. Tokens(random, random.Next(1, 25), Math.Min(vocabulary, 5))];
            if (tokens.Length < 2)
                continue;
            texts.Add(new ScoredText(tokens, random.Next(1, tokens.Length)));
            if (random.Next(4) == 0)
                texts.Add(new ScoredText(tokens[..random.Next(2, tokens.Length + 1)], 1));
        }

        return texts;
    }

    private static int[] Tokens(Random random, int count, int vocabulary) => [.. Enumerable.Range(0, count).Select(_ => random.Next(vocabulary))];
}
