using System.Runtime.InteropServices;
using System.Text;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>Collects tokens, then merges, out of a file, checks them, and says what is wrong in the file's words.</summary>
/// <param name="file">The file, for errors.</param>
/// <param name="vocabularyField">Its field of tokens.</param>
/// <param name="mergesField">Its field of merges.</param>
/// <param name="addedField">Its field of added tokens.</param>
internal sealed class VocabularyBuilder(string file, string vocabularyField, string mergesField, string addedField)
{
    private readonly List<int> pairs = [];
    private readonly List<int> results = [];
    private readonly HashSet<int> addedIds = [];
    private readonly HashSet<string> addedContents = [];
    private byte[] joined = new byte[256];

    /// <summary>The tokens.</summary>
    public Vocabulary Vocabulary { get; } = new();

    /// <summary>The added tokens.</summary>
    public List<AddedToken> AddedTokens { get; } = [];

    /// <summary>Adds a token by its spelling in UTF-8.</summary>
    public void AddToken(ReadOnlySpan<byte> spelling, int id)
    {
        if (!Vocabulary.TryAdd(spelling, id))
            throw BadFile.Field(file, vocabularyField, $"token {Show(spelling)}: found twice");
    }

    /// <summary>Every token is added: checks ids and that each byte has a token.</summary>
    public void CompleteTokens()
    {
        if (Vocabulary.Complete() is >= 0 and var shared)
            throw BadFile.Field(file, vocabularyField, $"two tokens have id {shared}");
        var byteTokens = Vocabulary.ByteTokens();
        for (var b = 0; b < byteTokens.Length; b++)
        {
            if (byteTokens[b] < 0 && ByteAlphabet.OccursInUtf8(b))
                throw BadFile.Field(file, vocabularyField, $"expected a token for every byte, found none for 0x{b:X2} ('{ByteAlphabet.Spell((byte)b)}')");
        }
    }

    /// <summary>Adds a merge written as <c>left right</c>.</summary>
    public void AddMerge(ReadOnlySpan<byte> text)
    {
        var space = text.IndexOf((byte)' ');
        if (space <= 0 || space + 1 == text.Length || text[(space + 1)..].Contains((byte)' '))
            throw BadFile.Field(file, mergesField, $"merge {results.Count}: expected two tokens and a space between them, found {Show(text)}");
        BeginMerge(text[..space]);
        EndMerge(space, text[(space + 1)..]);
    }

    /// <summary>Begins a merge with its left token; its length is what <see cref="EndMerge"/> wants.</summary>
    public int BeginMerge(ReadOnlySpan<byte> left)
    {
        if (joined.Length < left.Length)
            joined = new byte[2 * left.Length];
        left.CopyTo(joined);
        return left.Length;
    }

    /// <summary>Ends a merge with its right token.</summary>
    public void EndMerge(int leftLength, ReadOnlySpan<byte> right)
    {
        var length = leftLength + right.Length;
        if (joined.Length < length)
            Array.Resize(ref joined, 2 * length);
        right.CopyTo(joined.AsSpan(leftLength));
        pairs.Add(Known(joined.AsSpan(0, leftLength)));
        pairs.Add(Known(joined.AsSpan(leftLength..length)));
        results.Add(Known(joined.AsSpan(0, length)));
    }

    /// <summary>An error about the merge that comes next.</summary>
    public InvalidDataException MergeError(string what) => BadFile.Field(file, mergesField, $"merge {results.Count}: {what}");

    /// <summary>The merges added.</summary>
    public PairMerges Merges() => new([.. pairs], CollectionsMarshal.AsSpan(results), Vocabulary.ByteTokens());

    /// <summary>Adds an added token, which must agree with the vocabulary where both have its id or spelling.</summary>
    public void AddAddedToken(AddedToken token)
    {
        if (!addedIds.Add(token.Id) || !addedContents.Add(token.Content))
            throw BadFile.Field(file, addedField, $"token {BadFile.Quote(token.Content)} with id {token.Id}: its id or content is found twice");
        var inVocabulary = Vocabulary.Find(Encoding.UTF8.GetBytes(token.Content));
        if ((inVocabulary >= 0 && inVocabulary != token.Id) || (inVocabulary < 0 && Vocabulary.Contains(token.Id)))
        {
            var found = inVocabulary >= 0 ? $"id {inVocabulary}" : $"{Show(Vocabulary.Spelling(token.Id))} at id {token.Id}";
            throw BadFile.Field(file, addedField, $"token {BadFile.Quote(token.Content)}: expected id {token.Id}, found in the vocabulary {found}");
        }

        AddedTokens.Add(token);
    }

    /// <summary>Text of a file, fit for an error.</summary>
    public static string Show(ReadOnlySpan<byte> text) => BadFile.Quote(Encoding.UTF8.GetString(text[..Math.Min(text.Length, 320)]));

    private int Known(ReadOnlySpan<byte> spelling) =>
        Vocabulary.Find(spelling) is >= 0 and var id ? id : throw MergeError($"expected tokens of the vocabulary, found {Show(spelling)}");
}
