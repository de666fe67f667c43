using System.Text;
using CsCheck;
using Hadal.Inference.Sampling;

namespace Hadal.Inference.Tests.Sampling;

public sealed class StopMatcherTests
{
    private static readonly Gen<string> Texts = Gen.Int[0, 40].SelectMany(n => Gen.Char["abc"].Array[n]).Select(c => new string(c));

    private static readonly Gen<string> Stops = Gen.Int[1, 5].SelectMany(n => Gen.Char["abc"].Array[n]).Select(c => new string(c));

    [Fact]
    public void ShowsEverythingBeforeTheFirstStopStringHoweverTheTextIsCut() =>
        Gen.Select(Texts, Gen.Int[0, 3].SelectMany(n => Stops.Array[n]), Gen.Int[0, 1 << 20]).Sample(
            (text, stops, seed) =>
            {
                var random = new Random(seed);
                var matcher = new StopMatcher(stops);
                var shown = new StringBuilder();
                var longest = stops.Length == 0 ? 1 : stops.Max(s => s.Length);
                for (var start = 0; start < text.Length;)
                {
                    var count = Math.Min(random.Next(4), text.Length - start);
                    shown.Append(matcher.Push(text.Substring(start, count)));
                    start += count;

                    // No more is held than may yet be a stop string.
                    if (!matcher.Stopped)
                        Assert.InRange(start - shown.Length, 0, longest - 1);
                }

                shown.Append(matcher.Flush());
                var (expected, stopped) = Definition(text, stops);
                Assert.Equal((expected, stopped), (shown.ToString(), matcher.Stopped));
                if (stopped)
                    Assert.Equal(string.Empty, matcher.Push("more") + matcher.Flush());
            },
            iter: 3000);

    [Fact]
    public void OfNestedStopStringsTheOneThatIsCompleteFirstCounts()
    {
        foreach (var pieces in new[] { new[] { "xabc" }, ["x", "a", "b", "c"], ["xa", "bc"] })
        {
            var matcher = new StopMatcher(["abc", "b"]);
            Assert.Equal("xa", string.Concat(pieces.Select(matcher.Push)));
            Assert.True(matcher.Stopped);
        }
    }

    [Fact]
    public void EmptyStopStringsAreRefused()
    {
        Assert.Throws<ArgumentException>(() => new StopMatcher([""]));
        Assert.Throws<ArgumentException>(() => new StopMatcher(["a", null!]));
    }

    // Character by character: the text ends where a stop string does, less the longest that ends there.
    private static (string Shown, bool Stopped) Definition(string text, string[] stops)
    {
        for (var end = 1; end <= text.Length; end++)
        {
            var ending = stops.Where(s => text[..end].EndsWith(s, StringComparison.Ordinal)).ToArray();
            if (ending.Length > 0)
                return (text[..(end - ending.Max(s => s.Length))], true);
        }

        return (text, false);
    }
}
