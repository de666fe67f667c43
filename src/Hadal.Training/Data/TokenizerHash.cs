using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Data;

/// <summary>What tells whether two tokenizers give the same ids, wherever they were read from.</summary>
public static class TokenizerHash
{
    /// <summary>SHA-256, in hexadecimal, over the tokens in the order of their ids, the merges, the added tokens and the pre-tokenizer.</summary>
    public static string Of(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (var id = 0; id < tokenizer.VocabSize; id++)
            Text(hash, tokenizer.IdToToken(id) ?? string.Empty);
        for (var rank = 0; rank < tokenizer.MergeCount; rank++)
        {
            var (left, right) = tokenizer.Merge(rank);
            Number(hash, left);
            Number(hash, right);
        }

        foreach (var token in tokenizer.AddedTokens)
            Text(hash, token.ToString());
        foreach (var regex in tokenizer.Parts.Regexes)
            Text(hash, regex);
        Number(hash, tokenizer.Parts.IgnoreMerges ? 1 : 0);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void Text(IncrementalHash hash, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Number(hash, bytes.Length);
        hash.AppendData(bytes);
    }

    private static void Number(IncrementalHash hash, int value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        hash.AppendData(bytes);
    }
}
