using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Gguf;

/// <summary>
/// The key/value part of a GGUF file. Opening checks every key, type and length; values are decoded when they are asked for, so that a vocabulary
/// costs nothing until it is used. Getters return null for an absent key and throw <see cref="InvalidDataException"/>, naming file and key, when the
/// value has another type or does not fit. Valid until the file is disposed; safe for several threads.
/// </summary>
public sealed class GgufMetadata
{
    private const int LongestKey = 65535;
    private const int DeepestArray = 4;

    private readonly MappedFile file;
    private readonly Dictionary<string, Entry> entries = new(StringComparer.Ordinal);
    private readonly List<string> keys = [];

    private GgufMetadata(MappedFile file) => this.file = file;

    /// <summary>The file it was read from, for messages.</summary>
    public string File => file.Path;

    /// <summary>The keys, in the order of the file.</summary>
    public IReadOnlyList<string> Keys => keys;

    /// <summary>Whether the key is there.</summary>
    public bool Contains(string key) => entries.ContainsKey(key);

    /// <summary>The type of a value, or null when the key is absent.</summary>
    public GgufValueType? TypeOf(string key) => entries.TryGetValue(key, out var entry) ? entry.Type : null;

    /// <summary>The type of an array's elements, or null when the key is absent or no array.</summary>
    public GgufValueType? ElementTypeOf(string key) => entries.TryGetValue(key, out var entry) && entry.Type == GgufValueType.Array ? entry.Element : null;

    /// <summary>The number of elements of an array, or null when the key is absent.</summary>
    public long? ArrayLength(string key) => Find(key, GgufValueType.Array)?.Count;

    /// <summary>A text.</summary>
    public string? GetString(string key) => Find(key, GgufValueType.String) is { } entry ? At(entry).String(What(key)) : null;

    /// <summary>A truth value.</summary>
    public bool? GetBoolean(string key) => Find(key, GgufValueType.Bool) is { } entry ? file.Slice(entry.Offset, 1)[0] != 0 : null;

    /// <summary>An integer of any width and sign.</summary>
    public long? GetInt64(string key)
    {
        if (!entries.TryGetValue(key, out var entry))
            return null;
        if (ReadInteger(entry.Type, entry.Offset) is not { } value)
            throw WrongType(key, "an integer", entry);
        return value <= long.MaxValue ? (long)value : throw BadFile.Field(File, key, $"expected at most {long.MaxValue}, found {value}");
    }

    /// <summary>An integer of any width and sign that fits 32 bits.</summary>
    public int? GetInt32(string key) => GetInt64(key) switch
    {
        null => null,
        >= int.MinValue and <= int.MaxValue and var value => (int)value,
        var value => throw BadFile.Field(File, key, $"expected a 32-bit integer, found {value}"),
    };

    /// <summary>
    /// A finite number, whatever its type. A float32 becomes the double with the same shortest decimal, so that 1e-6 is 1e-6 again and not
    /// 9.999999974752427e-07.
    /// </summary>
    public double? GetDouble(string key)
    {
        if (!entries.TryGetValue(key, out var entry))
            return null;
        var value = entry.Type switch
        {
            GgufValueType.Float32 => Widen(BinaryPrimitives.ReadSingleLittleEndian(file.Slice(entry.Offset, 4))),
            GgufValueType.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(file.Slice(entry.Offset, 8)),
            _ => (double?)ReadInteger(entry.Type, entry.Offset) ?? throw WrongType(key, "a number", entry),
        };
        return double.IsFinite(value) ? value : throw BadFile.Field(File, key, $"expected a finite number, found {value}");
    }

    /// <summary>An array of texts.</summary>
    public string[]? GetStrings(string key)
    {
        if (FindArray(key, GgufValueType.String) is not { } entry)
            return null;
        var texts = new string[entry.Count];
        var cursor = At(entry);
        var what = What(key);
        for (var i = 0; i < texts.Length; i++)
            texts[i] = cursor.String(what);
        return texts;
    }

    /// <summary>An array of integers of any width that fit 32 bits.</summary>
    public int[]? GetInt32s(string key)
    {
        if (Find(key, GgufValueType.Array) is not { } entry)
            return null;
        var size = GgufValueTypes.FixedSize(entry.Element);
        if (size == 0 || entry.Element is GgufValueType.Bool or GgufValueType.Float32 or GgufValueType.Float64)
            throw BadFile.Field(File, key, $"expected an array of integers, found one of {entry.Element}");
        var values = new int[entry.Count];
        for (var i = 0; i < values.Length; i++)
        {
            var value = ReadInteger(entry.Element, entry.Offset + ((long)i * size))!.Value;
            values[i] = value >= int.MinValue && value <= int.MaxValue ? (int)value : throw BadFile.Field(File, key, $"element {i}: expected a 32-bit integer, found {value}");
        }

        return values;
    }

    /// <summary>An array of float32 values, NaN and infinities included.</summary>
    public float[]? GetSingles(string key)
    {
        if (FindArray(key, GgufValueType.Float32) is not { } entry)
            return null;
        var values = new float[entry.Count];
        file.Slice(entry.Offset, checked(values.Length * sizeof(float))).CopyTo(MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    /// <summary>As <see cref="GetString"/>, for a key that must be there.</summary>
    public string RequireString(string key) => GetString(key) ?? throw Missing(key, "a string");

    /// <summary>As <see cref="GetInt32"/>, for a key that must be there.</summary>
    public int RequireInt32(string key) => GetInt32(key) ?? throw Missing(key, "an integer");

    /// <summary>As <see cref="GetDouble"/>, for a key that must be there.</summary>
    public double RequireDouble(string key) => GetDouble(key) ?? throw Missing(key, "a number");

    /// <summary>The encoded value of a key that must be there.</summary>
    internal ReadOnlySpan<byte> Raw(string key)
    {
        var entry = entries[key];
        return file.Slice(entry.Start, checked((int)(entry.End - entry.Start)));
    }

    /// <summary>Reads <paramref name="count"/> pairs from the cursor on, checking all and decoding none.</summary>
    internal static GgufMetadata Read(MappedFile file, GgufCursor cursor, ulong count)
    {
        // The least a pair takes: an empty key's length, a type and one byte.
        if (count > (ulong)cursor.Remaining / 13)
            throw BadFile.Error(file.Path, $"metadata: expected {count} keys, found {cursor.Remaining} bytes up to the end of the file");
        var metadata = new GgufMetadata(file);
        for (var i = 0UL; i < count; i++)
        {
            var key = cursor.String($"name of metadata key {i}", LongestKey);
            var what = $"value of {BadFile.Quote(key)}";
            var type = ReadType(file, cursor, what);
            var entry = SkipValue(file, cursor, type, what);
            if (!metadata.entries.TryAdd(key, entry))
                throw BadFile.Field(file.Path, key, "expected each metadata key once, found it twice");
            metadata.keys.Add(key);
        }

        return metadata;
    }

    private static GgufValueType ReadType(MappedFile file, GgufCursor cursor, string what)
    {
        var type = cursor.UInt32(what);
        return type <= (uint)GgufValueType.Float64
            ? (GgufValueType)type
            : throw BadFile.Error(file.Path, $"{what}: expected a value type from 0 to {(int)GgufValueType.Float64}, found {type}");
    }

    private static Entry SkipValue(MappedFile file, GgufCursor cursor, GgufValueType type, string what)
    {
        var start = cursor.Position;
        switch (type)
        {
            case GgufValueType.String:
                cursor.SkipString(what);
                break;
            case GgufValueType.Array:
                var (element, count, first) = SkipArray(file, cursor, what, depth: 0);
                return new Entry(type, element, count, start, first, cursor.Position);
            default:
                cursor.Skip((ulong)GgufValueTypes.FixedSize(type), what);
                if (type == GgufValueType.Bool && file.Slice(start, 1)[0] > 1)
                    throw BadFile.Error(file.Path, $"{what}: expected a bool of 0 or 1, found {file.Slice(start, 1)[0]}");
                break;
        }

        return new Entry(type, default, 0, start, start, cursor.Position);
    }

    private static (GgufValueType Element, int Count, long First) SkipArray(MappedFile file, GgufCursor cursor, string what, int depth)
    {
        if (depth == DeepestArray)
            throw BadFile.Error(file.Path, $"{what}: expected arrays nested at most {DeepestArray} deep, found deeper");
        var element = ReadType(file, cursor, what);
        var count = cursor.UInt64(what);
        var size = GgufValueTypes.FixedSize(element);

        // Of strings and arrays the least each takes, so that a count that cannot be true ends here and not after a walk.
        var least = size > 0 ? size : element == GgufValueType.String ? 8 : 12;
        if (count > (ulong)(cursor.Remaining / least) || count > (ulong)Array.MaxLength)
            throw BadFile.Error(file.Path, $"{what}: expected an array of {count} elements of {element}, found {cursor.Remaining} bytes up to the end of the file");
        var start = cursor.Position;
        if (size > 0)
        {
            cursor.Skip(count * (ulong)size, what);
            return (element, (int)count, start);
        }

        for (var i = 0UL; i < count; i++)
        {
            if (element == GgufValueType.String)
                cursor.SkipString(what);
            else
                SkipArray(file, cursor, what, depth + 1);
        }

        return (element, (int)count, start);
    }

    private static double Widen(float value) =>
        float.IsFinite(value) ? double.Parse(value.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture) : value;

    private static string What(string key) => $"value of {BadFile.Quote(key)}";

    private Int128? ReadInteger(GgufValueType type, long offset) => type switch
    {
        GgufValueType.UInt8 => file.Slice(offset, 1)[0],
        GgufValueType.Int8 => (sbyte)file.Slice(offset, 1)[0],
        GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(file.Slice(offset, 2)),
        GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(file.Slice(offset, 2)),
        GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(file.Slice(offset, 4)),
        GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(file.Slice(offset, 4)),
        GgufValueType.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(file.Slice(offset, 8)),
        GgufValueType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(file.Slice(offset, 8)),
        _ => null,
    };

    private GgufCursor At(Entry entry) => new(file, entry.Offset);

    private Entry? Find(string key, GgufValueType type)
    {
        if (!entries.TryGetValue(key, out var entry))
            return null;
        return entry.Type == type ? entry : throw WrongType(key, type.ToString(), entry);
    }

    private Entry? FindArray(string key, GgufValueType element)
    {
        if (Find(key, GgufValueType.Array) is not { } entry)
            return null;
        return entry.Element == element ? entry : throw BadFile.Field(File, key, $"expected an array of {element}, found one of {entry.Element}");
    }

    private InvalidDataException WrongType(string key, string expected, Entry entry) => BadFile.Field(File, key, $"expected {expected}, found {entry.Type}");

    private InvalidDataException Missing(string key, string expected) => BadFile.Field(File, key, $"expected {expected}, found no such metadata key");

    /// <summary>Where a value lies: <paramref name="Start"/> with, <paramref name="Offset"/> without the head of an array.</summary>
    private readonly record struct Entry(GgufValueType Type, GgufValueType Element, int Count, long Start, long Offset, long End);
}
