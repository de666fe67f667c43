using System.Text.RegularExpressions;

namespace Hadal.Evaluation.Scoring;

/// <summary>The mathematical answer in an output, as AGIEval finds it (src/post_process.py, parse_math_answer): in a box, between dollar signs, behind an equals sign, the last number.</summary>
internal static partial class ClozeAnswer
{
    /// <summary>The answer, or null where there is none.</summary>
    public static string? Of(string output)
    {
        var text = AfterPrefix(AfterPrefix(output, "The answer is therefore"), "答案是");
        if (text.Contains("\\boxed", StringComparison.Ordinal))
            return MathEquivalence.LastBoxed(text) is { } boxed ? RightSide(boxed) : null;
        if (Dollars().Matches(text) is { Count: > 0 } quoted && RightSide(quoted[^1].Groups[1].Value) is { Length: > 0 } formula)
            return formula;
        if (text.Contains('=', StringComparison.Ordinal))
            return text[(text.LastIndexOf('=') + 1)..].TrimStart(' ').TrimEnd('.').Split("\\n")[0];
        return Number().Matches(text) is { Count: > 0 } numbers ? numbers[^1].Value : null;
    }

    private static string AfterPrefix(string text, string prefix) =>
        text.LastIndexOf(prefix, StringComparison.Ordinal) is var at and >= 0 ? text[(at + prefix.Length)..].Trim() : text;

    private static string RightSide(string answer) => answer.Contains('=', StringComparison.Ordinal) ? answer[(answer.LastIndexOf('=') + 1)..].TrimStart(' ') : answer;

    // Greedy within a line, as the official pattern is.
    [GeneratedRegex(@"\$(.*)\$")]
    private static partial Regex Dollars();

    [GeneratedRegex(@"(?:\$)?\d+(?:\.\d+)?(?![\w\d])")]
    private static partial Regex Number();
}
