using System.IO.Compression;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Hadal.Checkpoints.Files;
using ZstdSharp;

namespace Hadal.Training.Data;

/// <summary>
/// Reads documents out of text files: <c>.txt</c> (a file is a document), <c>.jsonl</c> (an object a line), each also with <c>.zst</c> or <c>.gz</c>
/// behind it, and <c>.parquet</c> (a row each). What is malformed is refused in one line that names file and line; empty texts are left out.
/// </summary>
public static class TextFiles
{
    /// <summary>The field or column that holds the text, unless told otherwise.</summary>
    public const string DefaultField = "text";

    private const int BlockBytes = 1 << 20;
    private const int LongestDocument = 1 << 29;
    private static readonly string[] Kinds = [".txt", ".jsonl", ".parquet", ".txt.zst", ".jsonl.zst", ".txt.gz", ".jsonl.gz"];

    /// <summary>The files that paths mean: files as they stand, folders as all files of a known kind in and below them, by name.</summary>
    /// <exception cref="IOException">A path leads nowhere, a folder holds none, or a file would be read twice.</exception>
    /// <exception cref="InvalidDataException">A file is of no known kind.</exception>
    public static IReadOnlyList<string> Expand(IEnumerable<string> paths)
    {
        ArgumentNullException.ThrowIfNull(paths);
        var files = new List<string>();
        foreach (var path in paths)
        {
            if (!Directory.Exists(path))
            {
                if (!File.Exists(path))
                    throw new FileNotFoundException($"{path}: expected a text file or a folder of them, found nothing");
                files.Add(KindOf(path) is not null ? path : throw BadFile.Error(path, $"expected a file that ends in one of {string.Join(", ", Kinds)}"));
                continue;
            }

            var found = Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Where(f => KindOf(f) is not null).Order(StringComparer.Ordinal).ToList();
            if (found.Count == 0)
                throw new FileNotFoundException($"{path}: expected files that end in one of {string.Join(", ", Kinds)}, found none");
            files.AddRange(found);
        }

        var twice = files.GroupBy(Path.GetFullPath).FirstOrDefault(g => g.Count() > 1);
        return twice is null ? files : throw new IOException($"{twice.Key}: named twice");
    }

    /// <summary>The documents of one file, in its order.</summary>
    /// <param name="file">Of a known kind.</param>
    /// <param name="field">The field or column that holds the text.</param>
    /// <param name="bytesRead">Told how far into the file, as it lies on disk, reading has come.</param>
    /// <exception cref="InvalidDataException">Something in it is malformed.</exception>
    public static IEnumerable<TextDocument> Documents(string file, string field = DefaultField, Action<long>? bytesRead = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(file);
        var kind = KindOf(file) ?? throw BadFile.Error(file, $"expected a file that ends in one of {string.Join(", ", Kinds)}");
        var documents = kind == ".parquet" ? ParquetTexts.Read(file, field, bytesRead) : kind.StartsWith(".txt", StringComparison.Ordinal) ? Whole(file, bytesRead) : Lines(file, field, bytesRead);
        return documents.Where(d => !d.Utf8.IsEmpty);
    }

    /// <summary>The documents of several files in blocks of about a megabyte; a block does not reach over two files. The cuts depend on the files alone.</summary>
    internal static IEnumerable<DocumentBlock> Blocks(IReadOnlyList<string> files, string field)
    {
        var before = 0L;
        foreach (var file in files)
        {
            var read = 0L;
            var block = new List<TextDocument>();
            var size = 0L;
            foreach (var document in Documents(file, field, at => read = at))
            {
                block.Add(document);
                size += document.Utf8.Length;
                if (size < BlockBytes)
                    continue;
                yield return new(block, before + read);
                (block, size) = ([], 0);
            }

            before += new FileInfo(file).Length;
            if (block.Count > 0)
                yield return new(block, before);
        }
    }

    private static string? KindOf(string path) =>
        Kinds.Where(k => path.EndsWith(k, StringComparison.OrdinalIgnoreCase)).MaxBy(k => k.Length);

    private static IEnumerable<TextDocument> Whole(string file, Action<long>? bytesRead)
    {
        using var raw = OpenRaw(file);
        using var stream = Decompressed(file, raw);
        using var text = new MemoryStream();
        var buffer = new byte[1 << 16];
        for (int count; (count = Read(file, stream, buffer)) > 0;)
        {
            text.Write(buffer, 0, count);
            if (text.Length > LongestDocument)
                throw BadFile.Error(file, $"expected a document of at most {LongestDocument} bytes; cut it, or write a .jsonl with a document a line");
        }

        bytesRead?.Invoke(raw.Length);
        var bytes = text.ToArray().AsMemory();
        if (bytes.Span.StartsWith(Encoding.UTF8.Preamble))
            bytes = bytes[Encoding.UTF8.Preamble.Length..];
        if (!Utf8.IsValid(bytes.Span))
            throw BadFile.Error(file, $"line {LineOfBadByte(bytes.Span)}: expected UTF-8, found a byte that is none");
        yield return new(file, 1, bytes);
    }

    private static int LineOfBadByte(ReadOnlySpan<byte> text)
    {
        var line = 1;
        while (!text.IsEmpty)
        {
            var end = text.IndexOf((byte)'\n');
            var row = end < 0 ? text : text[..end];
            if (end < 0 || !Utf8.IsValid(row))
                break;
            text = text[(end + 1)..];
            line++;
        }

        return line;
    }

    private static IEnumerable<TextDocument> Lines(string file, string field, Action<long>? bytesRead)
    {
        using var raw = OpenRaw(file);
        using var stream = Decompressed(file, raw);
        var fieldUtf8 = Encoding.UTF8.GetBytes(field);
        foreach (var (number, line) in RawLines(file, stream))
        {
            bytesRead?.Invoke(raw.Position);
            if (!line.Span.Trim(" \t\r"u8).IsEmpty)
                yield return new(file, number, TextOf(file, number, line.Span, field, fieldUtf8));
        }
    }

    /// <summary>Lines without their ends. The memory is overwritten by the next one.</summary>
    internal static IEnumerable<(long Number, ReadOnlyMemory<byte> Line)> RawLines(string file)
    {
        using var raw = OpenRaw(file);
        using var stream = Decompressed(file, raw);
        foreach (var line in RawLines(file, stream))
            yield return line;
    }

    private static IEnumerable<(long Number, ReadOnlyMemory<byte> Line)> RawLines(string file, Stream stream)
    {
        var buffer = new byte[1 << 18];
        int start = 0, end = 0;
        var number = 0L;
        while (true)
        {
            var length = buffer.AsSpan(start, end - start).IndexOf((byte)'\n');
            if (length >= 0)
            {
                var skip = number == 0 && buffer.AsSpan(start, length).StartsWith(Encoding.UTF8.Preamble) ? Encoding.UTF8.Preamble.Length : 0;
                yield return (++number, buffer.AsMemory(start + skip, length - skip));
                start += length + 1;
                continue;
            }

            if (start > 0)
                buffer.AsSpan(start, end - start).CopyTo(buffer);
            (start, end) = (0, end - start);
            if (end == buffer.Length)
            {
                if (buffer.Length >= LongestDocument)
                    throw BadFile.Error(file, $"line {number + 1}: expected a line of at most {LongestDocument} bytes");
                Array.Resize(ref buffer, 2 * buffer.Length);
            }

            var count = Read(file, stream, buffer.AsSpan(end));
            if (count == 0)
                break;
            end += count;
        }

        if (end > 0)
            yield return (++number, buffer.AsMemory(0, end));
    }

    private static byte[] TextOf(string file, long number, ReadOnlySpan<byte> line, string field, byte[] fieldUtf8)
    {
        try
        {
            var json = new Utf8JsonReader(line);
            if (!json.Read() || json.TokenType != JsonTokenType.StartObject)
                throw BadFile.Error(file, $"line {number}: expected a JSON object, found {json.TokenType}");
            byte[]? text = null;
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
            {
                var isText = json.ValueTextEquals(fieldUtf8);
                json.Read();
                if (!isText)
                {
                    json.Skip();
                    continue;
                }

                if (json.TokenType != JsonTokenType.String)
                    throw BadFile.Error(file, $"line {number}: expected a string in \"{field}\", found {json.TokenType}");
                var room = new byte[json.ValueSpan.Length];
                text = room.AsSpan(0, json.CopyString(room)).ToArray();
            }

            // What follows the object is an error of the reader's.
            json.Read();
            return text ?? throw BadFile.Error(file, $"line {number}: expected an object with \"{field}\", found none of that name");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw BadFile.Error(file, $"line {number}: expected JSON, found: {BadFile.Quote(e.Message)}");
        }
    }

    private static FileStream OpenRaw(string file) => new(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 18, FileOptions.SequentialScan);

    private static Stream Decompressed(string file, FileStream raw) => Path.GetExtension(file).ToUpperInvariant() switch
    {
        ".ZST" => new DecompressionStream(raw),
        ".GZ" => new GZipStream(raw, CompressionMode.Decompress),
        _ => raw,
    };

    private static int Read(string file, Stream stream, Span<byte> buffer)
    {
        try
        {
            return stream.Read(buffer);
        }
        catch (Exception e) when (e is ZstdException or EndOfStreamException or InvalidDataException)
        {
            throw BadFile.Error(file, $"expected compressed text, found: {BadFile.Quote(e.Message)}");
        }
    }
}
