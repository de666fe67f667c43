using Hadal.Checkpoints.Tokenization;

namespace Hadal.Evaluation.Models;

/// <summary>
/// Cuts a text of any length into windows so that every token is scored exactly once. The first window begins with the beginning-of-text token; each next
/// one with the last token of the one before (lm-evaluation-harness, <c>get_rolling_token_windows</c> with a context of 1).
/// </summary>
internal static class RollingWindows
{
    /// <summary>The windows of a text: each scores all of its tokens but the first.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="text">The text.</param>
    /// <param name="window">Tokens that the model computes at a time.</param>
    /// <returns>Nothing for an empty text.</returns>
    public static List<ScoredText> Of(Tokenizer tokenizer, string text, int window)
    {
        List<int> ids = [ScoredText.Beginning(tokenizer)];
        tokenizer.Encode(text, ids, parseSpecial: false);
        var windows = new List<ScoredText>();
        for (var at = 0; at < ids.Count - 1; at += window)
            windows.Add(new ScoredText([.. ids[at..Math.Min(at + window + 1, ids.Count)]], 1));
        return windows;
    }
}
