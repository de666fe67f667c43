using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tests.Files;

namespace Hadal.Checkpoints.Tests.Gguf;

public sealed class GgufFileTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(2u)]
    [InlineData(3u)]
    public void Metadata_of_every_type_is_read(uint version)
    {
        using var file = GgufFile.Open(folder.Write("a.gguf", new GgufBytes(version).Counts(0, 11)
            .Key("u8", GgufValueType.UInt8).U8(200)
            .Key("i8", GgufValueType.Int8).U8(0xFF)
            .Key("u32", GgufValueType.UInt32).U32(uint.MaxValue)
            .Key("i64", GgufValueType.Int64).U64(ulong.MaxValue)
            .Key("f32", GgufValueType.Float32).F32(1e-6f)
            .Key("yes", GgufValueType.Bool).U8(1)
            .Key("text", GgufValueType.String).Text("héllo")
            .Key("texts", GgufValueType.Array).ArrayOf(GgufValueType.String, 2).Text("").Text("Ġworld")
            .Key("ints", GgufValueType.Array).ArrayOf(GgufValueType.UInt32, 2).U32(3).U32(4)
            .Key("floats", GgufValueType.Array).ArrayOf(GgufValueType.Float32, 1).F32(0.5f)
            .Key("nested", GgufValueType.Array).ArrayOf(GgufValueType.Array, 1).ArrayOf(GgufValueType.UInt8, 2).U8(1).U8(2)
            .ToArray()));
        var metadata = file.Metadata;
        Assert.Equal((int)version, file.Version);
        Assert.Equal(["u8", "i8", "u32", "i64", "f32", "yes", "text", "texts", "ints", "floats", "nested"], metadata.Keys);
        Assert.Equal(200, metadata.GetInt32("u8"));
        Assert.Equal(-1, metadata.GetInt32("i8"));
        Assert.Equal(uint.MaxValue, metadata.GetInt64("u32"));
        Assert.Equal(-1, metadata.GetInt64("i64"));
        Assert.Equal(1e-6, metadata.GetDouble("f32"));
        Assert.Equal(200, metadata.GetDouble("u8"));
        Assert.True(metadata.GetBoolean("yes"));
        Assert.Equal("héllo", metadata.GetString("text"));
        Assert.Equal(["", "Ġworld"], metadata.GetStrings("texts")!);
        Assert.Equal([3, 4], metadata.GetInt32s("ints")!);
        Assert.Equal([0.5f], metadata.GetSingles("floats")!);
        Assert.Equal(1, metadata.ArrayLength("nested"));
        Assert.Null(metadata.GetString("absent"));
        Assert.Null(metadata.GetInt32("absent"));
        Assert.Contains("absent", Assert.Throws<InvalidDataException>(() => metadata.RequireInt32("absent")).Message);
        Assert.Contains("expected String, found UInt8", Assert.Throws<InvalidDataException>(() => metadata.GetString("u8")).Message);
        Assert.Contains("32-bit", Assert.Throws<InvalidDataException>(() => metadata.GetInt32("u32")).Message);
    }

    [Fact]
    public void Tensors_are_placed_after_the_aligned_table()
    {
        var bytes = new GgufBytes().Counts(2, 1)
            .Key("general.alignment", GgufValueType.UInt32).U32(64)
            .Tensor("w", [4, 2], 0, 0)
            .Tensor("q", [64], 1, 64)
            .Pad(64).F32(1).F32(2).Zeros(56).Zeros(128).ToArray();
        using var file = GgufFile.Open(folder.Write("a.gguf", bytes));
        Assert.Equal(64, file.Alignment);
        Assert.Equal([2, 4], file.Find("w")!.Shape);
        Assert.Equal(32, file.Find("w")!.ByteLength);
        unsafe
        {
            Assert.Equal(2f, ((float*)file.Data(file.Find("w")!))[1]);
        }

        Assert.Null(file.Find("x"));
    }

    public static TheoryData<string, byte[], string> Hostile => new()
    {
        { "empty", [], "expected a GGUF file" },
        { "magic", new GgufBytes(magic: 0x47475546).Counts(0, 0).ToArray(), "expected a GGUF file" },
        { "version", new GgufBytes(1).Counts(0, 0).ToArray(), "expected GGUF version 2 or 3, found 1" },
        { "big-endian", new GgufBytes(0x03000000).Counts(0, 0).ToArray(), "big-endian" },
        { "cut header", new GgufBytes().U64(0).ToArray(), "metadata count" },
        { "key count", new GgufBytes().Counts(0, ulong.MaxValue).ToArray(), "expected 18446744073709551615 keys" },
        { "tensor count", new GgufBytes().Counts(1UL << 60, 0).ToArray(), "expected 1152921504606846976 tensors" },
        { "key length", new GgufBytes().Counts(0, 1).U64(1UL << 62).Zeros(40).ToArray(), "expected 4611686018427387904 bytes" },
        { "long key", new GgufBytes().Counts(0, 1).Text(new string('k', 70000)).Zeros(40).ToArray(), "expected at most 65535 bytes" },
        { "string length", new GgufBytes().Counts(0, 1).Key("a", GgufValueType.String).U64(ulong.MaxValue).ToArray(), "value of a" },
        { "value type", new GgufBytes().Counts(0, 1).Key("a", (GgufValueType)13).Zeros(40).ToArray(), "found 13" },
        { "bool", new GgufBytes().Counts(0, 1).Key("a", GgufValueType.Bool).U8(2).ToArray(), "bool of 0 or 1, found 2" },
        { "twice", new GgufBytes().Counts(0, 2).Key("a", GgufValueType.UInt8).U8(2).Key("a", GgufValueType.UInt8).U8(2).ToArray(), "found it twice" },
        { "giant array", new GgufBytes().Counts(0, 1).Key("a", GgufValueType.Array).ArrayOf(GgufValueType.UInt64, 1UL << 61).Zeros(64).ToArray(), "expected an array of 2305843009213693952" },
        { "giant strings", new GgufBytes().Counts(0, 1).Key("a", GgufValueType.Array).ArrayOf(GgufValueType.String, 100).Zeros(64).ToArray(), "expected an array of 100" },
        { "deep array", Enumerable.Range(0, 10).Aggregate(new GgufBytes().Counts(0, 1).Key("a", GgufValueType.Array), (b, _) => b.ArrayOf(GgufValueType.Array, 1)).ToArray(), "nested" },
        { "alignment", new GgufBytes().Counts(0, 1).Key("general.alignment", GgufValueType.UInt32).U32(24).ToArray(), "power of two" },
        { "dimension count", new GgufBytes().Counts(1, 0).Tensor("w", [1, 1, 1, 1, 1], 0, 0).Zeros(99).ToArray(), "found 5" },
        { "no dimensions", new GgufBytes().Counts(1, 0).Tensor("w", [], 0, 0).Zeros(99).ToArray(), "found 0" },
        { "zero dimension", new GgufBytes().Counts(1, 0).Tensor("w", [0], 0, 0).Zeros(99).ToArray(), "dimension 0 = 0" },
        { "overflow", new GgufBytes().Counts(1, 0).Tensor("w", [1UL << 40, 1UL << 40], 0, 0).Zeros(99).ToArray(), "product below 2^63" },
        { "size", new GgufBytes().Counts(1, 0).Tensor("w", [1UL << 60], 0, 0).Pad().Zeros(99).ToArray(), "expected 4611686018427387904 bytes" },
        { "type", new GgufBytes().Counts(1, 0).Tensor("w", [1], 999, 0).Pad().Zeros(99).ToArray(), "found type 999" },
        { "ragged blocks", new GgufBytes().Counts(1, 0).Tensor("w", [33], 16, 0).Pad().Zeros(99).ToArray(), "whole blocks of 256" },
        { "offset alignment", new GgufBytes().Counts(1, 0).Tensor("w", [1], 0, 4).Pad().Zeros(99).ToArray(), "multiple of 32, found 4" },
        { "offset", new GgufBytes().Counts(1, 0).Tensor("w", [1], 0, ulong.MaxValue - 31).Pad().Zeros(99).ToArray(), "found a file of" },
        { "outside", new GgufBytes().Counts(1, 0).Tensor("w", [16], 0, 32).Pad().Zeros(64).ToArray(), "found 64 bytes of tensor data" },
        { "overlap", new GgufBytes().Counts(2, 0).Tensor("w", [16], 0, 0).Tensor("v", [1], 0, 32).Pad().Zeros(99).ToArray(), "overlap" },
        { "same name", new GgufBytes().Counts(2, 0).Tensor("w", [1], 0, 0).Tensor("w", [1], 0, 32).Pad().Zeros(99).ToArray(), "found it twice" },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void What_a_file_claims_and_does_not_hold_is_refused(string name, byte[] bytes, string expected)
    {
        var path = folder.Write("bad.gguf", bytes);
        var error = Assert.Throws<InvalidDataException>(() => GgufFile.Open(path));
        Assert.True(error.Message.Contains(expected, StringComparison.Ordinal), $"{name}: {error.Message}");
        Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }
}
