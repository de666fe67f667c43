using Hadal.Evaluation.Models;

namespace Hadal.Evaluation.Tests.Models;

/// <summary>The three calls on a small real model: what they give is what brute force gives.</summary>
public sealed class InProcessModelTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task LoglikelihoodsAreSumsOfLogSoftmax()
    {
        await using var model = tiny.Open();
        LoglikelihoodRequest[] requests = [new("The sea is", " deep"), new("The sea is", " blue and wide"), new("深海", "在哪里？"), new(string.Empty, "a text alone")];
        var scores = await model.LoglikelihoodsAsync(requests, Cancellation);
        for (var i = 0; i < requests.Length; i++)
        {
            var text = ScoredText.Of(tiny.Tokenizer, requests[i].Context, requests[i].Continuation, 1000);
            Assert.Equal(tiny.BruteForce(text).Sum, scores[i].Sum, 1e-3);
            Assert.Equal(System.Text.Encoding.UTF8.GetByteCount(requests[i].Continuation), scores[i].Tokens);
        }
    }

    [Fact]
    public async Task TheProbabilitiesOfAllNextTokensSumToOne()
    {
        await using var model = tiny.Open();
        var letters = Enumerable.Range(0, 128).Select(c => new LoglikelihoodRequest("ab", ((char)c).ToString())).ToList();
        var sum = (await model.LoglikelihoodsAsync(letters, Cancellation)).Sum(s => Math.Exp(s.Sum));
        Assert.InRange(sum, 0.3, 1.0001);
    }

    [Fact]
    public async Task RollingScoresEveryTokenOnceWhateverTheWindow()
    {
        const string Text = "One text of several windows, every byte of which is scored exactly once.";
        await using var whole = tiny.Open();
        var plain = (await whole.RollingAsync([Text, string.Empty], Cancellation));
        var ids = tiny.Tokenizer.Encode(Text, parseSpecial: false);
        Assert.Equal(tiny.BruteForce(new ScoredText([tiny.Tokenizer.BosId!.Value, .. ids], 1)).Sum, plain[0].Sum, 1e-3);
        Assert.Equal((ids.Length, 0), (plain[0].Tokens, plain[1].Tokens));

        await using var narrow = tiny.Open(new InProcessOptions { Window = 16 });
        var cut = (await narrow.RollingAsync([Text], Cancellation))[0];
        double expected = 0;
        int[] all = [tiny.Tokenizer.BosId!.Value, .. ids];
        for (var at = 0; at < all.Length - 1; at += 16)
            expected += tiny.BruteForce(new ScoredText(all[at..Math.Min(at + 17, all.Length)], 1)).Sum;
        Assert.Equal(expected, cut.Sum, 1e-3);
        Assert.Equal(ids.Length, cut.Tokens);
    }

    [Fact]
    public async Task GreedyGenerationIsTheMostProbableContinuationAndStops()
    {
        await using var model = tiny.Open();
        var input = new GenerationInput("The sea", ["\u0001never"], 12);
        var output = (await model.GenerateAsync([input, input with { MaxTokens = 3 }], Cancellation));
        Assert.StartsWith(output[1].Text, output[0].Text);
        Assert.True(output[1].Truncated);
        if (output[0].Text.Length > 0 && !output[0].Text.Contains('\uFFFD'))
            Assert.True((await model.LoglikelihoodsAsync([new("The sea", output[0].Text)], Cancellation))[0].IsGreedy);
        var stop = output[0].Text.Length > 2 ? output[0].Text.Substring(1, 1) : "x";
        var stopped = (await model.GenerateAsync([input with { Stop = [stop] }], Cancellation))[0];
        Assert.Equal(output[0].Text.Split(stop)[0], stopped.Text);
    }

    [Fact]
    public async Task ALongContextLosesItsBeginning()
    {
        await using var model = tiny.Open(new InProcessOptions { Window = 32 });
        var end = new string('x', 32 - 4);
        var scores = await model.LoglikelihoodsAsync([new(new string('y', 100) + end, "abcde"), new(end, "abcde")], Cancellation);
        Assert.Equal(5, scores[0].Tokens);
        var text = ScoredText.Of(tiny.Tokenizer, new string('y', 100) + end, "abcde", 33);
        Assert.Equal(tiny.BruteForce(text).Sum, scores[0].Sum, 1e-3);
        await Assert.ThrowsAsync<InvalidDataException>(() => model.LoglikelihoodsAsync([new("a", new string('z', 40))], Cancellation));
    }
}
