using System.Buffers.Binary;
using System.Text;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Tests;

namespace Hadal.Checkpoints.Tests.Safetensors;

public sealed class SafetensorsFileTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void What_is_written_is_read_back()
    {
        var path = folder.File("a.safetensors");
        using (var writer = new SafetensorsWriter(
            path,
            [
                new("f", SafetensorsDtype.F32, [2, 3]),
                new("empty", SafetensorsDtype.F32, [0, 5]),
                new("i", SafetensorsDtype.I64, [2]),
                new("one", SafetensorsDtype.F64, []),
                new("b", SafetensorsDtype.BF16, [2]),
                new("Ġ\"quoted\" 名", SafetensorsDtype.U8, [3]),
            ],
            new Dictionary<string, string> { ["format"] = "pt" }))
        {
            writer.Write<float>([1, 2]);
            writer.Write<float>([3, 4, 5, 6]);
            writer.Write<long>([-1, int.MaxValue]);
            writer.Write<double>([0.1]);
            writer.Write<ushort>([0x3F80, 0xC000]);
            Assert.Throws<InvalidOperationException>(() => writer.Complete());
            Assert.Throws<InvalidOperationException>(() => writer.Write<byte>([1, 2, 3, 4]));
            writer.Write<byte>([1, 2, 255]);
            Assert.False(File.Exists(path));
            writer.Complete();
        }

        using var file = SafetensorsFile.Open(path);
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal(["f", "empty", "i", "one", "b", "Ġ\"quoted\" 名"], file.Tensors.Keys);
        Assert.Equal([2, 3], file.Tensors["f"].Shape);
        Assert.Equal(0, file.Tensors["f"].Offset % 8);
        Assert.Equal([1f, 2f, 3f, 4f, 5f, 6f], file.ReadSingles("f"));
        Assert.Empty(file.ReadSingles("empty"));
        Assert.Equal([-1, int.MaxValue], file.ReadInt32("i"));
        Assert.Equal([0.1], file.ReadDoubles("one"));
        Assert.Equal([1f, -2f], file.ReadSingles("b"));
        Assert.Equal([1, 2, 255], file.ReadInt32("Ġ\"quoted\" 名"));
        Assert.Contains("expected an integer type, found F32", Assert.Throws<InvalidDataException>(() => file.ReadInt32("f")).Message, StringComparison.Ordinal);
        Assert.Contains("none of that name", Assert.Throws<InvalidDataException>(() => file.ReadSingles("g")).Message, StringComparison.Ordinal);
        Assert.Throws<IOException>(() => new SafetensorsWriter(path, []));
        Assert.Equal([path], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void An_abandoned_file_leaves_nothing_behind()
    {
        using (var writer = new SafetensorsWriter(folder.File("a.safetensors"), [new("f", SafetensorsDtype.F32, [2])]))
            writer.Write<float>([1]);
        Assert.Empty(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void Golden_files_are_read()
    {
        using var file = SafetensorsFile.Open(SharedFiles.Path("fixtures", "tiny-v3", "expected.safetensors"));
        Assert.Equal(17, file.ReadInt32("seq17.tokens").Length);
        Assert.Equal([17, 1024], file.Tensors["seq17.logits"].Shape);
        Assert.Equal(17 * 1024, file.ReadSingles("seq17.logits").Length);
        Assert.Equal(24, file.ReadInt32("seq17.greedy").Length);
    }

    [Theory]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4, null)]
    [InlineData("{\"w\": {\"data_offsets\": [0, 4], \"shape\": [], \"dtype\": \"I32\"}, \"__metadata__\": {\"a\": \"b\"}}   ", 4, null)]
    [InlineData("", 0, "expected JSON")]
    [InlineData("[]", 0, "expected StartObject, found StartArray")]
    [InlineData("{\"w\": 3}", 0, "w: expected StartObject, found 3")]
    [InlineData("{} {}", 0, "expected JSON")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}", 4, "expected JSON")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, \"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4, "found it twice")]
    [InlineData("{\"w\": {\"dtype\": \"F33\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4, "found F33")]
    [InlineData("{\"w\": {\"dtype\": \"12\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4, "found 12")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", 4, "found -1")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1.5], \"data_offsets\": [0, 4]}}", 4, "found 1.5")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [[1]], \"data_offsets\": [0, 4]}}", 4, "found StartArray")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1,1,1,1,1], \"data_offsets\": [0, 4]}}", 4, "at most 8")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1152921504606846976, 1152921504606846976], \"data_offsets\": [0, 4]}}", 4, "below 2^63")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1152921504606846976], \"data_offsets\": [0, 4611686018427387904]}}", 4, "inside the 4 bytes")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 9223372036854775808]}}", 4, "found 9223372036854775808")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 4, "expected 8 bytes for F32 [2], found data_offsets of 4")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 0]}}", 4, "begin <= end")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4, 8]}}", 4, "at most 2")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1]}}", 4, "found no data_offsets")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4], \"more\": {\"a\": [{}]}}}", 4, "found more")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 8, "expected 4 bytes of tensor data, found 8")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}", 8, "there is a hole")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, \"v\": {\"dtype\": \"F16\", \"shape\": [1], \"data_offsets\": [2, 4]}}", 4, "tensors overlap")]
    [InlineData("{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 2, "inside the 2 bytes")]
    [InlineData("{\"\\ud800\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4, "expected JSON")]
    [InlineData("{\"__metadata__\": {\"a\": {\"b\": 1}}}", 0, "__metadata__: expected String, found StartObject")]
    [InlineData("{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{}}}}}}}", 0, "found b")]
    public void A_header_is_taken_or_refused(string header, int data, string? expected)
    {
        var json = Encoding.UTF8.GetBytes(header);
        var bytes = new byte[8 + json.Length + data];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, json.Length);
        json.CopyTo(bytes, 8);
        var path = folder.Write("h.safetensors", bytes);
        if (expected is null)
        {
            using var file = SafetensorsFile.Open(path);
            Assert.Single(file.Tensors);
            return;
        }

        var error = Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(path)).Message;
        Assert.Contains(expected, error, StringComparison.Ordinal);
        Assert.StartsWith(path, error, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error);
    }

    [Theory]
    [InlineData(new byte[0], "found 0 bytes")]
    [InlineData(new byte[] { 1, 2, 3 }, "found 3 bytes")]
    [InlineData(new byte[] { 255, 255, 255, 255, 255, 255, 255, 255, 0 }, "found a header length of 18446744073709551615")]
    [InlineData(new byte[] { 2, 0, 0, 0, 0, 0, 0, 0, 123 }, "at most 1 bytes")]
    public void A_header_length_that_cannot_be_is_refused(byte[] bytes, string expected) =>
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(folder.Write("h.safetensors", bytes))).Message, StringComparison.Ordinal);
}
