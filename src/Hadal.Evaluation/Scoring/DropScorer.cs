using System.Text.RegularExpressions;

namespace Hadal.Evaluation.Scoring;

/// <summary>
/// Exact match and F1 of DROP (Dua et al., arXiv 1903.00161), as its official scorer computes them: bags of normalised words for each span, numbers compared
/// as numbers, spans of answer and gold paired one to one so that the sum of their F1 is largest, the mean over the longer side rounded to two places.
/// </summary>
public static partial class DropScorer
{
    /// <summary>Scores a prediction against several gold answers; the best of each counts.</summary>
    /// <param name="prediction">Spans that were predicted.</param>
    /// <param name="golds">Gold answers, each of one or more spans. Those that begin with an empty span count for nothing.</param>
    public static (double ExactMatch, double F1) Score(IReadOnlyList<string> prediction, IReadOnlyList<IReadOnlyList<string>> golds)
    {
        ArgumentNullException.ThrowIfNull(prediction);
        ArgumentNullException.ThrowIfNull(golds);
        var (exact, f1) = (0.0, 0.0);
        foreach (var gold in golds.Where(g => g.Count > 0 && g[0].Trim().Length > 0))
        {
            var (em, f) = Score(prediction, gold);
            (exact, f1) = (Math.Max(exact, em), Math.Max(f1, f));
        }

        return (exact, f1);
    }

    /// <summary>Scores a prediction against one gold answer.</summary>
    public static (double ExactMatch, double F1) Score(IReadOnlyList<string> prediction, IReadOnlyList<string> gold)
    {
        ArgumentNullException.ThrowIfNull(prediction);
        ArgumentNullException.ThrowIfNull(gold);
        var (predictedTexts, goldTexts) = (prediction.Select(Normalize).ToList(), gold.Select(Normalize).ToList());
        var exact = predictedTexts.Count == goldTexts.Count && predictedTexts.ToHashSet().SetEquals(goldTexts) ? 1.0 : 0.0;
        var (predicted, expected) = (predictedTexts.Select(Bag).ToList(), goldTexts.Select(Bag).ToList());
        var scores = new double[expected.Count, predicted.Count];
        for (var g = 0; g < expected.Count; g++)
        {
            for (var p = 0; p < predicted.Count; p++)
                scores[g, p] = NumbersMatch(expected[g], predicted[p]) ? F1(predicted[p], expected[g]) : 0;
        }

        var sum = Assignment.LargestSum(scores);

        // Python's round: to the nearest, halves to even.
        return (exact, Math.Round(sum / Math.Max(expected.Count, predicted.Count), 2, MidpointRounding.ToEven));
    }

    /// <summary>Words in lower case, cut at spaces and hyphens, without punctuation (numbers keep theirs) and articles; numbers as Python writes floats.</summary>
    public static string Normalize(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var parts = text.Split(' ', '-').Select(token =>
        {
            var word = token.ToLowerInvariant();
            if (!PythonFloat.TryParse(word, out _))
                word = string.Concat(word.Where(c => !AnswerText.Punctuation.Contains(c, StringComparison.Ordinal)));
            if (PythonFloat.TryParse(word, out var number))
                word = PythonFloat.Show(number);
            return string.Join(' ', AnswerText.Words(Articles().Replace(word, " ")));
        });
        return string.Join(' ', parts.Where(p => p.Length > 0));
    }

    private static HashSet<string> Bag(string normalized) => [.. AnswerText.Words(normalized)];

    private static bool NumbersMatch(HashSet<string> gold, HashSet<string> predicted)
    {
        var numbers = gold.Where(IsNumber).ToList();
        return numbers.Count == 0 || numbers.Exists(predicted.Contains);
    }

    private static bool IsNumber(string word) => PythonFloat.TryParse(word, out _);

    private static double F1(HashSet<string> predicted, HashSet<string> gold)
    {
        var same = gold.Count(predicted.Contains);
        var precision = predicted.Count == 0 ? 1 : (double)same / predicted.Count;
        var recall = gold.Count == 0 ? 1 : (double)same / gold.Count;
        return AnswerText.F1(precision, recall);
    }

    [GeneratedRegex(@"\b(a|an|the)\b")]
    private static partial Regex Articles();
}
