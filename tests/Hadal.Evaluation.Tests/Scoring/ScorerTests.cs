using System.Numerics;
using CsCheck;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tests.Scoring;

/// <summary>Tables of cases, in the manner of the official scorers' own tests, and values computed another way.</summary>
public sealed class ScorerTests
{
    [Theory]
    [InlineData("The Deep  Sea!", "deep sea")]
    [InlineData("a man, a plan", "man plan")]
    [InlineData("it's", "its")]
    [InlineData("Thean theatre", "thean theatre")]
    public void SquadNormalForm(string text, string expected) => Assert.Equal(expected, AnswerText.Squad(text));

    [Theory]
    [InlineData("Sunset_Blvd.", "sunset blvd")]
    [InlineData("“The” ‘Sunset’ Boulevard", "“ ” sunset boulevard")]
    [InlineData("rock'n'roll", "rock n roll")]
    public void TriviaQaNormalForm(string text, string expected) => Assert.Equal(expected, AnswerText.TriviaQa(text));

    [Theory]
    [InlineData("《深海》：第1部。", "深海第1部")]
    [InlineData(" Hadal-Zone ", "hadalzone")]
    [InlineData("a, b", "a, b")]
    public void CmrcNormalForm(string text, string expected) => Assert.Equal(expected, AnswerText.Cmrc(text));

    [Theory]
    [InlineData("深海鱼", "深海", 2.0 / 3, 1)]
    [InlineData("北京", "上海", 0, 0)]
    [InlineData("hadal zone 区", "zone 区", 2.0 / 3, 1)]
    public void CmrcF1IsTheLongestCommonRun(string prediction, string gold, double precision, double recall) =>
        Assert.Equal(precision + recall == 0 ? 0 : 2 * precision * recall / (precision + recall), AnswerText.CmrcF1(prediction, gold), 1e-12);

    [Theory]
    [InlineData("the deep blue sea", "deep sea", 0.8)]
    [InlineData("deep deep", "deep", 2.0 / 3)]
    [InlineData("x", "y", 0)]
    public void SquadF1CountsWordsWithTheirNumber(string prediction, string gold, double expected) => Assert.Equal(expected, AnswerText.SquadF1(prediction, gold), 1e-12);

    // Normal forms and scores as the official DROP scorer gives them.
    [Theory]
    [InlineData("10 dollars", "10.0 dollars")]
    [InlineData("3,000", "3000.0")]
    [InlineData("The 1-yard line", "1.0 yard line")]
    [InlineData("4.50%", "450.0")]
    [InlineData("1e5", "100000.0")]
    [InlineData("0.00001", "1e-05")]
    [InlineData("12345678901234567890", "1.2345678901234567e+19")]
    [InlineData("St. Louis", "st louis")]
    public void DropNormalForm(string text, string expected) => Assert.Equal(expected, DropScorer.Normalize(text));

    [Theory]
    [InlineData("5", "5.0", 1, 1)]
    [InlineData("5 yards", "5", 0, 0.67)]
    [InlineData("6 yards", "5 yards", 0, 0)]
    [InlineData("five yards", "5 yards", 0, 0)]
    [InlineData("Ellison, Jack", "Jack Ellison", 0, 1)]
    [InlineData("the red house", "red house barn", 0, 0.8)]
    public void DropOfOneSpan(string prediction, string gold, double exact, double f1) => Assert.Equal((exact, f1), DropScorer.Score([prediction], [gold]));

    [Fact]
    public void DropPairsSpansOneToOne()
    {
        Assert.Equal((1, 1), DropScorer.Score(["b", "a"], ["a", "b"]));
        Assert.Equal((0, 0.5), DropScorer.Score(["a"], ["a", "b"]));
        Assert.Equal((0, 0.33), DropScorer.Score(["red car"], ["red car", "blue car", "green car"]));

        // "red car" with "red blue car" (0.8) and "red" with "red" (1).
        Assert.Equal((0, 0.9), DropScorer.Score(["red car", "red"], ["red", "red blue car"]));
    }

    [Fact]
    public void DropTakesTheBestOfSeveralGolds()
    {
        Assert.Equal((1, 1), DropScorer.Score(["two"], [["2"], ["two"]]));
        Assert.Equal((0, 0), DropScorer.Score(["two"], [[""], ["three"]]));
    }

    [Fact]
    public void AssignmentIsTheBestOfAllPermutations() =>
        Gen.Select(Gen.Int[1, 5], Gen.Int[1, 5], Gen.Double[0, 1].Array[25]).Sample((rows, columns, values) =>
        {
            var scores = new double[rows, columns];
            for (var i = 0; i < rows * columns; i++)
                scores[i / columns, i % columns] = Math.Round(values[i], 1);
            return Math.Abs(Assignment.LargestSum(scores) - Best(scores, 0, 0)) < 1e-9;
        });

    // Cases of hendrycks/math and of its readers.
    [Theory]
    [InlineData("\\frac12", "\\frac{1}{2}", true)]
    [InlineData("\\frac1{72}", "\\frac{1}{72}", true)]
    [InlineData("\\frac{72}1", "\\frac{72}{1}", false)]
    [InlineData("0.5", "\\frac{1}{2}", true)]
    [InlineData(".5", "\\frac{1}{2}", true)]
    [InlineData("1/2", "\\dfrac{1}{2}", true)]
    [InlineData("a/b", "\\frac{a}{b}", false)]
    [InlineData("01/2", "\\frac{1}{2}", false)]
    [InlineData("\\sqrt3", "\\sqrt{3}", true)]
    [InlineData("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})", true)]
    [InlineData("90^\\circ", "90", true)]
    [InlineData("k = 5", "5", true)]
    [InlineData("kx = 5", "5", false)]
    [InlineData("18 \\text{ inches}", "18", true)]
    [InlineData("10\\%", "10", true)]
    [InlineData("\\$1,000", "1,000", true)]
    [InlineData("1,000", "1000", false)]
    [InlineData("10\\!000", "10000", true)]
    [InlineData("2", "3", false)]
    [InlineData("x \\text{ a} \\text{ b}", "x \\text{ a} \\text{ b}", true)]
    [InlineData("x \\text{ a} \\text{ b}", "x", false)]
    [InlineData("\\sqrt", "\\sqrt", true)]
    public void MathEquality(string a, string b, bool equal)
    {
        Assert.Equal(equal, MathEquivalence.AreEqual(a, b));
        Assert.Equal(equal, MathEquivalence.AreEqual(b, a));
    }

    [Theory]
    [InlineData("so $\\boxed{3}$, no, $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}")]
    [InlineData("\\fbox{7}", "7")]
    [InlineData("\\boxed 9$ done", "9")]
    [InlineData("\\boxed{never closed", null)]
    [InlineData("none", null)]
    public void TheLastBoxCounts(string text, string? expected) => Assert.Equal(expected, MathEquivalence.LastBoxed(text));

    [Theory]
    [InlineData("Thus.\nFinal Answer: The final answer is $[2,5)$. I hope it is correct.", "[2,5)")]
    [InlineData("The answer is $\\boxed{4}$.", "4")]
    [InlineData("no idea", null)]
    public void TheFinalAnswerIsWhatIsStated(string output, string? expected) => Assert.Equal(expected, MathEquivalence.FinalAnswer(output));

    [Theory]
    [InlineData("20 + 3 is 23. The answer is 23.", "23")]
    [InlineData("The answer is $1,234.50 a year. Then 7", "1234.50")]
    [InlineData("no phrase but 12 and -8", "-8")]
    [InlineData("words only", null)]
    public void TheNumberAfterThePhraseElseTheLast(string output, string? expected) => Assert.Equal(expected, NumberAnswer.After(output, "The answer is"));

    [Theory]
    [InlineData("18", "18.0", true)]
    [InlineData("1,000", "1000", true)]
    [InlineData("$5", "5", true)]
    [InlineData("0.3333333", "0.3333334", false)]
    [InlineData(null, "5", false)]
    [InlineData("x", "x", false)]
    public void NumbersAreComparedAsNumbers(string? a, string? b, bool equal) => Assert.Equal(equal, NumberAnswer.AreEqual(a, b));

    [Theory]
    [InlineData("so $x = 4$.", "4")]
    [InlineData("\\boxed{y=2}", "2")]
    [InlineData("答案是 7", "7")]
    [InlineData("x=3+4=7.", "7")]
    [InlineData("about 3.5 or 4 units", "4")]
    [InlineData("nothing", null)]
    public void ClozeAnswers(string output, string? expected) => Assert.Equal(expected, ClozeAnswer.Of(output));

    [Fact]
    public void PassAtKIsTheShareOfDrawsWithASuccess()
    {
        for (var n = 1; n <= 8; n++)
        {
            for (var c = 0; c <= n; c++)
            {
                for (var k = 1; k <= n; k++)
                    Assert.Equal(1 - ((double)Binomial(n - c, k) / (double)Binomial(n, k)), PassAtK.Estimate(n, c, k), 1e-12);
            }
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => PassAtK.Estimate(2, 1, 3));
    }

    [Fact]
    public void StandardErrorOfProportionsIsTheTextbooks()
    {
        double[] values = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
        Assert.Equal(Math.Sqrt(0.3 * 0.7 / 9), Statistics.StandardError(values), 1e-12);
        Assert.Equal(0, Statistics.StandardError([1]));
        var (low, high) = Statistics.Bootstrap([[.. Enumerable.Repeat(values, 40).SelectMany(v => v)]], macro: false);
        var half = 1.96 * Math.Sqrt(0.3 * 0.7 / 400);
        Assert.InRange(low, 0.3 - (1.15 * half), 0.3 - (0.85 * half));
        Assert.InRange(high, 0.3 + (0.85 * half), 0.3 + (1.15 * half));
        Assert.Equal((low, high), Statistics.Bootstrap([[.. Enumerable.Repeat(values, 40).SelectMany(v => v)]], macro: false));
    }

    [Fact]
    public void MicroCountsItemsAndMacroCategories()
    {
        IReadOnlyList<double>[] categories = [[1, 1, 1], [0]];
        Assert.Equal((0.75, 0.5), (Statistics.Micro(categories), Statistics.Macro(categories)));
        Assert.Equal(0.5, Statistics.MacroStandardError(categories), 1e-12);
        Assert.Equal(Math.Sqrt(2 * (0.5 / 2)) / 2, Statistics.MacroStandardError([[1, 0], [0, 1]]), 1e-12);
    }

    [Fact]
    public void EachNormalisationIsItsFormula()
    {
        var (conditional, unconditional) = (new Loglikelihood(-6, 3, false), new Loglikelihood(-10, 3, false));
        double Of(Normalization n) => ChoiceScore.Of(n, conditional, unconditional, "深ab");
        Assert.Equal([-6, -2, -2, -1.2, 4], [Of(Normalization.None), Of(Normalization.Tokens), Of(Normalization.Characters), Of(Normalization.Bytes), Of(Normalization.Unconditional)]);
        Assert.Equal(1, ChoiceScore.Best([-2, -1, -1]));
        Assert.Throws<InvalidDataException>(() => ChoiceScore.Best([-2, double.NaN]));
    }

    [Theory]
    [InlineData("1_000", true, 1000)]
    [InlineData(" 5. ", true, 5)]
    [InlineData(".5", true, 0.5)]
    [InlineData("1e-3", true, 0.001)]
    [InlineData("1,000", false, 0)]
    [InlineData("5th", false, 0)]
    [InlineData("", false, 0)]
    public void FloatsAreReadAsPythonDoes(string text, bool parses, double value)
    {
        Assert.Equal(parses, PythonFloat.TryParse(text, out var parsed));
        Assert.Equal(value, parses ? parsed : 0);
    }

    private static double Best(double[,] scores, int row, int used)
    {
        if (row == scores.GetLength(0))
            return 0;
        var best = Best(scores, row + 1, used);
        for (var column = 0; column < scores.GetLength(1); column++)
        {
            if ((used & (1 << column)) == 0)
                best = Math.Max(best, scores[row, column] + Best(scores, row + 1, used | (1 << column)));
        }

        return best;
    }

    private static BigInteger Binomial(int n, int k) => k > n ? 0 : Enumerable.Range(0, k).Aggregate(BigInteger.One, (product, i) => product * (n - i) / (i + 1));
}
