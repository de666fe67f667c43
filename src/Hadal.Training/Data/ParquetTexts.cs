using System.Text;
using Hadal.Checkpoints.Files;
using Parquet;
using Parquet.Schema;

namespace Hadal.Training.Data;

/// <summary>The texts in a column of a parquet file, one row group in memory at a time.</summary>
internal static class ParquetTexts
{
    /// <summary>Reads a column of strings; rows without a value are left out.</summary>
    public static IEnumerable<TextDocument> Read(string file, string column, Action<long>? bytesRead)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
        var reader = Checked(file, () => ParquetReader.CreateAsync(stream).GetAwaiter().GetResult());
        try
        {
            var field = reader.Schema.DataFields.FirstOrDefault(f => f.Path.ToString() == column);
            if (field is null || !IsText(field))
                throw BadFile.Error(file, $"expected a column of strings \"{column}\", found {string.Join(", ", reader.Schema.DataFields.Select(f => $"{f.Path} ({(IsText(f) ? "strings" : f.ClrType.Name)})"))}");
            var number = 0L;
            for (var group = 0; group < reader.RowGroupCount; group++)
            {
                foreach (var text in Checked(file, () => Column(reader, group, field)))
                {
                    number++;
                    if (text is not null)
                        yield return new(file, number, Encoding.UTF8.GetBytes(text));
                }

                bytesRead?.Invoke(stream.Length * (group + 1) / reader.RowGroupCount);
            }
        }
        finally
        {
            reader.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }

    // The library reads strings as the one, and declares them as the other when it writes.
    private static bool IsText(DataField field) => field.ClrType == typeof(ReadOnlyMemory<char>) || field.ClrType == typeof(string);

    private static string?[] Column(ParquetReader reader, int group, DataField field)
    {
        using var rows = reader.OpenRowGroupReader(group);
        var texts = new string?[checked((int)rows.RowCount)];
        rows.ReadAsync(field, texts.AsMemory(), null, default).AsTask().GetAwaiter().GetResult();
        return texts;
    }

    // The library throws whatever its parsing runs into; all of it means one thing.
    private static T Checked<T>(string file, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is not (OutOfMemoryException or UnauthorizedAccessException))
        {
            throw BadFile.Error(file, $"expected a parquet file, found: {BadFile.Quote(e.Message)}");
        }
    }
}
