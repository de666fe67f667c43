using Hadal.Evaluation.Contamination;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Tests.Contamination;

/// <summary>An item is in a corpus when thirteen words in a row are.</summary>
public sealed class OverlapIndexTests
{
    private const string Item = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen";

    [Theory]
    [InlineData("Before. One, two -- THREE four five six seven eight nine ten eleven twelve thirteen! After", true)]
    [InlineData("two three four five six seven eight nine ten eleven twelve thirteen fourteen", true)]
    [InlineData("one two three four five six seven eight nine ten eleven twelve", false)]
    [InlineData("one two three four five six x seven eight nine ten eleven twelve thirteen fourteen", false)]
    public void RunsOfThirteenWordsCount(string corpus, bool found)
    {
        var index = new OverlapIndex();
        Assert.True(index.Add("t", "i", Item));
        Assert.Equal(found ? 1 : 0, index.Scan(corpus));
        Assert.Equal(found ? ["i"] : [], index.Found.Select(f => f.Id));
    }

    [Fact]
    public void ChineseCountsByTheCharacterAndShortItemsAsAWhole()
    {
        var index = new OverlapIndex();
        Assert.True(index.Add("t", "zh", "海斗深渊带的深度是多少米呢"));
        Assert.True(index.Add("t", "short", "how deep is the hadal zone"));
        Assert.False(index.Add("t", "tiny", "how deep"));
        Assert.Equal(2, index.Scan("据说，海斗深渊带的深度是多少米呢？ How deep is the hadal zone?"));
    }

    [Fact]
    public void WhatPromptsShareIsNoItemsOwn()
    {
        Question Ask(string own) => OpenQuestion.Of(own, "c", new GenerationInput($"{Item}. Q: {own}", [], 1), string.Empty, _ => new Verdict(null, new Dictionary<string, double>()));
        Assert.Equal(["why is the sea", "how cold are abyssal plains"], OverlapIndex.OwnTexts([Ask("why is the sea"), Ask("how cold are abyssal plains")]).Select(o => o.Text));
    }
}
