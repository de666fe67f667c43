using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Tests.Files;

/// <summary>In Linux's cache a file lies in the pieces in which it was written: whole ones of 4 MB, whatever the header and the tensors are long.</summary>
public sealed class NewFileTests
{
    private const int Piece = 4 << 20;
    private static readonly long[] Lengths = [3_000_008, 8, 5_000_072];

    [Fact]
    public void A_gguf_file_is_written_in_whole_pieces()
    {
        using var folder = new TempFolder();
        var path = folder.File("model.gguf");
        var metadata = new GgufMetadataBuilder();
        metadata.Add("text", new string('x', Piece + 12345));
        using var writer = new GgufWriter(path, metadata, [.. Lengths.Select((length, i) => new GgufEntry($"t{i}", WeightFormat.F32, [length]))]);
        AssertWrittenInPieces(path, data => writer.Write(data), writer.Complete);
    }

    [Fact]
    public void A_safetensors_file_is_written_in_whole_pieces()
    {
        using var folder = new TempFolder();
        var path = folder.File("model.safetensors");
        using var writer = new SafetensorsWriter(path, [.. Lengths.Select((length, i) => new SafetensorsEntry($"t{i}", SafetensorsDtype.F32, [length]))]);
        AssertWrittenInPieces(path, data => writer.Write(data), writer.Complete);
    }

    // A tensor at a time, or the next million and some bytes of it: more and less than a piece.
    private static void AssertWrittenInPieces(string path, Action<byte[]> write, Action complete)
    {
        var data = new byte[sizeof(float) * Lengths.Sum()];
        new Random(7).NextBytes(data);
        var at = 0;
        foreach (var (i, length) in Lengths.Index())
        {
            var end = at + (int)(sizeof(float) * length);
            while (at < end)
            {
                var next = i == 0 ? end : Math.Min(end, at + 1_234_567);
                write(data[at..next]);
                at = next;
                Assert.Equal(0, new FileInfo(path + ".partial").Length % Piece);
            }
        }

        Assert.InRange(new FileInfo(path + ".partial").Length, data.Length - Piece, long.MaxValue);
        complete();
        Assert.True(File.ReadAllBytes(path).AsSpan()[^data.Length..].SequenceEqual(data));
    }
}
