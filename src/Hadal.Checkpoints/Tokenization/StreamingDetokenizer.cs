using System.Text;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// Turns ids into text as they come, without ever showing part of a character: bytes of an unfinished UTF-8 sequence wait for the rest. What
/// <see cref="Push"/> and <see cref="Flush"/> give, one after the other, is what <see cref="Tokenizer.Decode"/> gives for all ids at once. For one text.
/// </summary>
public sealed class StreamingDetokenizer
{
    private readonly Tokenizer tokenizer;
    private readonly bool skipSpecial;
    private readonly Decoder decoder = Encoding.UTF8.GetDecoder();
    private char[] characters = new char[64];

    /// <summary>Begins a text.</summary>
    /// <param name="tokenizer">Knows the bytes of each id.</param>
    /// <param name="skipSpecial">Whether special tokens are left out.</param>
    public StreamingDetokenizer(Tokenizer tokenizer, bool skipSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        this.tokenizer = tokenizer;
        this.skipSpecial = skipSpecial;
    }

    /// <summary>Takes an id and gives the text that is complete; often empty in the middle of a character.</summary>
    public string Push(int id) => skipSpecial && tokenizer.IsSpecial(id) ? string.Empty : Convert(tokenizer.DecodeBytes(id), flush: false);

    /// <summary>The end of the text: what still waits becomes U+FFFD.</summary>
    public string Flush() => Convert(default, flush: true);

    private string Convert(ReadOnlySpan<byte> bytes, bool flush)
    {
        var count = decoder.GetCharCount(bytes, flush);
        if (characters.Length < count)
            characters = new char[2 * count];
        return new string(characters, 0, decoder.GetChars(bytes, characters, flush));
    }
}
