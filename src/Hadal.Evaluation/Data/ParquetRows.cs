using System.Text.Json;
using System.Text.Json.Serialization;
using Parquet.Serialization;

namespace Hadal.Evaluation.Data;

/// <summary>Rows of a Parquet file, as named fields: texts, numbers, lists and structures of them.</summary>
internal static class ParquetRows
{
    private static readonly JsonSerializerOptions Json = new() { Converters = { new TextConverter() } };

    /// <summary>Reads every row.</summary>
    /// <exception cref="InvalidDataException">The file is damaged, or has a column of a kind that JSON cannot express.</exception>
    public static IReadOnlyList<DataRow> Read(string path, string name) => ReadAsync(path, name).GetAwaiter().GetResult();

    private static async Task<IReadOnlyList<DataRow>> ReadAsync(string path, string name)
    {
        try
        {
            await using var stream = File.OpenRead(path);
            var table = await ParquetSerializer.DeserializeUntypedAsync(stream);
            return [.. table.Data.Select((row, i) => new DataRow(name, i + 1, JsonSerializer.SerializeToElement(row, Json)))];
        }
        catch (Exception e) when (e is not (IOException or InvalidDataException or OperationCanceledException or OutOfMemoryException))
        {
            // The library throws whatever the damage leads to.
            throw new InvalidDataException($"{name}: expected Parquet, found: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    // The library has the texts of a list as memory, which JSON would write as a list of characters.
    private sealed class TextConverter : JsonConverter<ReadOnlyMemory<char>>
    {
        public override ReadOnlyMemory<char> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => throw new NotSupportedException();

        public override void Write(Utf8JsonWriter writer, ReadOnlyMemory<char> value, JsonSerializerOptions options) => writer.WriteStringValue(value.Span);
    }
}
