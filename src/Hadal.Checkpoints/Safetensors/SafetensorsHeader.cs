using System.Text.Json;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Safetensors;

/// <summary>
/// Parses the JSON header of a safetensors file: <c>{"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {…}}</c>.
/// Read token by token, so that a hostile header costs no more than its own length.
/// </summary>
internal static class SafetensorsHeader
{
    private const int MostDimensions = 8;
    private const string MetadataName = "__metadata__";

    /// <summary>Parses and checks a header, including that the tensors fill the data without holes or overlap, as the format demands.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="json">The header.</param>
    /// <param name="dataStart">Offset of the first byte of data in the file.</param>
    /// <param name="dataLength">Bytes of data.</param>
    /// <param name="metadata">Receives the free-form texts.</param>
    /// <returns>The tensors, in the order of their data.</returns>
    public static List<SafetensorsTensor> Parse(string path, ReadOnlySpan<byte> json, long dataStart, long dataLength, Dictionary<string, string> metadata)
    {
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 4 });
            var tensors = ParseObject(path, ref reader, metadata);
            Place(path, tensors, dataStart, dataLength);
            return tensors;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw JsonFile.NotJson(path, e);
        }
    }

    private static List<SafetensorsTensor> ParseObject(string path, ref Utf8JsonReader reader, Dictionary<string, string> metadata)
    {
        var tensors = new List<SafetensorsTensor>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        reader.Read();
        Expect(path, ref reader, JsonTokenType.StartObject, "header");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            if (!names.Add(name))
                throw BadFile.Tensor(path, name, "expected each tensor once in the header, found it twice");
            reader.Read();
            Expect(path, ref reader, JsonTokenType.StartObject, name);
            if (name == MetadataName)
                ParseMetadata(path, ref reader, metadata);
            else
                tensors.Add(ParseTensor(path, ref reader, name));
        }

        // Spaces may follow to align the data; the reader accepts nothing else.
        while (reader.Read())
            throw BadFile.Error(path, "expected one JSON object in the header, found more");
        return tensors;
    }

    private static void ParseMetadata(string path, ref Utf8JsonReader reader, Dictionary<string, string> metadata)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString()!;
            reader.Read();
            Expect(path, ref reader, JsonTokenType.String, MetadataName);
            if (!metadata.TryAdd(key, reader.GetString()!))
                throw BadFile.Error(path, $"{MetadataName}: expected each key once, found {BadFile.Quote(key)} twice");
        }
    }

    /// <summary>One description; the offset is relative to the start of the data.</summary>
    private static SafetensorsTensor ParseTensor(string path, ref Utf8JsonReader reader, string name)
    {
        SafetensorsDtype? dtype = null;
        List<long>? shape = null;
        List<long>? offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = reader.GetString()!;
            reader.Read();
            switch (field)
            {
                case "dtype" when dtype is null:
                    dtype = ParseDtype(path, ref reader, name);
                    break;
                case "shape" when shape is null:
                    shape = ParseIntegers(path, ref reader, name, field, MostDimensions);
                    break;
                case "data_offsets" when offsets is null:
                    offsets = ParseIntegers(path, ref reader, name, field, 2);
                    break;
                default:
                    throw BadFile.Tensor(path, name, $"expected dtype, shape and data_offsets once each, found {BadFile.Quote(field)}");
            }
        }

        if (dtype is null || shape is null || offsets is null)
            throw BadFile.Tensor(path, name, $"expected dtype, shape and data_offsets, found no {(dtype is null ? "dtype" : shape is null ? "shape" : "data_offsets")}");
        if (offsets.Count != 2 || offsets[1] < offsets[0])
            throw BadFile.Tensor(path, name, $"expected data_offsets [begin, end] with begin <= end, found {BadFile.Shape(offsets)}");
        Int128 bytes = dtype.Value.Size();
        foreach (var dimension in shape)
        {
            bytes *= dimension;
            if (bytes > long.MaxValue)
                throw BadFile.Tensor(path, name, $"expected a size below 2^63 bytes, found shape {BadFile.Shape(shape)}");
        }

        if (bytes != offsets[1] - offsets[0])
            throw BadFile.Tensor(path, name, $"expected {bytes} bytes for {dtype} {BadFile.Shape(shape)}, found data_offsets of {offsets[1] - offsets[0]}");
        return new SafetensorsTensor(name, dtype.Value, shape, offsets[0], (long)bytes);
    }

    private static SafetensorsDtype ParseDtype(string path, ref Utf8JsonReader reader, string name)
    {
        Expect(path, ref reader, JsonTokenType.String, name);
        var text = reader.GetString()!;

        // TryParse alone would also take numbers and lists.
        return Enum.TryParse<SafetensorsDtype>(text, out var dtype) && dtype.ToString() == text
            ? dtype
            : throw BadFile.Tensor(path, name, $"expected dtype {string.Join(", ", Enum.GetNames<SafetensorsDtype>())}, found {BadFile.Quote(text)}");
    }

    private static List<long> ParseIntegers(string path, ref Utf8JsonReader reader, string name, string field, int most)
    {
        Expect(path, ref reader, JsonTokenType.StartArray, name);
        var values = new List<long>(2);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var value) || value < 0)
                throw BadFile.Tensor(path, name, $"{field}: expected integers from 0 to 2^63 - 1, found {Token(ref reader)}");
            if (values.Count == most)
                throw BadFile.Tensor(path, name, $"{field}: expected at most {most} integers, found more");
            values.Add(value);
        }

        return values;
    }

    /// <summary>Sorts the tensors by offset, checks that they fill the data exactly, and turns offsets into offsets in the file.</summary>
    private static void Place(string path, List<SafetensorsTensor> tensors, long dataStart, long dataLength)
    {
        tensors.Sort(static (a, b) => a.Offset != b.Offset ? a.Offset.CompareTo(b.Offset) : a.ByteLength.CompareTo(b.ByteLength));
        var end = 0L;
        for (var i = 0; i < tensors.Count; i++)
        {
            var tensor = tensors[i];
            if (tensor.Offset > dataLength - tensor.ByteLength)
                throw BadFile.Tensor(path, tensor.Name, $"expected data_offsets inside the {dataLength} bytes of data, found [{tensor.Offset}, {tensor.Offset + (Int128)tensor.ByteLength}]");
            if (tensor.Offset != end)
                throw BadFile.Tensor(path, tensor.Name, $"expected data at offset {end}, where the tensor before it ends, found {tensor.Offset}: {(tensor.Offset < end ? "tensors overlap" : "there is a hole")}");
            end += tensor.ByteLength;
            tensors[i] = tensor with { Offset = dataStart + tensor.Offset };
        }

        if (end != dataLength)
            throw BadFile.Error(path, $"expected {end} bytes of tensor data, found {dataLength}");
    }

    private static void Expect(string path, ref Utf8JsonReader reader, JsonTokenType type, string where)
    {
        if (reader.TokenType != type)
            throw BadFile.Error(path, $"{BadFile.Quote(where)}: expected {type}, found {Token(ref reader)}");
    }

    private static string Token(ref Utf8JsonReader reader) =>
        reader.TokenType == JsonTokenType.Number ? BadFile.Quote(System.Text.Encoding.ASCII.GetString(reader.ValueSpan)) : reader.TokenType.ToString();
}
