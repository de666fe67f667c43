using System.IO.Compression;
using System.Text;
using Hadal.Training.Data;
using Parquet;
using Parquet.Schema;

namespace Hadal.Training.Tests.Data;

public sealed class TextFilesTests : IDisposable
{
    private const string Lines = "{\"text\": \"The deep\\nsea\", \"n\": [1, {\"text\": \"not this\"}]}\n\n{\"n\": 1, \"text\": \"\\u6d77\"}\r\n{\"text\": \"\"}\n{\"text\": \"last\"}";
    private static readonly string[] Texts = ["The deep\nsea", "海", "last"];
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_txt_file_is_one_document() => Assert.Equal([(1L, "é\nb")], Read(folder.Write("a.txt", "\uFEFFé\nb")));

    [Fact]
    public void A_line_of_jsonl_is_one_document() => Assert.Equal([(1, Texts[0]), (3, Texts[1]), (5, Texts[2])], Read(folder.Write("a.jsonl", "\uFEFF" + Lines)));

    [Fact]
    public void Compressed_files_are_read_as_what_is_in_them()
    {
        using (var gz = new GZipStream(File.Create(folder.File("a.jsonl.gz")), CompressionLevel.Fastest))
            gz.Write(Encoding.UTF8.GetBytes(Lines));
        Assert.Equal(Texts, Read(folder.File("a.jsonl.gz")).Select(d => d.Text));
        Assert.Equal(Texts, Read(Zstd("a.jsonl.zst", Lines)).Select(d => d.Text));
        Assert.Equal(["x"], Read(Zstd("a.txt.zst", "x")).Select(d => d.Text));
    }

    [Fact]
    public void A_long_line_and_many_lines_are_read()
    {
        var random = new Random(1);
        var texts = Enumerable.Range(0, 400).Select(i => new string((char)('a' + (i % 26)), i == 200 ? 2_000_000 : random.Next(1, 3000))).ToList();
        Assert.Equal(texts, Read(folder.Write("a.jsonl", string.Concat(texts.Select(t => $"{{\"text\": \"{t}\"}}\n")))).Select(d => d.Text));
    }

    [Fact]
    public async Task A_row_of_parquet_is_one_document()
    {
        var field = new DataField<string>("content");
        var number = new DataField<int>("n");
        await using (var stream = File.Create(folder.File("a.parquet")))
        await using (var writer = await ParquetWriter.CreateAsync(new ParquetSchema(field, number), stream, cancellationToken: TestContext.Current.CancellationToken))
        {
            foreach (string?[] rows in new[] { ["a", null, "海"], new string?[] { "" , "d" } })
            {
                using var group = writer.CreateRowGroup();
                await group.WriteAsync(field, rows!);
                await group.WriteAsync<int>(number, Enumerable.Range(0, rows.Length).ToArray(), cancellationToken: TestContext.Current.CancellationToken);
                group.CompleteValidate();
            }
        }

        Assert.Equal([(1, "a"), (3, "海"), (5, "d")], Read(folder.File("a.parquet"), "content"));
        Assert.Contains("a.parquet: expected a column of strings \"text\", found content (strings), n (Int32)", Refused(folder.File("a.parquet")));
        var bytes = await File.ReadAllBytesAsync(folder.File("a.parquet"), TestContext.Current.CancellationToken);
        Assert.Contains("b.parquet: expected a parquet file", Refused(folder.Write("b.parquet", bytes.AsSpan(0, bytes.Length / 2))));
        Assert.Contains("c.parquet: expected a parquet file", Refused(folder.Write("c.parquet", "not parquet at all")));
    }

    [Theory]
    [InlineData("{\"text\": \"a\"}\nnot json", "line 2: expected JSON")]
    [InlineData("{\"text\": \"a\"", "line 1: expected JSON")]
    [InlineData("{\"text\": \"a\"} {}", "line 1: expected JSON")]
    [InlineData("\n\n{\"texts\": \"a\"}", "line 3: expected an object with \"text\", found none of that name")]
    [InlineData("{\"text\": 5}", "line 1: expected a string in \"text\", found Number")]
    [InlineData("[\"a\"]", "line 1: expected a JSON object, found StartArray")]
    [InlineData("{\"text\": \"\\ud83d\"}", "line 1: expected JSON")]
    public void A_malformed_line_is_named(string text, string message)
    {
        var error = Refused(folder.Write("a.jsonl", text));
        Assert.Contains($"a.jsonl: {message}", error);
        Assert.DoesNotContain('\n', error);
    }

    [Fact]
    public void Bytes_that_are_no_UTF8_are_named()
    {
        Assert.Contains("a.txt: line 2: expected UTF-8", Refused(folder.Write("a.txt", [0x41, 0x0A, 0xFF, 0x0A])));
        Assert.Contains("a.jsonl: line 1: expected JSON", Refused(folder.Write("a.jsonl", [.. "{\"text\": \""u8, 0xC3, .. "\"}"u8])));
    }

    [Fact]
    public void Damaged_compression_is_named()
    {
        var whole = File.ReadAllBytes(Zstd("a.jsonl.zst", string.Concat(Enumerable.Range(0, 9999).Select(i => $"{{\"text\": \"{i * 7919}\"}}\n"))));
        Assert.Contains("b.jsonl.zst: expected compressed text", Refused(folder.Write("b.jsonl.zst", whole.AsSpan(0, whole.Length / 2))));
        Assert.Contains("c.jsonl.zst: expected compressed text", Refused(folder.Write("c.jsonl.zst", Lines)));
        Assert.Contains("d.txt.gz: expected compressed text", Refused(folder.Write("d.txt.gz", Lines)));
    }

    [Fact]
    public void A_folder_stands_for_its_files_by_name()
    {
        Directory.CreateDirectory(folder.File("b"));
        string[] files = [folder.Write("a.jsonl", ""), folder.Write(Path.Combine("b", "c.txt"), ""), folder.Write("d.parquet", "")];
        folder.Write("notes.md", "");
        Assert.Equal(files, TextFiles.Expand([folder.Path]));
        Assert.Throws<IOException>(() => TextFiles.Expand([folder.Path, files[0]]));
        Assert.Throws<InvalidDataException>(() => TextFiles.Expand([folder.File("notes.md")]));
        Assert.Throws<FileNotFoundException>(() => TextFiles.Expand([folder.File("nothing.txt")]));
    }

    [Fact]
    public void Blocks_hold_every_document_once_and_say_how_far_they_are()
    {
        var files = new[] { folder.Write("a.jsonl", string.Concat(Enumerable.Range(0, 9000).Select(i => $"{{\"text\": \"{i} {new string('x', 300)}\"}}\n"))), folder.Write("b.txt", "end") };
        var blocks = TextFiles.Blocks(files, "text").ToList();
        Assert.Equal(9001, blocks.Sum(b => b.Documents.Count));
        Assert.InRange(blocks.Count, 3, 6);
        Assert.Equal(files.Sum(f => new FileInfo(f).Length), blocks[^1].FileBytesRead);
        Assert.Equal(blocks.Select(b => b.FileBytesRead).Order(), blocks.Select(b => b.FileBytesRead));
    }

    private static List<(long Number, string Text)> Read(string file, string field = "text") =>
        [.. TextFiles.Documents(file, field).Select(d => (d.Number, Encoding.UTF8.GetString(d.Utf8.Span)))];

    private static string Refused(string file) => Assert.Throws<InvalidDataException>(() => Read(file)).Message;

    private string Zstd(string name, string text)
    {
        using var compressor = new ZstdSharp.Compressor();
        return folder.Write(name, compressor.Wrap(Encoding.UTF8.GetBytes(text)));
    }
}
