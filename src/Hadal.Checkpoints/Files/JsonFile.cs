using System.Text.Json;

namespace Hadal.Checkpoints.Files;

/// <summary>Reads small JSON files strictly: a size cap, a depth cap, no comments, no name twice in one object.</summary>
internal static class JsonFile
{
    private const int DeepestNesting = 32;

    private static readonly JsonDocumentOptions Strict = new()
    {
        AllowDuplicateProperties = false,
        AllowTrailingCommas = false,
        CommentHandling = JsonCommentHandling.Disallow,
        MaxDepth = DeepestNesting,
    };

    /// <summary>Reads and parses a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="largest">Bytes it may have.</param>
    /// <exception cref="IOException">It cannot be read.</exception>
    /// <exception cref="InvalidDataException">It is larger, or no JSON object.</exception>
    public static JsonDocument Read(string path, int largest) => Parse(path, ReadBytes(path, largest));

    /// <summary>Reads a file of at most <paramref name="largest"/> bytes.</summary>
    public static byte[] ReadBytes(string path, int largest)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        if (stream.Length > largest)
            throw BadFile.Error(path, $"expected at most {largest} bytes, found {stream.Length}");
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>Parses the bytes of a file.</summary>
    /// <exception cref="InvalidDataException">They are no JSON object.</exception>
    public static JsonDocument Parse(string path, ReadOnlyMemory<byte> bytes)
    {
        // A byte order mark is no JSON, but editors leave one behind and it hurts nobody.
        if (bytes.Span.StartsWith("\uFEFF"u8))
            bytes = bytes[3..];
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(bytes, Strict);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a property name that is no text (half a surrogate pair, ill-formed UTF-8).
            throw NotJson(path, e);
        }

        if (document.RootElement.ValueKind == JsonValueKind.Object)
            return document;
        var kind = document.RootElement.ValueKind;
        document.Dispose();
        throw BadFile.Error(path, $"expected a JSON object, found {kind}");
    }

    /// <summary>The error for text that is not JSON, as one line.</summary>
    public static InvalidDataException NotJson(string path, Exception reason) => BadFile.Error(path, $"expected JSON, found: {Line(reason.Message)}");

    private static string Line(string message)
    {
        var end = message.AsSpan().IndexOfAny('\r', '\n');
        return end < 0 ? message : message[..end];
    }
}
