using System.Buffers;
using System.Collections.Concurrent;
using System.Text;
using System.Text.Unicode;
using Hadal.Checkpoints.Gguf;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// A byte-level byte-pair tokenizer, exactly as Hugging Face's tokenizers run DeepSeek's tokenizer.json: added tokens are cut out first, the
/// pre-tokenizer's regexes cut the rest into pieces, and merges turn a piece's bytes into tokens. Immutable, safe for use from several threads.
/// </summary>
/// <remarks>
/// Ill-formed UTF-16 is read as .NET writes it in UTF-8: an unpaired surrogate is U+FFFD. Decoding gives back every well-formed text.
/// One deliberate difference from Hugging Face: an added token always decodes to its spelling. Theirs reads <c>ø</c>, an added token of
/// DeepSeek LLM, as the spelling of byte F8 and decodes it to U+FFFD. Categories of characters are those of .NET's Unicode version.
/// </remarks>
public sealed class Tokenizer
{
    private readonly Vocabulary vocabulary;
    private readonly PreTokenizer preTokenizer;
    private readonly ConcurrentBag<PieceEncoder> encoders = [];
    private readonly Dictionary<int, (AddedToken Token, byte[] Bytes)> addedById = [];
    private readonly Dictionary<string, int> addedByContent = [];

    // Tokens looked for first, then those looked for in what is left ("normalized"); each with and without control tokens.
    private readonly AddedTokenMatcher? first;
    private readonly AddedTokenMatcher? second;
    private readonly AddedTokenMatcher? firstPlain;
    private readonly AddedTokenMatcher? secondPlain;

    /// <summary>Puts checked parts together.</summary>
    internal Tokenizer(TokenizerParts parts)
    {
        Parts = parts;
        vocabulary = parts.Vocabulary;
        preTokenizer = PreTokenizer.Create(parts.Regexes);
        VocabSize = vocabulary.Size;
        foreach (var token in parts.AddedTokens)
        {
            addedById.Add(token.Id, (token, Encoding.UTF8.GetBytes(token.Content)));
            addedByContent.Add(token.Content, token.Id);
            VocabSize = Math.Max(VocabSize, token.Id + 1);
        }

        first = AddedTokenMatcher.Create(parts.AddedTokens.Where(t => !t.Normalized));
        second = AddedTokenMatcher.Create(parts.AddedTokens.Where(t => t.Normalized));
        firstPlain = AddedTokenMatcher.Create(parts.AddedTokens.Where(t => !t.Normalized && !t.IsControl));
        secondPlain = AddedTokenMatcher.Create(parts.AddedTokens.Where(t => t.Normalized && !t.IsControl));
        BosId = parts.Config.BosToken is { } bos ? TokenToId(bos) : null;
        EosId = parts.Config.EosToken is { } eos ? TokenToId(eos) : null;
    }

    /// <summary>One more than the highest id. A model's embedding may have more rows.</summary>
    public int VocabSize { get; }

    /// <summary>The token that begins a text, if the model has one.</summary>
    public int? BosId { get; }

    /// <summary>The token that ends a text, if the model has one.</summary>
    public int? EosId { get; }

    /// <summary>Whether the model's prompts begin with <see cref="BosId"/>. <see cref="Encode(ReadOnlySpan{char}, bool, bool)"/> adds it only when told to.</summary>
    public bool AddBos => Parts.Config.AddBos && BosId is not null;

    /// <summary>The model's chat template in Jinja, if it has one.</summary>
    public string? ChatTemplate => Parts.Config.ChatTemplate;

    /// <summary>The tokens beside the byte-pair vocabulary, in the order of the file.</summary>
    public IReadOnlyList<AddedToken> AddedTokens => Parts.AddedTokens;

    /// <summary>The name GGUF gives the pre-tokenizer (<c>deepseek-v3</c>, <c>deepseek-llm</c>, <c>deepseek-coder</c>), or null for another.</summary>
    public string? PreTokenizerName => PreTokenizerRegexes.Named.FirstOrDefault(n => n.Regexes.SequenceEqual(Parts.Regexes)).Name;

    /// <summary>How many merges the vocabulary has.</summary>
    public int MergeCount => Parts.Merges.Count;

    /// <summary>What the tokenizer was made of.</summary>
    internal TokenizerParts Parts { get; }

    /// <summary>Reads a Hugging Face <c>tokenizer.json</c>, and <c>tokenizer_config.json</c> (and <c>chat_template.jinja</c>) where they lie beside it.</summary>
    /// <param name="path">The file, or the folder that holds it.</param>
    /// <exception cref="InvalidDataException">A file is damaged or asks for something not supported; the message names file, field, expected, found.</exception>
    public static Tokenizer FromTokenizerJson(string path) =>
        TokenizerJsonReader.Read(Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path);

    /// <summary>Reads the tokenizer of a model folder, a .gguf file or a tokenizer.json; null where the model has none.</summary>
    /// <exception cref="IOException">There is nothing there.</exception>
    /// <exception cref="InvalidDataException">It is damaged or not supported.</exception>
    public static Tokenizer? OfModel(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (Directory.Exists(path))
            return File.Exists(Path.Combine(path, "tokenizer.json")) ? FromTokenizerJson(path) : null;
        if (path.EndsWith(".json", StringComparison.OrdinalIgnoreCase))
            return FromTokenizerJson(path);
        using var gguf = GgufFile.Open(path);
        return gguf.Metadata.GetString("tokenizer.ggml.model") is null or "none" or "no_vocab" ? null : FromGguf(gguf.Metadata);
    }

    /// <summary>
    /// Reads the tokenizer inside a GGUF file: <c>tokenizer.ggml.model</c> gpt2, <c>tokenizer.ggml.pre</c> deepseek-v3, deepseek-llm or
    /// deepseek-coder. Tokens of type control are special ones; where the file does not say, a prompt does not begin with a token.
    /// </summary>
    /// <exception cref="InvalidDataException">The keys are damaged or ask for something not supported; the message names file, key, expected, found.</exception>
    public static Tokenizer FromGguf(GgufMetadata metadata)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        return GgufTokenizerReader.Read(metadata);
    }

    /// <summary>
    /// A byte-level tokenizer of DeepSeek V3's kind: its pre-tokenizer, its added tokens (begin, end and pad with ids 0 to 2, the others after the
    /// vocabulary), a token for each byte, and what the merges make.
    /// </summary>
    /// <param name="merges">Pairs of tokens as the vocabulary spells them (<c>Ġ</c>, <c>t</c>), best first. A product gets the next id when it is new.</param>
    /// <param name="moreTokens">More added tokens, <c>&lt;think&gt;</c> for instance.</param>
    /// <param name="chatTemplate">A chat template in Jinja, if any.</param>
    /// <param name="placeholders">Special tokens without a meaning yet, of which V3 has 800.</param>
    /// <exception cref="InvalidDataException">A merge names what is no token, or a token is there twice.</exception>
    public static Tokenizer CreateByteLevel(
        IEnumerable<(string Left, string Right)>? merges = null, IEnumerable<string>? moreTokens = null, string? chatTemplate = null, int placeholders = 0) =>
        ByteLevelTokenizers.Create(merges ?? [], moreTokens ?? [], chatTemplate, placeholders);

    /// <summary>Writes <c>tokenizer.json</c> and <c>tokenizer_config.json</c> into a folder, over what is there.</summary>
    public void Save(string folder) => TokenizerJsonWriter.Write(this, folder);

    /// <summary>The two tokens of merge number <paramref name="rank"/>.</summary>
    public (int Left, int Right) Merge(int rank) => Parts.Merges[rank];

    /// <summary>The ids of a text.</summary>
    /// <param name="text">UTF-16, up to about 700 million characters.</param>
    /// <param name="addBos">Whether to begin with <see cref="BosId"/>.</param>
    /// <param name="parseSpecial">
    /// Whether control tokens spelled in the text become those tokens, as Hugging Face does it. Without, they stay plain text: use it for text
    /// from users. See <see cref="AddedToken.IsControl"/>.
    /// </param>
    /// <exception cref="ArgumentException"><paramref name="addBos"/> is asked of a tokenizer without the token.</exception>
    public int[] Encode(ReadOnlySpan<char> text, bool addBos = false, bool parseSpecial = true)
    {
        var encoder = Rent();
        Encode(text, addBos, parseSpecial, encoder);
        var ids = encoder.Ids.ToArray();
        Return(encoder);
        return ids;
    }

    /// <summary>As <see cref="Encode(ReadOnlySpan{char}, bool, bool)"/>, appending to <paramref name="ids"/>.</summary>
    public void Encode(ReadOnlySpan<char> text, List<int> ids, bool addBos = false, bool parseSpecial = true)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var encoder = Rent();
        Encode(text, addBos, parseSpecial, encoder);
        ids.AddRange(encoder.Ids);
        Return(encoder);
    }

    /// <summary>As <see cref="Encode(ReadOnlySpan{char}, List{int}, bool, bool)"/>, of UTF-8. Ill-formed bytes are read as U+FFFD, as decoding them gives.</summary>
    public void EncodeUtf8(ReadOnlySpan<byte> text, List<int> ids, bool addBos = false, bool parseSpecial = true)
    {
        ArgumentNullException.ThrowIfNull(ids);
        if (!Utf8.IsValid(text))
        {
            Encode(Encoding.UTF8.GetString(text), ids, addBos, parseSpecial);
            return;
        }

        var encoder = Rent();
        if (addBos)
            encoder.AddId(RequireBos());
        EncodeSegment(text, parseSpecial ? first : firstPlain, parseSpecial ? second : secondPlain, encoder);
        ids.AddRange(encoder.Ids);
        Return(encoder);
    }

    /// <summary>The text of ids. Bytes that are not UTF-8 become U+FFFD; ids without a token give nothing.</summary>
    /// <param name="ids">The ids.</param>
    /// <param name="skipSpecial">Leave out the tokens of which <see cref="IsSpecial"/> is true.</param>
    /// <exception cref="ArgumentOutOfRangeException">An id is negative.</exception>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = false)
    {
        var bytes = new ArrayBufferWriter<byte>(Math.Max(16, Math.Min(ids.Length, 1 << 20) * 4));
        foreach (var id in ids)
        {
            if (!(skipSpecial && IsSpecial(id)))
                bytes.Write(DecodeBytes(id));
        }

        return Encoding.UTF8.GetString(bytes.WrittenSpan);
    }

    /// <summary>The bytes of one token: part of a character, or several characters. Empty where no token has the id.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is negative.</exception>
    public ReadOnlySpan<byte> DecodeBytes(int id)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        return addedById.TryGetValue(id, out var added) ? added.Bytes : vocabulary.Bytes(id);
    }

    /// <summary>Whether the file flags the token as special. DeepSeek V3's <c>&lt;｜User｜&gt;</c> is not, nor are its tool tokens.</summary>
    public bool IsSpecial(int id) => addedById.TryGetValue(id, out var added) && added.Token.Special;

    /// <summary>Whether the token steers the model (<see cref="AddedToken.IsControl"/>).</summary>
    public bool IsControl(int id) => addedById.TryGetValue(id, out var added) && added.Token.IsControl;

    /// <summary>The id of a token as the vocabulary spells it (<c>Ġthe</c>, <c>&lt;｜User｜&gt;</c>), or null.</summary>
    public int? TokenToId(string token)
    {
        ArgumentNullException.ThrowIfNull(token);
        if (addedByContent.TryGetValue(token, out var added))
            return added;
        return vocabulary.Find(Encoding.UTF8.GetBytes(token)) is >= 0 and var id ? id : null;
    }

    /// <summary>The vocabulary's spelling of a token, or null where no token has the id.</summary>
    public string? IdToToken(int id) =>
        addedById.TryGetValue(id, out var added) ? added.Token.Content
        : vocabulary.Contains(id) ? Encoding.UTF8.GetString(vocabulary.Spelling(id))
        : null;

    private void Encode(ReadOnlySpan<char> text, bool addBos, bool parseSpecial, PieceEncoder encoder)
    {
        if (addBos)
            encoder.AddId(RequireBos());
        encoder.Reserve(Encoding.UTF8.GetByteCount(text));
        var length = Encoding.UTF8.GetBytes(text, encoder.Buffer);
        EncodeSegment(encoder.Buffer.AsSpan(0, length), parseSpecial ? first : firstPlain, parseSpecial ? second : secondPlain, encoder);
    }

    /// <summary>Cuts out the tokens of one matcher, gives what lies between to the next.</summary>
    private void EncodeSegment(ReadOnlySpan<byte> text, AddedTokenMatcher? tokens, AddedTokenMatcher? thenTokens, PieceEncoder encoder)
    {
        if (tokens is null && thenTokens is null)
        {
            preTokenizer.Split(text, encoder);
            return;
        }

        if (tokens is null)
            (tokens, thenTokens) = (thenTokens, null);
        for (var at = 0; at < text.Length;)
        {
            var token = tokens!.Find(text, at, out var start, out var end);
            if (start > at)
                EncodeSegment(text[at..start], thenTokens, null, encoder);
            if (token is not null)
                encoder.AddId(token.Id);
            at = end;
        }
    }

    private int RequireBos() => BosId ?? throw new ArgumentException("addBos: this tokenizer has no token that begins a text", "addBos");

    private PieceEncoder Rent() => encoders.TryTake(out var encoder) ? encoder : new(Parts.Merges, Parts.IgnoreMerges ? vocabulary : null);

    private void Return(PieceEncoder encoder)
    {
        encoder.Reset();
        if (encoders.Count < Environment.ProcessorCount)
            encoders.Add(encoder);
    }
}

/// <summary>What a <see cref="Tokenizer"/> is made of; the readers check it.</summary>
/// <param name="Vocabulary">Completed, with a token for every byte that occurs in UTF-8.</param>
/// <param name="Merges">Merges over its ids.</param>
/// <param name="AddedTokens">No two of one id or content.</param>
/// <param name="Regexes">The pre-tokenizer's.</param>
/// <param name="IgnoreMerges">Pieces that are tokens need no merges.</param>
/// <param name="Config">The rest.</param>
internal sealed record TokenizerParts(
    Vocabulary Vocabulary, PairMerges Merges, IReadOnlyList<AddedToken> AddedTokens, IReadOnlyList<string> Regexes, bool IgnoreMerges, TokenizerConfig Config);
