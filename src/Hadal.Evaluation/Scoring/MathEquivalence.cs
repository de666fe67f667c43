using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Hadal.Evaluation.Scoring;

/// <summary>
/// Whether two final answers of MATH (Hendrycks et al., arXiv 2103.03874) are the same: the official normal forms of hendrycks/math
/// (modeling/math_equivalence.py), compared as texts.
/// </summary>
public static partial class MathEquivalence
{
    /// <summary>Whether two answers have the same normal form; where one has none (a unit twice), whether they are the same text. Two missing answers count as the same.</summary>
    public static bool AreEqual(string? a, string? b)
    {
        if (a is null || b is null)
            return a is null && b is null;
        return Normalize(a) is { } x && Normalize(b) is { } y ? x == y : a == b;
    }

    /// <summary>The content of the last <c>\boxed{…}</c> or <c>\fbox{…}</c>; null where there is none or its brace is never closed.</summary>
    public static string? LastBoxed(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var start = text.LastIndexOf("\\boxed", StringComparison.Ordinal);
        if (start >= 0 && text.AsSpan(start).StartsWith("\\boxed "))
            return text[(start + "\\boxed ".Length)..].Split('$')[0];
        if (start < 0)
            start = text.LastIndexOf("\\fbox", StringComparison.Ordinal);
        if (start < 0)
            return null;
        var open = text.IndexOf('{', start);
        if (open < 0)
            return null;
        var depth = 0;
        for (var i = open; i < text.Length; i++)
        {
            depth += text[i] switch { '{' => 1, '}' => -1, _ => 0 };
            if (depth == 0)
                return text[(open + 1)..i];
        }

        return null;
    }

    /// <summary>The answer of a worked solution in the form of the Minerva prompt: what stands between "final answer is" and "I hope it is correct"; else the last box.</summary>
    public static string? FinalAnswer(string output)
    {
        ArgumentNullException.ThrowIfNull(output);
        var stated = Stated().Match(output);
        if (stated.Success)
        {
            var answer = stated.Groups["answer"].Value.Trim();
            return answer is ['$', .., '$'] ? answer[1..^1] : answer;
        }

        return LastBoxed(output);
    }

    /// <summary>The official normal form; null where the official code fails on the text.</summary>
    public static string? Normalize(string answer)
    {
        ArgumentNullException.ThrowIfNull(answer);
        var text = answer
            .Replace("\n", string.Empty, StringComparison.Ordinal)
            .Replace("\\!", string.Empty, StringComparison.Ordinal)
            .Replace(@"\\", @"\", StringComparison.Ordinal)
            .Replace("tfrac", "frac", StringComparison.Ordinal)
            .Replace("dfrac", "frac", StringComparison.Ordinal)
            .Replace("\\left", string.Empty, StringComparison.Ordinal)
            .Replace("\\right", string.Empty, StringComparison.Ordinal)
            .Replace("^{\\circ}", string.Empty, StringComparison.Ordinal)
            .Replace("^\\circ", string.Empty, StringComparison.Ordinal)
            .Replace("\\$", string.Empty, StringComparison.Ordinal);

        // Units on the right: in the data, "\text{ " begins nothing else.
        var parts = text.Split("\\text{ ");
        if (parts.Length > 2)
            return null;
        text = parts[0]
            .Replace("\\%", string.Empty, StringComparison.Ordinal)
            .Replace(" .", " 0.", StringComparison.Ordinal)
            .Replace("{.", "{0.", StringComparison.Ordinal);
        if (text.Length == 0)
            return text;
        if (text[0] == '.')
            text = "0" + text;

        // "x = 5": a name of at most two characters.
        var sides = text.Split('=');
        if (sides.Length == 2 && sides[0].Length <= 2)
            text = sides[1];
        if (Roots(text) is not { } rooted || Fractions(rooted.Replace(" ", string.Empty, StringComparison.Ordinal)) is not { } fractioned)
            return null;
        return Slash(fractioned == "0.5" ? "\\frac{1}{2}" : fractioned);
    }

    // \sqrt3 becomes \sqrt{3}.
    private static string? Roots(string text)
    {
        var parts = text.Split("\\sqrt");
        var result = new StringBuilder(parts[0]);
        foreach (var part in parts.Skip(1))
        {
            if (part.Length == 0)
                return null;
            if (part[0] == '{')
                result.Append("\\sqrt").Append(part);
            else
                result.Append("\\sqrt{").Append(part[0]).Append('}').Append(part.AsSpan(1));
        }

        return result.ToString();
    }

    // \frac12 and \frac1{2} become \frac{1}{2}; \frac{72}1 stays.
    private static string? Fractions(string text)
    {
        var parts = text.Split("\\frac");
        var result = new StringBuilder(parts[0]);
        foreach (var part in parts.Skip(1))
        {
            if (part.Length == 0)
                return null;
            result.Append("\\frac");
            if (part[0] == '{')
            {
                result.Append(part);
                continue;
            }

            if (part.Length < 2)
                return text;
            result.Append('{').Append(part[0]).Append('}');
            if (part[1] == '{')
                result.Append(part.AsSpan(1));
            else
                result.Append('{').Append(part[1]).Append('}').Append(part.AsSpan(2));
        }

        return result.ToString();
    }

    // 1/2 becomes \frac{1}{2}, for whole numbers only.
    private static string Slash(string text)
    {
        var parts = text.Split('/');
        return parts.Length == 2 && IsPlainInteger(parts[0]) && IsPlainInteger(parts[1]) ? $"\\frac{{{parts[0]}}}{{{parts[1]}}}" : text;
    }

    private static bool IsPlainInteger(string text) =>
        System.Numerics.BigInteger.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value.ToString(CultureInfo.InvariantCulture) == text;

    [GeneratedRegex(@"final answer is\s*(?<answer>.*?)\.?\s*I hope it is correct", RegexOptions.Singleline | RegexOptions.IgnoreCase)]
    private static partial Regex Stated();
}
