using System.Text;
using Hadal.Checkpoints.Tokenization;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Data;

public sealed class ShardTests : IDisposable
{
    private static readonly Tokenizer Tokenizer = Tokenizer.CreateByteLevel([("t", "h"), ("th", "e"), ("Ġ", "the"), (".", "Ċ")]);
    private readonly TempFolder folder = new();
    private readonly string[] files;

    public ShardTests()
    {
        var random = new Random(1);
        string Document() => string.Concat(Enumerable.Range(0, random.Next(0, 60)).Select(_ => ((string[])[" the", "sea", ".\\n", "é"])[random.Next(4)]));
        files = [.. Enumerable.Range(0, 3).Select(f => folder.Write($"{f}.jsonl", string.Concat(Enumerable.Range(0, 700).Select(_ => $"{{\"text\": \"{Document()}\"}}\n"))))];
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Shards_hold_the_ids_of_every_document_in_order()
    {
        var manifest = Build("out", 5000);
        using var shards = TokenShards.Open(folder.File("out"));
        var texts = files.SelectMany(f => TextFiles.Documents(f)).ToList();
        Assert.Equal((texts.Count, texts.Sum(t => (long)t.Utf8.Length)), (shards.Count, manifest.Bytes));
        Assert.InRange(manifest.Shards.Count, 3, 100);
        Assert.Equal(TokenizerHash.Of(Tokenizer), manifest.TokenizerSha256);
        var all = 0L;
        for (var i = 0; i < texts.Count; i++)
        {
            List<int> expected = [], found = [];
            Tokenizer.EncodeUtf8(texts[i].Utf8.Span, expected, parseSpecial: false);
            Assert.Equal(expected.Count, shards.Append(i, found));
            Assert.Equal(expected, found);
            all += found.Count;
        }

        Assert.Equal(all, shards.Tokens);
        shards.Verify(Cancellation);
    }

    [Fact]
    public void A_wide_vocabulary_is_stored_in_32_bits()
    {
        var wide = Tokenizer.CreateByteLevel(placeholders: 70_000);
        ShardBuilder.Run([files[0]], wide, folder.File("wide"), new(), null, Cancellation);
        using var shards = TokenShards.Open(folder.File("wide"));
        shards.Verify(Cancellation);
        List<int> ids = [];
        shards.Append(0, ids);
        Assert.Equal(Encoding.UTF8.GetString(TextFiles.Documents(files[0]).First().Utf8.Span), wide.Decode([.. ids]));
    }

    [Fact]
    public void Threads_make_no_difference()
    {
        Build("one", 5000, threads: 1);
        Build("four", 5000, threads: 4);
        AssertSame("one", "four");
    }

    [Fact]
    public void An_interrupted_run_goes_on_where_its_last_shard_ended()
    {
        Build("straight", 5000);
        var shards = Directory.GetFiles(folder.File("straight"), "*.safetensors").Length;
        for (var stop = 1; stop < shards; stop++)
        {
            using var source = new CancellationTokenSource();
            var (name, at) = ($"stop{stop}", stop);
            var watch = new Watch(() =>
            {
                if (Directory.Exists(folder.File(name)) && Directory.GetFiles(folder.File(name), "*.safetensors").Length >= at)
                    source.Cancel();
            });
            try
            {
                ShardBuilder.Run(files, Tokenizer, folder.File(name), new() { ShardTokens = 5000, Threads = 1 }, watch, source.Token);
            }
            catch (OperationCanceledException)
            {
                Assert.Contains("interrupted run", Assert.Throws<FileNotFoundException>(() => TokenShards.Open(folder.File(name))).Message);
                Build(name, 5000);
            }

            AssertSame("straight", name);
        }
    }

    [Fact]
    public void Half_a_shard_left_behind_is_written_anew()
    {
        Build("straight", 5000);
        Directory.CreateDirectory(folder.File("killed"));
        folder.Write(Path.Combine("killed", "shard-00000.safetensors"), "half");
        folder.Write(Path.Combine("killed", "shard-00000.safetensors.partial"), "half");
        Build("killed", 5000);
        AssertSame("straight", "killed");
    }

    [Fact]
    public void Finished_shards_and_those_of_other_work_are_left_alone()
    {
        Build("out", 5000);
        Assert.Contains("finished shards already", Assert.Throws<IOException>(() => Build("out", 5000)).Message);
        Directory.Move(folder.File("out"), folder.File("begun"));
        File.Move(folder.File("begun/manifest.json"), folder.File("begun/progress.json"));
        Assert.Contains("other options", Assert.Throws<IOException>(() => Build("begun", 6000)).Message);
        Assert.Contains("another tokenizer", Assert.Throws<IOException>(() => ShardBuilder.Run(files, Tokenizer.CreateByteLevel(), folder.File("begun"), new() { ShardTokens = 5000 }, null, Cancellation)).Message);
    }

    [Fact]
    public void Damage_is_named()
    {
        Build("out", 5000);
        var shard = folder.File("out/shard-00001.safetensors");
        var whole = File.ReadAllBytes(shard);
        whole[^3000] ^= 1;
        File.WriteAllBytes(shard, whole);
        using (var shards = TokenShards.Open(folder.File("out")))
            Assert.Contains("shard-00001.safetensors: expected sha256", Assert.Throws<InvalidDataException>(() => shards.Verify(Cancellation)).Message);
        File.WriteAllBytes(shard, whole.AsSpan(0, whole.Length - 2));
        Assert.Throws<InvalidDataException>(() => TokenShards.Open(folder.File("out")));
        File.WriteAllText(folder.File("out/manifest.json"), File.ReadAllText(folder.File("out/manifest.json")).Replace("\"format\"", "\"fomat\""));
        Assert.Contains("manifest.json", Assert.Throws<InvalidDataException>(() => TokenShards.Open(folder.File("out"))).Message);
    }

    [Fact]
    public void A_malformed_line_stops_the_run_with_its_number()
    {
        File.AppendAllText(files[1], "oops\n");
        Assert.Contains("1.jsonl: line 701: expected JSON", Assert.Throws<InvalidDataException>(() => Build("out", 5000)).Message);
    }

    private ShardManifest Build(string name, int tokens, int threads = 2) =>
        ShardBuilder.Run(files, Tokenizer, folder.File(name), new() { ShardTokens = tokens, Threads = threads }, null, Cancellation);

    private void AssertSame(string expected, string actual)
    {
        var names = Directory.GetFiles(folder.File(expected)).Select(Path.GetFileName).Order().ToList();
        Assert.Equal(names, Directory.GetFiles(folder.File(actual)).Select(Path.GetFileName).Order().Where(n => !n!.EndsWith(".partial")));
        Assert.All(names, n => Assert.Equal(File.ReadAllBytes(folder.File($"{expected}/{n}")), File.ReadAllBytes(folder.File($"{actual}/{n}"))));
    }

    private sealed class Watch(Action act) : IProgress<ShardProgress>
    {
        public void Report(ShardProgress value) => act();
    }
}
