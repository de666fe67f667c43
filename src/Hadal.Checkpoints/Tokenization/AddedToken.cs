namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// A token beside the byte-pair vocabulary, found in the text as it is spelled before any pre-tokenizing. The fields are those of
/// tokenizer.json's <c>added_tokens</c>.
/// </summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">Its spelling.</param>
/// <param name="Special">Left out by a decode that skips special tokens.</param>
/// <param name="SingleWord">Only matched where no letter, mark, digit or underscore touches it.</param>
/// <param name="StripLeft">A match takes in the white space before it.</param>
/// <param name="StripRight">A match takes in the white space after it.</param>
/// <param name="Normalized">Looked for after those that are not.</param>
public sealed record AddedToken(int Id, string Content, bool Special, bool SingleWord = false, bool StripLeft = false, bool StripRight = false, bool Normalized = false)
{
    /// <summary>
    /// Whether the token steers the model and text from a user must not be able to spell it: it is special, or is written in angle brackets as
    /// <c>&lt;｜User｜&gt;</c> and <c>&lt;think&gt;</c> are, which DeepSeek's files do not flag. DeepSeek LLM's added tokens <c>ø</c>, <c>ü</c>…
    /// are plain text.
    /// </summary>
    public bool IsControl => Special || (Content.Length > 2 && Content[0] == '<' && Content[^1] == '>');
}
