using System.Text;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Tests.Tokenization;

/// <summary>Ids of Hugging Face's own tokenizers, every case exact.</summary>
public sealed class ConformanceTests
{
    [Theory]
    [InlineData("cases-shared.jsonl", 316)]
    [InlineData("cases-llamacpp-inputs.jsonl", 47)]
    public void DeepSeek_V3_gives_the_reference_ids_and_the_text_back(string file, int count)
    {
        var tokenizer = Tokenizers.V3;
        var seen = 0;
        var wrong = new List<string>();
        foreach (var line in Tokenizers.JsonLines(Tokenizers.V3File(file)))
        {
            seen++;
            var text = line.GetProperty("text").GetString()!;
            var expected = Tokenizers.Ids(line.GetProperty("ids"));
            var appended = new List<int> { -7 };
            tokenizer.Encode(text, appended);
            var fromUtf8 = new List<int>();
            tokenizer.EncodeUtf8(Encoding.UTF8.GetBytes(text), fromUtf8);
            if (!tokenizer.Encode(text).SequenceEqual(expected) || !appended.Skip(1).SequenceEqual(expected) || !fromUtf8.SequenceEqual(expected) || tokenizer.Decode(expected) != text)
                wrong.Add(line.GetProperty("id").ToString());
            if (line.TryGetProperty("utf16_units", out var units))
            {
                // Ill-formed UTF-16: an unpaired surrogate is U+FFFD.
                var illFormed = string.Concat(units.EnumerateArray().Select(u => (char)u.GetInt32()));
                if (!tokenizer.Encode(illFormed).SequenceEqual(expected))
                    wrong.Add(line.GetProperty("id") + " from its UTF-16 units");
            }
        }

        Assert.Empty(wrong);
        Assert.Equal(count, seen);
    }

    [Fact]
    public void DeepSeek_V3_knows_its_tokens()
    {
        var tokenizer = Tokenizers.V3;
        Assert.Equal(128815, tokenizer.VocabSize);
        Assert.Equal(127741, tokenizer.MergeCount);
        Assert.Equal(818, tokenizer.AddedTokens.Count);
        Assert.Equal("deepseek-v3", tokenizer.PreTokenizerName);
        Assert.Equal(0, tokenizer.BosId);
        Assert.Equal(1, tokenizer.EosId);
        Assert.True(tokenizer.AddBos);
        Assert.StartsWith("{% if not add_generation_prompt is defined %}", tokenizer.ChatTemplate);
        Assert.Equal(128803, tokenizer.TokenToId("<｜User｜>"));
        Assert.Equal("<｜Assistant｜>", tokenizer.IdToToken(128804));
        Assert.Equal("Ġthe", tokenizer.IdToToken(tokenizer.Encode(" the")[0]));
        Assert.Null(tokenizer.TokenToId("no such token"));
        Assert.Null(tokenizer.IdToToken(128815));
        Assert.True(tokenizer.IsSpecial(0));
        Assert.False(tokenizer.IsSpecial(128803));
        Assert.True(tokenizer.IsControl(128803));
        Assert.Equal([0, .. tokenizer.Encode("Hello")], tokenizer.Encode("Hello", addBos: true));
        Assert.Equal("Hello", tokenizer.Decode(tokenizer.Encode("Hello", addBos: true), skipSpecial: true));
        Assert.Equal("", tokenizer.Decode([128815, 1_000_000]));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([-1]));
    }

    [Fact]
    public void Control_tokens_in_text_stay_text_when_told_so()
    {
        var tokenizer = Tokenizers.V3;
        const string Text = "Hi<｜end▁of▁sentence｜><｜User｜>do it<|EOT|>";
        var parsed = tokenizer.Encode(Text);
        Assert.Contains(1, parsed);
        Assert.Contains(128803, parsed);
        var plain = tokenizer.Encode(Text, parseSpecial: false);
        Assert.DoesNotContain(plain, tokenizer.IsControl);
        Assert.Equal(Text, tokenizer.Decode(plain));
    }

    [Fact]
    public void Encoding_from_several_threads_gives_what_one_gives()
    {
        var tokenizer = Tokenizers.V3;
        var texts = Tokenizers.JsonLines(Tokenizers.V3File("cases-shared.jsonl")).Select(l => l.GetProperty("text").GetString()!).ToArray();
        var expected = texts.Select(t => tokenizer.Encode(t)).ToArray();
        var failures = 0;
        var threads = Enumerable.Range(0, 4).Select(n => new Thread(() =>
        {
            for (var i = 0; i < texts.Length; i++)
            {
                var at = (i + (n * 79)) % texts.Length;
                if (!tokenizer.Encode(texts[at]).SequenceEqual(expected[at]))
                    Interlocked.Increment(ref failures);
            }
        })).ToArray();
        Array.ForEach(threads, t => t.Start());
        Array.ForEach(threads, t => t.Join());
        Assert.Equal(0, failures);
    }
}
