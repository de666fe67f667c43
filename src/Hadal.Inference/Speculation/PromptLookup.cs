namespace Hadal.Inference.Speculation;

/// <summary>
/// Drafts what followed the last tokens when they came before: first the last three, then two, then one. Costs no forward pass, and is right where a text
/// repeats its prompt, as in summaries, edits and code. Prompt lookup decoding: github apoorvumang/prompt-lookup-decoding.
/// </summary>
internal static class PromptLookup
{
    private const int LongestMatch = 3;

    /// <summary>Writes up to <paramref name="draft"/>'s length tokens; returns how many.</summary>
    public static int Draft(ReadOnlySpan<int> tokens, Span<int> draft)
    {
        for (var n = Math.Min(LongestMatch, tokens.Length - 1); n > 0; n--)
        {
            var at = tokens[..^1].LastIndexOf(tokens[^n..]);
            if (at < 0)
                continue;
            var following = tokens[(at + n)..];
            following = following[..Math.Min(following.Length, draft.Length)];
            following.CopyTo(draft);
            return following.Length;
        }

        return 0;
    }
}
