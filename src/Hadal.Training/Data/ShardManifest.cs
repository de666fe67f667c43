using System.Text.Json;
using System.Text.Json.Serialization;
using Hadal.Checkpoints.Files;

namespace Hadal.Training.Data;

/// <summary>One shard: a safetensors file with <c>tokens</c> (U16 or I32) and <c>ends</c> (I32), the end of each document in them.</summary>
/// <param name="File">Its name in the folder.</param>
/// <param name="Documents">Documents in it.</param>
/// <param name="Tokens">Tokens in it.</param>
/// <param name="Bytes">Bytes of text they stand for.</param>
/// <param name="Sha256">Of the file.</param>
public sealed record ShardEntry(string File, long Documents, long Tokens, long Bytes, string Sha256);

/// <summary>A text file that shards were made of.</summary>
/// <param name="File">Its name.</param>
/// <param name="Bytes">Its size.</param>
public sealed record ShardSource(string File, long Bytes);

/// <summary>What a folder of shards holds, <c>manifest.json</c>; while the folder is being written, <c>progress.json</c> says what it holds so far.</summary>
public sealed record ShardManifest
{
    /// <summary>What the folder's format calls itself.</summary>
    public const string CurrentFormat = "hadal token shards 1";

    /// <summary>Name of the file that says a folder is complete.</summary>
    public const string FileName = "manifest.json";

    /// <summary>Name of the file that tells an interrupted run where to go on.</summary>
    public const string ProgressFileName = "progress.json";

    private const int LargestFile = 1 << 26;

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary><see cref="CurrentFormat"/>.</summary>
    public required string Format { get; init; }

    /// <summary><see cref="TokenizerHash"/> of the tokenizer.</summary>
    public required string TokenizerSha256 { get; init; }

    /// <summary>Ids are below this.</summary>
    public required int VocabSize { get; init; }

    /// <summary>The field or column that the text came from.</summary>
    public required string Field { get; init; }

    /// <summary>A shard ends with the document that reaches this many tokens.</summary>
    public required long ShardTokens { get; init; }

    /// <summary>The text files, in order.</summary>
    public required IReadOnlyList<ShardSource> Sources { get; init; }

    /// <summary>The shards, in order.</summary>
    public required IReadOnlyList<ShardEntry> Shards { get; init; }

    /// <summary>Text files of which every document is in a shard.</summary>
    public int SourcesDone { get; init; }

    /// <summary>Documents of the file after those that are in a shard.</summary>
    public long DocumentsDone { get; init; }

    /// <summary>Documents of all shards.</summary>
    public long Documents => Shards.Sum(s => s.Documents);

    /// <summary>Tokens of all shards.</summary>
    public long Tokens => Shards.Sum(s => s.Tokens);

    /// <summary>Bytes of text of all shards.</summary>
    public long Bytes => Shards.Sum(s => s.Bytes);

    /// <summary>Reads a manifest or progress file.</summary>
    /// <exception cref="InvalidDataException">It is damaged, or of another format.</exception>
    public static ShardManifest Read(string path)
    {
        try
        {
            // The sums are written for the reader's sake.
            var node = System.Text.Json.Nodes.JsonNode.Parse(JsonFile.ReadBytes(path, LargestFile)) as System.Text.Json.Nodes.JsonObject ?? throw BadFile.Error(path, "expected a JSON object");
            foreach (var sum in (ReadOnlySpan<string>)["documents", "tokens", "bytes"])
                node.Remove(sum);
            var manifest = node.Deserialize<ShardManifest>(Json)!;
            return manifest.Format == CurrentFormat ? manifest : throw BadFile.Field(path, "format", $"expected {CurrentFormat}, found {BadFile.Quote(manifest.Format)}");
        }
        catch (JsonException e)
        {
            throw BadFile.Error(path, BadFile.Quote(e.Message));
        }
    }

    /// <summary>Writes the file beside its place and renames it.</summary>
    public void Write(string path)
    {
        var beside = path + ".partial";
        using (var stream = new FileStream(beside, FileMode.Create))
        {
            JsonSerializer.Serialize(stream, this, Json);
            stream.Flush(flushToDisk: true);
        }

        File.Move(beside, path, overwrite: true);
    }

    /// <summary>Whether another run of the same text with the same tokenizer and cuts wrote this.</summary>
    public bool IsSameWork(ShardManifest other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return TokenizerSha256 == other.TokenizerSha256 && VocabSize == other.VocabSize && Field == other.Field && ShardTokens == other.ShardTokens && Sources.SequenceEqual(other.Sources);
    }
}
