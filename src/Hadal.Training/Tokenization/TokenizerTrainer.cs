using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Training.Data;

namespace Hadal.Training.Tokenization;

/// <summary>What <see cref="TokenizerTrainer"/> is to make.</summary>
public sealed record TokenizerTrainerOptions
{
    /// <summary>Tokens in all: bytes, merges, placeholders and the tokens that DeepSeek V3 adds.</summary>
    public required int VocabSize { get; init; }

    /// <summary>Special tokens kept free for later use; null for the share that V3 has, one in 160.</summary>
    public int? Placeholders { get; init; }

    /// <summary>The rarest pair that becomes a token.</summary>
    public int MinFrequency { get; init; } = 2;

    /// <summary>Field of .jsonl files, or column of .parquet files, that holds the text.</summary>
    public string Field { get; init; } = TextFiles.DefaultField;

    /// <summary>Threads that count words; no influence on the result.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>Different words kept in memory. Where a text has more, the rarest are dropped, more and more of them.</summary>
    public int MostWords { get; init; } = 4_000_000;
}

/// <summary>How far training has come.</summary>
/// <param name="Stage">Counting words, or merging.</param>
/// <param name="Part">Of that stage, from 0 to 1.</param>
public readonly record struct TokenizerTrainerProgress(string Stage, double Part);

/// <summary>A trained tokenizer and what it was trained on.</summary>
/// <param name="Tokenizer">Of DeepSeek V3's kind.</param>
/// <param name="Documents">Documents read.</param>
/// <param name="Bytes">Bytes of text read.</param>
/// <param name="Words">Different words counted.</param>
public sealed record TrainedTokenizer(Tokenizer Tokenizer, long Documents, long Bytes, int Words);

/// <summary>
/// Trains a byte-level byte-pair tokenizer as DeepSeek V3's (report section 4.1): its pre-tokenizer, whose regexes keep punctuation and the newlines after
/// it together; then merges by frequency; then its added tokens. The result depends on the files and their order alone, not on threads.
/// </summary>
public static class TokenizerTrainer
{
    private const long MostWordBytes = 1 << 30;

    /// <summary>Trains on the documents of files.</summary>
    /// <param name="files">As <see cref="TextFiles.Expand"/> gives them.</param>
    /// <param name="options">What to make.</param>
    /// <param name="progress">Told how far it is.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="ArgumentException">The size leaves no room for bytes and added tokens.</exception>
    /// <exception cref="InvalidDataException">A file is malformed, or there is no text at all.</exception>
    public static TrainedTokenizer Train(
        IReadOnlyList<string> files, TokenizerTrainerOptions options, IProgress<TokenizerTrainerProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(options);
        var placeholders = options.Placeholders ?? options.VocabSize / 160;
        var merged = options.VocabSize - ByteLevelTokenizers.FewestTokens - placeholders;
        if (merged < 0)
            throw new ArgumentException($"a vocabulary of {options.VocabSize} tokens: expected at least {ByteLevelTokenizers.FewestTokens + placeholders}, for 256 bytes, {placeholders} placeholders and the added tokens", nameof(options));
        var (words, documents, bytes) = CountWords(files, options, progress, cancellation);
        if (bytes == 0)
            throw new InvalidDataException($"{string.Join(", ", files)}: expected text, found none");
        var trainer = new PairTrainer(words);
        var merging = progress is null ? null : new Merging(progress);
        trainer.Run(PairTrainer.FirstMerged + merged, options.MinFrequency, merging, cancellation);
        var spellings = trainer.Tokens.Select(t => ByteAlphabet.Spell(t)).ToArray();
        var tokenizer = Tokenizer.CreateByteLevel(trainer.Merges.Select(m => (spellings[m.Left], spellings[m.Right])), chatTemplate: ChatTemplates.NewTokenizerJinja, placeholders: placeholders);
        return new(tokenizer, documents, bytes, words.Count);
    }

    /// <summary>How many bytes of the documents of files a token stands for on average.</summary>
    /// <returns>Documents, bytes of UTF-8, tokens.</returns>
    public static (long Documents, long Bytes, long Tokens) Measure(
        Tokenizer tokenizer, IReadOnlyList<string> files, string field = TextFiles.DefaultField, int? threads = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        long documents = 0, bytes = 0, tokens = 0;
        foreach (var (count, size, ids) in OrderedWork.Run(TextFiles.Blocks(files, field), Encode, threads ?? Environment.ProcessorCount, cancellation))
            (documents, bytes, tokens) = (documents + count, bytes + size, tokens + ids);
        return (documents, bytes, tokens);

        (int Documents, long Bytes, long Tokens) Encode(DocumentBlock block)
        {
            var ids = new List<int>();
            foreach (var document in block.Documents)
                tokenizer.EncodeUtf8(document.Utf8.Span, ids, parseSpecial: false);
            return (block.Documents.Count, block.Documents.Sum(d => (long)d.Utf8.Length), ids.Count);
        }
    }

    private static (WordCounts Words, long Documents, long Bytes) CountWords(
        IReadOnlyList<string> files, TokenizerTrainerOptions options, IProgress<TokenizerTrainerProgress>? progress, CancellationToken cancellation)
    {
        var total = Math.Max(1, files.Sum(f => new FileInfo(f).Length));
        var all = new WordCounts();
        long documents = 0, bytes = 0, rare = 1;

        // Block by block, in their order: what is dropped when memory is full depends on the text alone.
        foreach (var (block, words) in OrderedWork.Run(TextFiles.Blocks(files, options.Field), CountBlock, options.Threads, cancellation))
        {
            all.Add(words);
            for (; all.Count > options.MostWords || all.TextLength > MostWordBytes; rare *= 2)
                all = all.Without(rare);
            documents += block.Documents.Count;
            bytes += block.Documents.Sum(d => (long)d.Utf8.Length);
            progress?.Report(new("counting words", (double)block.FileBytesRead / total));
        }

        return (all, documents, bytes);
    }

    private static (DocumentBlock Block, WordCounts Words) CountBlock(DocumentBlock block)
    {
        var words = new WordCounts();
        var split = PreTokenizer.Create(PreTokenizerRegexes.DeepSeekV3);
        foreach (var document in block.Documents)
            split.Split(document.Utf8.Span, words);
        return (block, words);
    }

    private sealed class Merging(IProgress<TokenizerTrainerProgress> progress) : IProgress<double>
    {
        public void Report(double value) => progress.Report(new("merging", value));
    }
}
