using System.Text.RegularExpressions;
using Hadal.Inference.Constraints;

namespace Hadal.Inference.Tests.Constraints;

/// <summary>Automata of texts against .NET's own regular expressions.</summary>
public sealed class TextAutomatonTests
{
    private static readonly string[] Patterns = ["^a*b?$", "a", "^(ab|c)*$", "^[^a]+$", "b$|^c", "^.{2,3}$", "^\\w+\\d$", "^(a|b)*abb$"];

    [Fact]
    public void TextsAreThoseThatThePatternFinds()
    {
        foreach (var pattern in Patterns)
            Check(pattern, Of(pattern), text => Finds(pattern, text));
    }

    [Fact]
    public void CombinationsAreThoseOfSets()
    {
        string[] names = ["", "a", "abb", "c1"];
        foreach (var a in Patterns)
        {
            foreach (var b in Patterns)
            {
                Check($"{a} and {b}", Of(a).And(Of(b), "#"), text => Finds(a, text) && Finds(b, text));
                Check($"{a} without {b}", Of(a).Without(Of(b), "#"), text => Finds(a, text) && !Finds(b, text));
            }

            Check($"{a} without names", Of(a).Without(TextAutomaton.Of(names, "#"), "#"), text => Finds(a, text) && !names.Contains(text));
            Check($"{a} of length", Of(a).And(TextAutomaton.OfLength(1, 3, "#"), "#"), text => Finds(a, text) && text.Length is >= 1 and <= 3);
            Check($"{a} of at least", Of(a).And(TextAutomaton.OfLength(3, null, "#"), "#"), text => Finds(a, text) && text.Length >= 3);
            Assert.True(Of(a).Without(Of(a), "#").IsEmpty);
        }
    }

    [Fact]
    public void LengthsAreThoseOfTheShortestAndTheLongest()
    {
        Assert.Equal((2, 3), (Of("^ab?c$").Shortest, Of("^ab?c$").Longest));
        Assert.Equal((1, int.MaxValue), (Of("^a(bc)*$").Shortest, Of("^a(bc)*$").Longest));
        Assert.Equal((0, 4), (Of("^.{0,2}$").Shortest, Of("^.{0,2}$").Longest));
        Assert.Equal((int.MaxValue, 0), (Of("a").Without(Of("a"), "#").Shortest, Of("a").Without(Of("a"), "#").Longest));
    }

    [Theory]
    [InlineData("^[ab]*a[ab]{20}$")]
    [InlineData("^((a{99}){99}){99}$")]
    public void TooManyStatesAreRefused(string pattern) =>
        Assert.Contains("states", Assert.Throws<ConstraintException>(() => Of(pattern)).Message);

    private static TextAutomaton Of(string pattern) => TextAutomaton.Of(JsonPattern.Parse(pattern, "#"), "#");

    private static bool Finds(string pattern, string text) => Regex.IsMatch(text, pattern, RegexOptions.ECMAScript | RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));

    private static void Check(string what, TextAutomaton automaton, Func<string, bool> isText)
    {
        // Every text of up to four of these characters.
        var texts = new List<string> { "" };
        for (var at = 0; at < texts.Count && texts[at].Length < 4; at++)
            texts.AddRange("abc1北".Select(c => texts[at] + c));
        Assert.All(texts, text => Assert.True(isText(text) == automaton.Contains(text), $"{what}: '{text}'"));
    }
}
