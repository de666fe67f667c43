using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Hadal.Evaluation.Data;

/// <summary>
/// A text in Base64 of zlib of a Python pickle, as LiveCodeBench keeps its private tests. Only a pickle of one text is understood; nothing is executed, which
/// unpickling does.
/// </summary>
internal static class PickledText
{
    private const int MostBytes = 256 << 20;

    /// <summary>The text, or null where the data is something else.</summary>
    public static string? Unpack(string base64)
    {
        try
        {
            using var inflate = new ZLibStream(new MemoryStream(Convert.FromBase64String(base64)), CompressionMode.Decompress);
            var bytes = new MemoryStream();
            var buffer = new byte[1 << 16];
            for (int count; (count = inflate.Read(buffer)) > 0;)
            {
                if (bytes.Length + count > MostBytes)
                    return null;
                bytes.Write(buffer, 0, count);
            }

            return Text(bytes.ToArray());
        }
        catch (Exception e) when (e is FormatException or InvalidDataException)
        {
            return null;
        }
    }

    // PROTO, FRAME, one of the text opcodes, MEMOIZE, STOP.
    private static string? Text(ReadOnlySpan<byte> pickle)
    {
        while (!pickle.IsEmpty)
        {
            var opcode = pickle[0];
            pickle = pickle[1..];
            switch (opcode)
            {
                case 0x80 when pickle.Length >= 1:
                    pickle = pickle[1..];
                    break;
                case 0x95 when pickle.Length >= 8:
                    pickle = pickle[8..];
                    break;
                case 0x8C when pickle.Length >= 1:
                    return Slice(pickle[1..], pickle[0]);
                case (byte)'X' when pickle.Length >= 4:
                    return Slice(pickle[4..], BinaryPrimitives.ReadUInt32LittleEndian(pickle));
                case 0x8D when pickle.Length >= 8:
                    return Slice(pickle[8..], BinaryPrimitives.ReadUInt64LittleEndian(pickle));
                default:
                    return null;
            }
        }

        return null;
    }

    private static string? Slice(ReadOnlySpan<byte> bytes, ulong length) => length <= (ulong)bytes.Length ? Encoding.UTF8.GetString(bytes[..(int)length]) : null;
}
