using System.Text;
using System.Text.RegularExpressions;

namespace Hadal.Evaluation.Scoring;

/// <summary>
/// Normal forms of short answers, as the official scorers of SQuAD (evaluate-v1.1.py), TriviaQA (evaluation/triviaqa_evaluation.py) and CMRC 2018
/// (cmrc2018_evaluate.py) define them.
/// </summary>
public static partial class AnswerText
{
    /// <summary>Python's <c>string.punctuation</c>.</summary>
    internal const string Punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

    // The list of CMRC's scorer; its "……" is two characters there and never equals one, but stands here as one to be complete in what it removes.
    private const string ChinesePunctuation = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』";

    /// <summary>SQuAD: lower case, without punctuation, without a, an and the, single spaces.</summary>
    public static string Squad(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Spaces(Articles().Replace(Filter(text.ToLowerInvariant(), Punctuation, null), " "));
    }

    /// <summary>TriviaQA: as SQuAD, but punctuation (curly quotes and accents too) and underscores become spaces.</summary>
    public static string TriviaQa(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Spaces(Articles().Replace(Filter(text.Replace('_', ' ').ToLowerInvariant(), Punctuation + "‘’´`", ' '), " "));
    }

    /// <summary>CMRC 2018: lower case, without a list of Western and Chinese punctuation; spaces inside stay.</summary>
    public static string Cmrc(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Filter(text.ToLowerInvariant().Trim(), ChinesePunctuation, null);
    }

    /// <summary>F1 of the bags of words of two SQuAD-normalised texts.</summary>
    public static double SquadF1(string prediction, string gold)
    {
        var (predicted, expected) = (Words(Squad(prediction)), Words(Squad(gold)));
        var left = expected.GroupBy(w => w).ToDictionary(g => g.Key, g => g.Count());
        var same = 0;
        foreach (var word in predicted)
        {
            if (left.GetValueOrDefault(word) > 0)
            {
                left[word]--;
                same++;
            }
        }

        return same == 0 ? 0 : F1((double)same / predicted.Length, (double)same / expected.Length);
    }

    /// <summary>CMRC 2018's F1: the longest run of segments (Chinese characters, Western words) that both have, as precision and recall.</summary>
    public static double CmrcF1(string prediction, string gold)
    {
        var (predicted, expected) = (Segments(prediction), Segments(gold));
        var same = LongestCommonRun(expected, predicted);
        return same == 0 ? 0 : F1((double)same / predicted.Count, (double)same / expected.Count);
    }

    /// <summary>The harmonic mean of precision and recall; 0 where both are.</summary>
    internal static double F1(double precision, double recall) => precision + recall == 0 ? 0 : 2 * precision * recall / (precision + recall);

    internal static string[] Words(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);

    private static string Spaces(string text) => string.Join(' ', Words(text));

    private static string Filter(string text, string removed, char? replacement)
    {
        var kept = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            if (!removed.Contains(c, StringComparison.Ordinal))
                kept.Append(c);
            else if (replacement is { } r)
                kept.Append(r);
        }

        return kept.ToString();
    }

    // Chinese characters one by one; what lies between is cut into words by NLTK's tokenizer in the official scorer, here at spaces and punctuation,
    // which gives the same for words and numbers.
    private static List<string> Segments(string text)
    {
        var segments = new List<string>();
        var other = new StringBuilder();
        foreach (var c in text.ToLowerInvariant().Trim())
        {
            if (ChinesePunctuation.Contains(c, StringComparison.Ordinal))
                continue;
            if (c is >= '\u4E00' and <= '\u9FA5')
            {
                Flush();
                segments.Add(c.ToString());
            }
            else
            {
                other.Append(c);
            }
        }

        Flush();
        return segments;

        void Flush()
        {
            segments.AddRange(WesternWord().Matches(other.ToString()).Select(m => m.Value));
            other.Clear();
        }
    }

    private static int LongestCommonRun(List<string> a, List<string> b)
    {
        var lengths = new int[b.Count + 1];
        var longest = 0;
        for (var i = 0; i < a.Count; i++)
        {
            for (var j = b.Count - 1; j >= 0; j--)
            {
                lengths[j + 1] = a[i] == b[j] ? lengths[j] + 1 : 0;
                longest = Math.Max(longest, lengths[j + 1]);
            }
        }

        return longest;
    }

    [GeneratedRegex(@"\b(a|an|the)\b")]
    private static partial Regex Articles();

    [GeneratedRegex(@"[\p{L}\p{M}\p{N}]+(?:[.,'][\p{L}\p{M}\p{N}]+)*|[^\s\p{L}\p{M}\p{N}]")]
    private static partial Regex WesternWord();
}
