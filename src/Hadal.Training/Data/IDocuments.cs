namespace Hadal.Training.Data;

/// <summary>Tokenised documents that can be read in any order. Safe for use from several threads.</summary>
public interface IDocuments
{
    /// <summary>How many documents there are.</summary>
    long Count { get; }

    /// <summary>Tokens of all of them.</summary>
    long Tokens { get; }

    /// <summary>Appends the tokens of one document, without begin and end tokens.</summary>
    /// <returns>How many they are.</returns>
    int Append(long index, List<int> tokens);
}

/// <summary>Documents tokenised at the start of a run and kept in memory: held-out text, generated text, small corpora.</summary>
public sealed class DocumentsInMemory : IDocuments
{
    private readonly List<int> tokens = [];
    private readonly List<int> ends = [0];

    /// <inheritdoc/>
    public long Count => ends.Count - 1;

    /// <inheritdoc/>
    public long Tokens => tokens.Count;

    /// <summary>Tokenises every document of files.</summary>
    /// <exception cref="InvalidDataException">A file is malformed, or there is no text.</exception>
    public static DocumentsInMemory Read(IReadOnlyList<string> files, Checkpoints.Tokenization.Tokenizer tokenizer, string field = TextFiles.DefaultField)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(tokenizer);
        var documents = new DocumentsInMemory();
        foreach (var file in files)
        {
            foreach (var document in TextFiles.Documents(file, field))
                documents.Add(document.Utf8.Span, tokenizer);
        }

        return documents.Count > 0 ? documents : throw new InvalidDataException($"{string.Join(", ", files)}: expected text, found none");
    }

    /// <summary>Adds a document.</summary>
    public void Add(ReadOnlySpan<byte> utf8, Checkpoints.Tokenization.Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        tokenizer.EncodeUtf8(utf8, tokens, parseSpecial: false);
        ends.Add(tokens.Count);
    }

    /// <inheritdoc/>
    public int Append(long index, List<int> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        var (start, end) = (ends[(int)index], ends[(int)index + 1]);
        tokens.AddRange(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(this.tokens)[start..end]);
        return end - start;
    }
}
