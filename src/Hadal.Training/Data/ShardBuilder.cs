using System.Runtime.InteropServices;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Data;

/// <summary>What <see cref="ShardBuilder"/> is to do.</summary>
public sealed record ShardOptions
{
    /// <summary>Field of .jsonl files, or column of .parquet files, that holds the text.</summary>
    public string Field { get; init; } = TextFiles.DefaultField;

    /// <summary>A shard ends with the document that reaches this many tokens.</summary>
    public int ShardTokens { get; init; } = 1 << 26;

    /// <summary>Threads that tokenise; no influence on the result.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;
}

/// <summary>How far a run has come.</summary>
/// <param name="Part">Of the text files, from 0 to 1.</param>
/// <param name="Documents">Documents tokenised, those of an earlier run included.</param>
/// <param name="Tokens">Their tokens.</param>
public readonly record struct ShardProgress(double Part, long Documents, long Tokens);

/// <summary>
/// Tokenises text files into a folder of shards with a manifest. Every file appears under its name when it is whole. A run that was interrupted goes on
/// after its last whole shard when it is started again the same way; the folder is then, byte for byte, that of a run without interruption.
/// </summary>
public static class ShardBuilder
{
    /// <summary>Writes the shards.</summary>
    /// <param name="files">As <see cref="TextFiles.Expand"/> gives them.</param>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="folder">New, or that of an interrupted run of the same work.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told how far it is.</param>
    /// <param name="cancellation">Stops it; what is written stays for the next run.</param>
    /// <exception cref="IOException">The folder holds finished shards, or those of other work.</exception>
    /// <exception cref="InvalidDataException">A file is malformed, or there is no text.</exception>
    public static ShardManifest Run(
        IReadOnlyList<string> files, Tokenizer tokenizer, string folder, ShardOptions options, IProgress<ShardProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.ShardTokens);
        var work = Begin(files, tokenizer, folder, options);
        var total = Math.Max(1, files.Sum(f => new FileInfo(f).Length));
        var shard = new Shard();
        var (documents, tokens) = (work.Documents, work.Tokens);
        while (work.SourcesDone < files.Count)
        {
            var before = files.Take(work.SourcesDone).Sum(f => new FileInfo(f).Length);
            var (file, skip) = (files[work.SourcesDone], work.DocumentsDone);
            var done = 0L;
            foreach (var block in OrderedWork.Run(TextFiles.Blocks([file], options.Field), b => Encode(b, tokenizer), options.Threads, cancellation))
            {
                foreach (var document in block.Documents)
                {
                    if (++done <= skip)
                        continue;
                    shard.Add(document);
                    documents++;
                    tokens += document.Tokens.Length;
                    if (shard.Tokens >= options.ShardTokens)
                        work = Write(folder, shard, work with { DocumentsDone = done });
                }

                progress?.Report(new((double)(before + block.FileBytesRead) / total, documents, tokens));
            }

            work = work with { SourcesDone = work.SourcesDone + 1, DocumentsDone = 0 };
        }

        if (shard.Documents > 0)
            work = Write(folder, shard, work);
        if (work.Documents == 0)
            throw new InvalidDataException($"{string.Join(", ", files)}: expected text, found none");
        work.Write(Path.Combine(folder, ShardManifest.FileName));
        File.Delete(Path.Combine(folder, ShardManifest.ProgressFileName));
        return work;
    }

    private static ShardManifest Begin(IReadOnlyList<string> files, Tokenizer tokenizer, string folder, ShardOptions options)
    {
        var work = new ShardManifest
        {
            Format = ShardManifest.CurrentFormat,
            TokenizerSha256 = TokenizerHash.Of(tokenizer),
            VocabSize = tokenizer.VocabSize,
            Field = options.Field,
            ShardTokens = options.ShardTokens,
            Sources = [.. files.Select(f => new ShardSource(Path.GetFileName(f), new FileInfo(f).Length))],
            Shards = [],
        };
        if (File.Exists(Path.Combine(folder, ShardManifest.FileName)))
            throw new IOException($"{folder}: holds finished shards already; nothing is overwritten");
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, ShardManifest.ProgressFileName);
        if (!File.Exists(path))
            return work;
        var begun = ShardManifest.Read(path);
        return begun.IsSameWork(work) ? begun : throw new IOException($"{folder}: holds shards of an interrupted run on other files, with another tokenizer or other options; nothing is overwritten");
    }

    private static EncodedBlock Encode(DocumentBlock block, Tokenizer tokenizer)
    {
        var documents = new List<EncodedDocument>(block.Documents.Count);
        var ids = new List<int>();
        foreach (var document in block.Documents)
        {
            ids.Clear();
            tokenizer.EncodeUtf8(document.Utf8.Span, ids, parseSpecial: false);
            documents.Add(new([.. ids], document.Utf8.Length));
        }

        return new(documents, block.FileBytesRead);
    }

    private static ShardManifest Write(string folder, Shard shard, ShardManifest work)
    {
        var name = $"shard-{work.Shards.Count:D5}.safetensors";
        var path = Path.Combine(folder, name);

        // Left by a run that stopped between this file and progress.json; what comes now is the same.
        File.Delete(path);
        var narrow = TokenShards.IsNarrow(work.VocabSize);
        var ids = CollectionsMarshal.AsSpan(shard.Ids);
        byte[] tokens = narrow ? MemoryMarshal.AsBytes(Array.ConvertAll(ids.ToArray(), i => (ushort)i).AsSpan()).ToArray() : MemoryMarshal.AsBytes(ids).ToArray();
        SafetensorsWriter.WriteAll(path,
        [
            (new("tokens", narrow ? SafetensorsDtype.U16 : SafetensorsDtype.I32, [shard.Tokens]), tokens),
            (new("ends", SafetensorsDtype.I32, [shard.Documents]), MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(shard.Ends)).ToArray()),
        ]);
        work = work with { Shards = [.. work.Shards, new(name, shard.Documents, shard.Tokens, shard.Bytes, TokenShards.Hash(path))] };
        work.Write(Path.Combine(folder, ShardManifest.ProgressFileName));
        shard.Clear();
        return work;
    }

    private sealed record EncodedDocument(int[] Tokens, int Bytes);

    private sealed record EncodedBlock(IReadOnlyList<EncodedDocument> Documents, long FileBytesRead);

    // The shard being filled.
    private sealed class Shard
    {
        public List<int> Ids { get; } = [];

        public List<int> Ends { get; } = [];

        public long Bytes { get; private set; }

        public int Tokens => Ids.Count;

        public int Documents => Ends.Count;

        public void Add(EncodedDocument document)
        {
            Ids.AddRange(document.Tokens);
            Ends.Add(Ids.Count);
            Bytes += document.Bytes;
        }

        public void Clear()
        {
            Ids.Clear();
            Ends.Clear();
            Bytes = 0;
        }
    }
}
