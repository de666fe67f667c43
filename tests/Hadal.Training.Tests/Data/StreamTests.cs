using CsCheck;
using Hadal.Checkpoints.Tokenization;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Data;

public sealed class StreamTests
{
    private const int Bos = 0, Eos = 1;

    private static readonly Tokenizer Tokenizer = Tokenizer.CreateByteLevel([("t", "h"), ("th", "e"), (".", "Ċ"), ("Ċ", "Ċ"), (".", "ĊĊ"), ("!", "Ċ")]);

    [Fact]
    public void A_random_order_has_every_place_once()
    {
        for (var n = 1; n < 300; n++)
            Assert.Equal(Enumerable.Range(0, n).Select(i => (long)i), Enumerable.Range(0, n).Select(i => new RandomOrder(n, 7, n)[i]).Order());
        Assert.NotEqual(Order(1), Order(2));
        Assert.Equal(Order(1), Order(1));

        static List<long> Order(long seed) => [.. Enumerable.Range(0, 100).Select(i => new RandomOrder(100, seed)[i])];
    }

    [Fact]
    public void A_random_order_favours_no_place()
    {
        // Where document 0 of 10 stands over 20,000 seeds: 2,000 each, give or take 5 standard deviations.
        var counts = new int[10];
        for (var seed = 0; seed < 20_000; seed++)
            counts[Enumerable.Range(0, 10).First(i => new RandomOrder(10, seed)[i] == 0)]++;
        Assert.All(counts, c => Assert.InRange(c, 1780, 2220));
    }

    [Fact]
    public void Every_document_comes_once_an_epoch_in_a_new_order()
    {
        var stream = new CorpusStream([new(Documents(20))], Tokenizer, new() { Seed = 3 });
        var epochs = Enumerable.Range(0, 3).Select(_ => Enumerable.Range(0, 20).Select(_ => Text(stream)).ToList()).ToList();
        Assert.All(epochs, e => Assert.Equal(Enumerable.Range(0, 20).Select(Name).Order(), e.Order()));
        Assert.NotEqual(epochs[0], epochs[1]);
        Assert.NotEqual(epochs[1], epochs[2]);
        Assert.Equal(3, stream.Epochs);
    }

    [Fact]
    public void Sources_keep_to_their_weights()
    {
        var stream = new CorpusStream([new(Documents(50), 3), new(Documents(1000, "b"), 1)], Tokenizer, new() { Seed = 3 });
        var tokens = new long[2];
        for (var i = 0; i < 4000; i++)
        {
            var text = new List<int>();
            stream.Next(text);
            tokens[Tokenizer.Decode([text[1]]) == "b" ? 1 : 0] += text.Count - 2;
        }

        Assert.InRange((double)tokens[0] / tokens[1], 2.99, 3.01);
    }

    [Fact]
    public void The_same_position_gives_the_same_text()
    {
        var options = new CorpusOptions { Seed = 5, FimRate = 0.5, PunctuationSplitRate = 0.5 };
        CorpusSource[] sources = [new(Documents(20)), new(Documents(30, "the sea.\n\n"), 0.5)];
        var stream = new CorpusStream(sources, Tokenizer, options);
        var positions = new List<CorpusPosition>();
        var texts = new List<List<int>>();
        for (var i = 0; i < 120; i++)
        {
            positions.Add(stream.Position);
            texts.Add([]);
            stream.Next(texts[^1]);
        }

        for (var i = 119; i >= 0; i -= 7)
        {
            var other = new CorpusStream(sources, Tokenizer, options) { Position = positions[i] };
            var text = new List<int>();
            other.Next(text);
            Assert.Equal(texts[i], text);
        }
    }

    [Fact]
    public void Filling_in_the_middle_keeps_the_text_and_its_rate()
    {
        var documents = Documents(4000, "été the sea.\n\n海 ");
        var stream = new CorpusStream([new(documents)], Tokenizer, new() { Seed = 5, FimRate = 0.1, Shuffle = false });
        var (begin, hole, end) = (Tokenizer.TokenToId("<｜fim▁begin｜>")!.Value, Tokenizer.TokenToId("<｜fim▁hole｜>")!.Value, Tokenizer.TokenToId("<｜fim▁end｜>")!.Value);
        var (turned, gaps) = (0, 0);
        for (var i = 0; i < 4000; i++)
        {
            var text = new List<int>();
            stream.Next(text);
            Assert.Equal((Bos, Eos), (text[0], text[^1]));
            var body = text[1..^1];
            var expected = "été the sea.\n\n海 " + i;
            if (!body.Contains(hole))
            {
                Assert.Equal(expected, Tokenizer.Decode([.. body]));
                continue;
            }

            turned++;
            Assert.Equal(begin, body[0]);
            var (at, then) = (body.IndexOf(hole), body.IndexOf(end));
            var (prefix, suffix, middle) = (Decode(body[1..at]), Decode(body[(at + 1)..then]), Decode(body[(then + 1)..]));
            Assert.Equal(expected, prefix + middle + suffix);
            gaps += middle.Length;
        }

        // 400 expected, standard deviation 19; a gap is a third of the text on average.
        Assert.InRange(turned, 305, 495);
        Assert.InRange((double)gaps / turned, 4, 9);

        static string Decode(List<int> ids) => Tokenizer.Decode([.. ids]);
    }

    [Fact]
    public void Joined_punctuation_is_split_at_its_rate_and_nothing_else_is()
    {
        var splits = new PunctuationSplits(Tokenizer);
        Assert.Equal(3, splits.Count);
        var whole = Tokenizer.Encode("the.\n\nsea.\n!\n\n\n.").ToList();
        var (joined, all) = (0, 0);
        for (var i = 0; i < 2000; i++)
        {
            var document = new List<int>(whole);
            var draws = new Draws(i);
            splits.Apply(document, 0.25, ref draws);
            Assert.Equal("the.\n\nsea.\n!\n\n\n.", Tokenizer.Decode([.. document]));
            joined += document.Count(id => Tokenizer.Decode([id]) is ".\n\n" or ".\n" or "!\n");
            all += whole.Count(id => Tokenizer.Decode([id]) is ".\n\n" or ".\n" or "!\n");
        }

        Assert.Equal(2, whole.Count(id => Tokenizer.Decode([id]) is ".\n\n" or ".\n"));
        Assert.InRange((double)joined / all, 0.70, 0.80);
    }

    [Fact]
    public void Batches_are_the_stream_cut_into_sequences_with_targets_one_ahead()
    {
        var batches = Batches(mask: false);
        var stream = new CorpusStream([new(Documents(20))], Tokenizer, new() { Seed = 3 });
        var text = new List<int>();
        while (text.Count < 500)
            stream.Next(text);
        var at = 0;
        foreach (var batch in Enumerable.Range(0, 5).Select(n => batches.Next(n + 1)))
        {
            Assert.Equal(text[at..(at + batch.Tokens.Length)], batch.Tokens);
            Assert.Equal(text[(at + 1)..(at + 1 + batch.Tokens.Length)], batch.Targets);
            at += batch.Tokens.Length;
            Assert.All(batch.DocumentStarts, s => Assert.Equal(0, s));
            Assert.Equal(Enumerable.Range(0, batch.Tokens.Length).Select(i => i % 13), batch.Positions);
            for (var i = 0; i < batch.Tokens.Length; i++)
                Assert.Equal(i % 13 == 0 ? 0 : batch.DocumentIds[i - 1] + (batch.Tokens[i] == Bos ? 1 : 0), batch.DocumentIds[i]);
        }
    }

    [Fact]
    public void Masked_batches_begin_positions_anew_and_score_no_border()
    {
        var plain = Batches(mask: false).Next(8);
        var masked = Batches(mask: true).Next(8);
        Assert.Equal(plain.Tokens, masked.Tokens);
        Assert.Equal(plain.DocumentIds, masked.DocumentIds);
        for (var i = 0; i < masked.Tokens.Length; i++)
        {
            var (row, column) = Math.DivRem(i, 13);
            var start = column;
            while (start > 0 && masked.DocumentIds[(row * 13) + start - 1] == masked.DocumentIds[i])
                start--;
            Assert.Equal(start, masked.DocumentStarts[i]);
            Assert.Equal(column - start, masked.Positions[i]);
            Assert.Equal(masked.Tokens[i] == Eos ? -1 : plain.Targets[i], masked.Targets[i]);
        }
    }

    [Fact]
    public void Batches_go_on_from_any_position() => Gen.Int[0, 40].Sample(
        steps =>
        {
            var straight = Batches(mask: false);
            for (var i = 0; i < steps; i++)
                straight.Next(1 + (i % 3));
            var resumed = Batches(mask: false);
            resumed.Position = System.Text.Json.JsonSerializer.Deserialize<BatchPosition>(System.Text.Json.JsonSerializer.Serialize(straight.Position))!;
            for (var i = 0; i < 5; i++)
            {
                var (a, b) = (straight.Next(2), resumed.Next(2));
                Assert.Equal(a.Tokens, b.Tokens);
                Assert.Equal(a.Targets, b.Targets);
                Assert.Equal(a.DocumentIds, b.DocumentIds);
            }

            return true;
        },
        iter: 40);

    private static PretrainingBatches Batches(bool mask) =>
        new(new CorpusStream([new(Documents(20))], Tokenizer, new() { Seed = 3 }), new() { SequenceLength = 13, MaskDocuments = mask });

    private static string Name(int index) => $"a{index}";

    private static DocumentsInMemory Documents(int count, string prefix = "a")
    {
        var documents = new DocumentsInMemory();
        for (var i = 0; i < count; i++)
            documents.Add(System.Text.Encoding.UTF8.GetBytes($"{prefix}{i}"), Tokenizer);
        return documents;
    }

    private static string Text(CorpusStream stream)
    {
        var text = new List<int>();
        stream.Next(text);
        Assert.Equal((Bos, Eos), (text[0], text[^1]));
        return Tokenizer.Decode([.. text[1..^1]]);
    }
}
