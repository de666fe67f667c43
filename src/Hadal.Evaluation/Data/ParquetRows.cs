using System.Text.Json;
using Parquet.Serialization;

namespace Hadal.Evaluation.Data;

/// <summary>Rows of a Parquet file, as named fields: texts, numbers, lists and structures of them.</summary>
internal static class ParquetRows
{
    /// <summary>Reads every row.</summary>
    /// <exception cref="InvalidDataException">The file is damaged, or has a column of a kind that JSON cannot express.</exception>
    public static IReadOnlyList<DataRow> Read(string path, string name) => ReadAsync(path, name).GetAwaiter().GetResult();

    private static async Task<IReadOnlyList<DataRow>> ReadAsync(string path, string name)
    {
        try
        {
            await using var stream = File.OpenRead(path);
            var table = await ParquetSerializer.DeserializeUntypedAsync(stream);
            return [.. table.Data.Select((row, i) => new DataRow(name, i + 1, JsonSerializer.SerializeToElement(row)))];
        }
        catch (Exception e) when (e is not (IOException or InvalidDataException or OperationCanceledException or OutOfMemoryException))
        {
            // The library throws whatever the damage leads to.
            throw new InvalidDataException($"{name}: expected Parquet, found: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }
}
