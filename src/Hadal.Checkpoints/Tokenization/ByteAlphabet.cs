using System.Text;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// The printable spelling of bytes in byte-level vocabularies: GPT-2's <c>bytes_to_unicode</c> (openai/gpt-2 src/encoder.py). Bytes that are
/// printable Latin-1 characters spell themselves, the other 68 are U+0100, U+0101, … in order.
/// </summary>
internal static class ByteAlphabet
{
    private const int Highest = 0x143;
    private static readonly char[] ToChar = MakeToChar();
    private static readonly short[] ToByte = MakeToByte();

    /// <summary>The character that spells a byte.</summary>
    public static char Spell(byte value) => ToChar[value];

    /// <summary>The spelling of bytes.</summary>
    public static string Spell(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(bytes.Length);
        foreach (var b in bytes)
            text.Append(ToChar[b]);
        return text.ToString();
    }

    /// <summary>
    /// The bytes that a token's spelling, well-formed UTF-8, stands for; −1 if some character of it spells no byte, so that it stands for itself.
    /// </summary>
    /// <param name="spelling">The token as the vocabulary spells it.</param>
    /// <param name="bytes">Takes the bytes; at least as long as the spelling.</param>
    public static int Read(ReadOnlySpan<byte> spelling, Span<byte> bytes)
    {
        var length = 0;
        for (var at = 0; at < spelling.Length;)
        {
            var c = CharClasses.Decode(spelling, at, out at);
            if (c > Highest || ToByte[c] < 0)
                return -1;
            bytes[length++] = (byte)ToByte[c];
        }

        return length;
    }

    /// <summary>Whether a byte can occur in well-formed UTF-8: not C0, C1 or F5 to FF.</summary>
    public static bool OccursInUtf8(int value) => value is < 0xC0 or (> 0xC1 and < 0xF5);

    private static char[] MakeToChar()
    {
        var table = new char[256];
        var next = (char)0x100;
        for (var b = 0; b < 256; b++)
            table[b] = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? (char)b : next++;
        return table;
    }

    private static short[] MakeToByte()
    {
        var table = new short[Highest + 1];
        Array.Fill(table, (short)-1);
        for (var b = 0; b < 256; b++)
            table[ToChar[b]] = (short)b;
        return table;
    }
}
