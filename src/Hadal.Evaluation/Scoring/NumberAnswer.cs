using System.Globalization;
using System.Text.RegularExpressions;

namespace Hadal.Evaluation.Scoring;

/// <summary>Numbers as final answers of word problems: finding them in a worked solution, and comparing them.</summary>
public static partial class NumberAnswer
{
    /// <summary>The last number of a text; thousands separators are left out. Null where there is none.</summary>
    public static string? Last(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var numbers = Number().Matches(Separators().Replace(text, string.Empty));
        return numbers.Count > 0 ? numbers[^1].Value : null;
    }

    /// <summary>The first number after a phrase, the phrase's last occurrence counting; the last number of the whole text where the phrase or a number after it is not there.</summary>
    public static string? After(string text, string phrase)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentException.ThrowIfNullOrEmpty(phrase);
        var at = text.LastIndexOf(phrase, StringComparison.OrdinalIgnoreCase);
        return at >= 0 && Number().Match(Separators().Replace(text[(at + phrase.Length)..].TrimStart().Split('\n')[0], string.Empty)) is { Success: true } number ? number.Value : Last(text);
    }

    /// <summary>Whether two numbers, written with or without thousands separators, decimals and currency signs, are the same.</summary>
    public static bool AreEqual(string? a, string? b) =>
        Parse(a) is { } x && Parse(b) is { } y && (x == y || Math.Abs(x - y) <= 1e-9 * Math.Max(Math.Abs(x), Math.Abs(y)));

    private static double? Parse(string? text) =>
        text is not null && double.TryParse(Plain().Replace(text, string.Empty).TrimEnd('.'), NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && double.IsFinite(value) ? value : null;

    [GeneratedRegex(@"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")]
    private static partial Regex Separators();

    [GeneratedRegex(@"-?[0-9]+(?:\.[0-9]+)?")]
    private static partial Regex Number();

    [GeneratedRegex(@"[,\s$€£¥%]")]
    private static partial Regex Plain();
}
