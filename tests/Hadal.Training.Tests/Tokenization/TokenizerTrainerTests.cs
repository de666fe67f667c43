using System.Text;
using CsCheck;
using Hadal.Checkpoints.Tokenization;
using Hadal.Tests;
using Hadal.Training.Data;
using Hadal.Training.Tokenization;

namespace Hadal.Training.Tests.Tokenization;

public sealed class TokenizerTrainerTests
{
    private const string Small = """
        "The deep, deep sea!" said the whale.
        And then: "...the sea?!"

        12345 waves; 678 waves. 海は深い。海は青い。海は深い。 été, été
        ababababab aaaa aaaaaaa banana bandana
        """;

    // Few letters, so that pairs tie, overlap and come about in several ways.
    private static readonly string[] Bits = ["a", "b", "ab", "ba", "aa", " ", " a", ".\n", "\n", "1", "é", "海"];

    private static readonly Gen<string> Texts = Gen.Int[0, Bits.Length - 1].Array[0, 200].Select(picks => string.Concat(picks.Select(p => Bits[p])));

    [Fact]
    public void The_merges_are_those_of_counting_all_pairs_each_time() =>
        Gen.Select(Texts, Gen.Int[0, 60], Gen.Int[1, 3]).Sample((text, tokens, fewest) => AssertNaive([text, Small], 256 + tokens, fewest), iter: 60);

    [Fact]
    public void They_are_so_until_nothing_is_left_to_merge() => AssertNaive([Small], 10_000, 1);

    [Fact]
    public void The_result_does_not_depend_on_threads_or_on_a_run()
    {
        using var folder = new TempFolder();
        var random = new Random(1);
        var files = Enumerable.Range(0, 3).Select(f => folder.Write($"{f}.txt", string.Concat(Enumerable.Range(0, 60_000).Select(_ => (string[])["the ", "sea", " deep", "er.\n", "\n\n", "12", "é"]).Select(w => w[random.Next(w.Length)] + (char)('a' + random.Next(20)))))).ToArray();
        var first = Train(files, new() { VocabSize = 900, Threads = 1 }).Tokenizer;
        foreach (var threads in new[] { 2, 3, 7 })
        {
            var next = Train(files, new() { VocabSize = 900, Threads = threads }).Tokenizer;
            Assert.Equal(Merges(first), Merges(next));
        }
    }

    [Fact]
    public void With_little_memory_the_rarest_words_are_dropped_the_same_on_any_number_of_threads()
    {
        using var folder = new TempFolder();
        var random = new Random(2);
        var lines = Enumerable.Range(0, 50_000).Select(_ => $"{{\"text\": \"the sea {random.Next(100_000)} xq{(char)('a' + random.Next(26))}{(char)('a' + random.Next(26))}{(char)('a' + random.Next(26))} {new string('z', 20)}\"}}");
        var file = folder.Write("a.jsonl", string.Join('\n', lines));
        var options = new TokenizerTrainerOptions { VocabSize = 500, MostWords = 2000 };
        var one = Train([file], options with { Threads = 1 });
        var three = Train([file], options with { Threads = 3 });
        Assert.InRange(one.Words, 3, 2000);
        Assert.Equal(one.Words, three.Words);
        Assert.Equal(Merges(one.Tokenizer), Merges(three.Tokenizer));
        Assert.NotNull(one.Tokenizer.TokenToId("Ġsea"));
    }

    [Fact]
    public void Size_placeholders_and_added_tokens_are_as_asked()
    {
        using var folder = new TempFolder();
        var trained = Train([folder.Write("a.txt", Small)], new() { VocabSize = 330, Placeholders = 5, MinFrequency = 1 });
        var tokenizer = trained.Tokenizer;
        Assert.Equal((1, Encoding.UTF8.GetByteCount(Small)), (trained.Documents, trained.Bytes));
        Assert.Equal(330, tokenizer.VocabSize);
        Assert.Equal((0, 1), (tokenizer.BosId, tokenizer.EosId));
        Assert.Equal(2, tokenizer.TokenToId("<｜▁pad▁｜>"));
        Assert.Equal(330 - 15 - 5, tokenizer.TokenToId("<｜place▁holder▁no▁0｜>"));
        string[] names = ["<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>", "<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"];
        Assert.All(names, name => Assert.InRange(tokenizer.TokenToId(name)!.Value, 330 - 15, 329));
        Assert.Equal("deepseek-v3", tokenizer.PreTokenizerName);
    }

    [Fact]
    public void Punctuation_and_the_newlines_after_it_become_one_token()
    {
        using var folder = new TempFolder();
        var text = string.Concat(Enumerable.Repeat("It is deep.\n\nIt is blue.\n", 50));
        var tokenizer = Train([folder.Write("a.txt", text)], new() { VocabSize = 310, Placeholders = 0 }).Tokenizer;
        Assert.Single(tokenizer.Encode(".\n\n"));
        Assert.Single(tokenizer.Encode(".\n"));
    }

    [Fact]
    public void Any_text_comes_back_after_saving_and_reading()
    {
        using var folder = new TempFolder();
        var trained = Train([folder.Write("a.txt", Small)], new() { VocabSize = 400 }).Tokenizer;
        trained.Save(folder.Path);
        var read = Tokenizer.FromTokenizerJson(folder.Path);
        Gen.String.Sample(text =>
        {
            var whole = Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
            var ids = read.Encode(whole);
            return ids.SequenceEqual(trained.Encode(whole)) && read.Decode(ids) == whole;
        });
        for (var b = 0; b < 256; b++)
            Assert.Equal([(byte)b], read.DecodeBytes(read.TokenToId(ByteAlphabet.Spell((byte)b).ToString())!.Value).ToArray());
    }

    [Fact]
    public void Too_small_a_size_and_no_text_are_refused()
    {
        using var folder = new TempFolder();
        var file = folder.Write("a.txt", "x");
        Assert.Contains("at least 275", Assert.Throws<ArgumentException>(() => Train([file], new() { VocabSize = 270 })).Message);
        Assert.Contains("expected text, found none", Assert.Throws<InvalidDataException>(() => Train([folder.Write("b.txt", "")], new() { VocabSize = 300 })).Message);
    }

    [Fact]
    public void A_real_corpus_gives_longer_tokens_than_bytes()
    {
        var file = SharedFiles.Path("data", "corpus", "03_storyweaver_ccby.jsonl");
        var others = SharedFiles.Path("data", "corpus", "02_fairytales_public_domain.jsonl");
        var trained = Train([file], new() { VocabSize = 2048 });
        Assert.Equal(385, trained.Documents);
        var (documents, bytes, tokens) = TokenizerTrainer.Measure(trained.Tokenizer, TextFiles.Expand([others]), cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(277, documents);
        Assert.InRange((double)bytes / tokens, 2.5, 4.0);
    }

    private static TrainedTokenizer Train(IReadOnlyList<string> files, TokenizerTrainerOptions options) =>
        TokenizerTrainer.Train(files, options, null, TestContext.Current.CancellationToken);

    private static void AssertNaive(string[] texts, int tokens, int fewest)
    {
        var words = new WordCounts();
        var split = PreTokenizer.Create(PreTokenizerRegexes.DeepSeekV3);
        foreach (var text in texts)
            split.Split(Encoding.UTF8.GetBytes(text), words);
        var trainer = new PairTrainer(words);
        trainer.Run(tokens, fewest, null, CancellationToken.None);
        var expected = NaivePairTrainer.Train(texts, tokens, fewest);
        Assert.Equal(expected.Select(m => (Encoding.Latin1.GetString(m.Left), Encoding.Latin1.GetString(m.Right))), trainer.Merges.Select(m => (Encoding.Latin1.GetString(trainer.Tokens[m.Left]), Encoding.Latin1.GetString(trainer.Tokens[m.Right]))));
    }

    private static IEnumerable<(int, int)> Merges(Tokenizer tokenizer) => Enumerable.Range(0, tokenizer.MergeCount).Select(tokenizer.Merge);
}
