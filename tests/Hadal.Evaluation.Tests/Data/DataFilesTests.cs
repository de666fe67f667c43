using Hadal.Evaluation.Data;

namespace Hadal.Evaluation.Tests.Data;

/// <summary>The formats of published data, and what is wrong with items: one line that names file, item, field, expected and found.</summary>
public sealed class DataFilesTests
{
    [Fact]
    public void CsvFollowsRfc4180()
    {
        var rows = DataFiles.Csv("f", "a,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\r\n,last\n").ToList();
        Assert.Equal([("x, \"y\"", "two\nlines"), (string.Empty, "last")], rows.Select(r => (r.Text("a"), r.Text("b"))));
        Assert.Equal("5' 3\" tall", DataFiles.Csv("f", "5' 3\" tall,b", header: ["a", "b"]).Single().Text("a"));
        Assert.Throws<InvalidDataException>(() => DataFiles.Csv("f", "a,b\n\"open").ToList());
        Assert.Equal("f: item 1: expected 2 fields, found 1", Assert.Throws<InvalidDataException>(() => DataFiles.Csv("f", "a,b\nx\n").ToList()).Message);
    }

    [Theory]
    [InlineData("{\"label\": \"E\"}", "f: item 4: 'label': expected one of 4 options, by letter or number, found \"E\"")]
    [InlineData("{\"other\": 1}", "f: item 4: expected a field 'label', found other")]
    [InlineData("{\"label\": [1]}", "f: item 4: 'label': expected a text, found [1]")]
    [InlineData("[1]", "f: item 4: expected a JSON object, found Array")]
    public void WrongItemsAreNamed(string line, string expected) =>
        Assert.Equal(expected, Assert.Throws<InvalidDataException>(() => DataRow.Parse("f", 4, line).Option("label", 4)).Message);

    [Theory]
    [InlineData("['a', 'b']", new[] { "a", "b" })]
    [InlineData("[\"it's\", 'x\\'y', 'tab\\t', '\\u6df1']", new[] { "it's", "x'y", "tab\t", "深" })]
    [InlineData("[1, 2.5]", new[] { "1", "2.5" })]
    [InlineData("[]", new string[0])]
    [InlineData("['a' 'b']", null)]
    [InlineData("['open]", null)]
    [InlineData("__import__('os')", null)]
    [InlineData("[f('x')]", null)]
    public void PythonListsAreReadAndNothingIsEvaluated(string literal, string[]? expected) => Assert.Equal(expected, PythonLiteral.Texts(literal));

    [Fact]
    public void PicklesOfOneTextAreRead()
    {
        Assert.Equal("[{\"input\": \"1\", \"output\": \"x\"}]", PickledText.Unpack(Pickle("[{\"input\": \"1\", \"output\": \"x\"}]")));
        Assert.Null(PickledText.Unpack("not base64"));
        Assert.Null(PickledText.Unpack(Convert.ToBase64String([1, 2, 3])));
    }

    private static string Pickle(string text)
    {
        var bytes = System.Text.Encoding.UTF8.GetBytes(text);
        using var packed = new MemoryStream();
        using (var deflate = new System.IO.Compression.ZLibStream(packed, System.IO.Compression.CompressionLevel.Fastest, leaveOpen: true))
            deflate.Write([0x80, 4, 0x95, .. BitConverter.GetBytes((long)bytes.Length + 4), 0x8C, (byte)bytes.Length, .. bytes, 0x94, (byte)'.']);
        return Convert.ToBase64String(packed.ToArray());
    }
}
