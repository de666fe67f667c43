using System.Buffers;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Data;

/// <summary>
/// Turns documents around so that a model learns to fill gaps (Bavarian et al. 2022, arXiv:2207.14255), in DeepSeek's PSM form (DeepSeek-V3 report section
/// 4.1): <c>&lt;fim_begin&gt; prefix &lt;fim_hole&gt; suffix &lt;fim_end&gt; middle</c>. The text is cut between two characters, not two tokens, and its parts are
/// tokenised anew. Safe for use from several threads.
/// </summary>
internal sealed class FillInTheMiddle
{
    private readonly Tokenizer tokenizer;
    private readonly int begin;
    private readonly int hole;
    private readonly int end;

    /// <summary>Takes a tokenizer that has the three tokens.</summary>
    /// <exception cref="InvalidDataException">It lacks one.</exception>
    public FillInTheMiddle(Tokenizer tokenizer)
    {
        this.tokenizer = tokenizer;
        begin = Require("<｜fim▁begin｜>");
        hole = Require("<｜fim▁hole｜>");
        end = Require("<｜fim▁end｜>");

        int Require(string token) => tokenizer.TokenToId(token) ?? throw new InvalidDataException($"tokenizer: fill in the middle needs the token {token}, found none");
    }

    /// <summary>Turns one document around, in place; leaves texts of fewer than three bytes alone.</summary>
    public void Apply(List<int> document, ref Draws draws)
    {
        var bytes = new ArrayBufferWriter<byte>(Math.Max(16, 4 * document.Count));
        foreach (var id in document)
            bytes.Write(tokenizer.DecodeBytes(id));
        var text = bytes.WrittenSpan;
        if (text.Length < 3)
            return;
        var (first, second) = (Cut(text, ref draws), Cut(text, ref draws));
        if (first > second)
            (first, second) = (second, first);
        document.Clear();
        document.Add(begin);
        tokenizer.EncodeUtf8(text[..first], document, parseSpecial: false);
        document.Add(hole);
        tokenizer.EncodeUtf8(text[second..], document, parseSpecial: false);
        document.Add(end);
        tokenizer.EncodeUtf8(text[first..second], document, parseSpecial: false);
    }

    private static int Cut(ReadOnlySpan<byte> text, ref Draws draws)
    {
        var at = (int)draws.Below(text.Length + 1);
        while (at > 0 && at < text.Length && (text[at] & 0xC0) == 0x80)
            at--;
        return at;
    }
}
