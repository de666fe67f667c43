using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Safetensors;

namespace Hadal.Training.Data;

/// <summary>
/// A folder of token shards, memory-mapped and read-only. Opening checks the manifest against the files' headers and the ends of documents against the tokens;
/// <see cref="Verify"/> checks every byte.
/// </summary>
public sealed class TokenShards : IDocuments, IDisposable
{
    private readonly string folder;
    private readonly List<SafetensorsFile> files = [];
    private readonly List<long> firsts = [];

    private TokenShards(string folder, ShardManifest manifest) => (this.folder, Manifest) = (folder, manifest);

    /// <summary>What the folder says it holds.</summary>
    public ShardManifest Manifest { get; }

    /// <inheritdoc/>
    public long Count => Manifest.Documents;

    /// <inheritdoc/>
    public long Tokens => Manifest.Tokens;

    /// <summary>Opens a folder that <c>hadal shards</c> has finished.</summary>
    /// <exception cref="IOException">There is no such folder, or it is not finished.</exception>
    /// <exception cref="InvalidDataException">A file is damaged or does not fit the manifest.</exception>
    public static TokenShards Open(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        var path = Path.Combine(folder, ShardManifest.FileName);
        if (!File.Exists(path))
        {
            throw new FileNotFoundException(File.Exists(Path.Combine(folder, ShardManifest.ProgressFileName))
                ? $"{folder}: expected finished shards, found those of an interrupted run; the same 'hadal shards' command goes on with them"
                : $"{folder}: expected token shards with a {ShardManifest.FileName}, found none");
        }

        var shards = new TokenShards(folder, ShardManifest.Read(path));
        try
        {
            var first = 0L;
            foreach (var entry in shards.Manifest.Shards)
            {
                if (Path.GetFileName(entry.File) != entry.File)
                    throw BadFile.Field(path, "shards", $"expected the name of a file in the folder, found {BadFile.Quote(entry.File)}");
                var file = SafetensorsFile.Open(Path.Combine(folder, entry.File));
                shards.files.Add(file);
                shards.firsts.Add(first);
                first += entry.Documents;
                shards.Check(file, entry);
            }

            return shards;
        }
        catch
        {
            shards.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public int Append(long index, List<int> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)index, (ulong)Count, nameof(index));
        var shard = firsts.BinarySearch(index);
        if (shard < 0)
            shard = ~shard - 1;

        // Shards without documents share their first with the next.
        while (firsts[shard] + Manifest.Shards[shard].Documents <= index)
            shard++;
        var ends = Ends(files[shard]);
        var at = (int)(index - firsts[shard]);
        var (start, end) = (at == 0 ? 0 : ends[at - 1], ends[at]);
        if (IsNarrow(Manifest.VocabSize))
        {
            foreach (var token in MemoryMarshal.Cast<byte, ushort>(files[shard].Bytes("tokens"))[start..end])
                tokens.Add(token);
        }
        else
            tokens.AddRange(MemoryMarshal.Cast<byte, int>(files[shard].Bytes("tokens"))[start..end]);
        return end - start;
    }

    /// <summary>Compares every shard with its hash in the manifest, and every token with the size of the vocabulary.</summary>
    /// <exception cref="InvalidDataException">One differs.</exception>
    public void Verify(CancellationToken cancellation = default)
    {
        var tokens = new List<int>();
        for (var i = 0; i < files.Count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            var (path, entry) = (Path.Combine(folder, Manifest.Shards[i].File), Manifest.Shards[i]);
            var found = Hash(path);
            if (found != entry.Sha256)
                throw BadFile.Error(path, $"expected sha256 {entry.Sha256}, found {found}");
            for (var d = 0L; d < entry.Documents; d++)
            {
                tokens.Clear();
                Append(firsts[i] + d, tokens);
                foreach (var token in tokens)
                {
                    if ((uint)token >= (uint)Manifest.VocabSize)
                        throw BadFile.Error(path, $"document {d}: expected ids below {Manifest.VocabSize}, found {token}");
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var file in files)
            file.Dispose();
    }

    /// <summary>Whether ids fit 16 bits.</summary>
    internal static bool IsNarrow(int vocabSize) => vocabSize <= 1 << 16;

    /// <summary>SHA-256 of a file in hexadecimal.</summary>
    internal static string Hash(string path)
    {
        using var stream = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }

    private static ReadOnlySpan<int> Ends(SafetensorsFile file) => MemoryMarshal.Cast<byte, int>(file.Bytes("ends"));

    private void Check(SafetensorsFile file, ShardEntry entry)
    {
        Tensor("tokens", IsNarrow(Manifest.VocabSize) ? SafetensorsDtype.U16 : SafetensorsDtype.I32, entry.Tokens);
        Tensor("ends", SafetensorsDtype.I32, entry.Documents);
        var last = 0;
        foreach (var end in Ends(file))
        {
            if (end < last || end > entry.Tokens)
                throw BadFile.Tensor(file.Path, "ends", $"expected rising numbers up to {entry.Tokens}, found {end} after {last}");
            last = end;
        }

        if (last != entry.Tokens)
            throw BadFile.Tensor(file.Path, "ends", $"expected the last to be {entry.Tokens}, found {last}");

        void Tensor(string name, SafetensorsDtype dtype, long length)
        {
            var tensor = file.Find(name);
            if (tensor.Dtype != dtype || tensor.Shape is not [var count] || count != length)
                throw BadFile.Tensor(file.Path, name, $"expected {dtype} [{length}], found {tensor.Dtype} {BadFile.Shape(tensor.Shape)}");
        }
    }
}
