using System.Buffers.Binary;
using System.Text;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Gguf;

/// <summary>Reads little-endian values one after another; every length is checked against what is left of the file before it is used.</summary>
internal sealed class GgufCursor(MappedFile file, long position)
{
    /// <summary>Bytes of the longest string taken out of a file: far above any chat template, far below what would hurt.</summary>
    private const int LongestString = 1 << 26;

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Offset of the next byte.</summary>
    public long Position { get; private set; } = position;

    /// <summary>Bytes left.</summary>
    public long Remaining => file.Length - Position;

    /// <summary>Steps over <paramref name="length"/> bytes and returns their offset.</summary>
    /// <param name="length">Bytes, from the file or not.</param>
    /// <param name="what">What lies there, for the error.</param>
    public long Skip(ulong length, string what)
    {
        if (length > (ulong)Remaining)
            throw BadFile.Error(file.Path, $"{what} at byte {Position}: expected {length} bytes, found {Remaining} up to the end of the file");
        var start = Position;
        Position += (long)length;
        return start;
    }

    /// <summary>The next 32-bit integer.</summary>
    public uint UInt32(string what) => BinaryPrimitives.ReadUInt32LittleEndian(file.Slice(Skip(4, what), 4));

    /// <summary>The next 64-bit integer.</summary>
    public ulong UInt64(string what) => BinaryPrimitives.ReadUInt64LittleEndian(file.Slice(Skip(8, what), 8));

    /// <summary>The next string.</summary>
    /// <param name="what">What it is, for the error.</param>
    /// <param name="longest">Bytes it may have.</param>
    public string String(string what, int longest = LongestString)
    {
        var length = UInt64(what);
        if (length > (ulong)longest && length <= (ulong)Remaining)
            throw BadFile.Error(file.Path, $"{what} at byte {Position}: expected at most {longest} bytes, found {length}");
        var bytes = file.Slice(Skip(length, what), (int)length);
        try
        {
            return StrictUtf8.GetString(bytes);
        }
        catch (ArgumentException)
        {
            throw BadFile.Error(file.Path, $"{what} at byte {Position - bytes.Length}: expected UTF-8, found an invalid sequence");
        }
    }

    /// <summary>Steps over a string without reading its text.</summary>
    public void SkipString(string what) => Skip(UInt64(what), what);
}
