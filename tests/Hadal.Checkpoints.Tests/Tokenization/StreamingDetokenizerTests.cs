using System.Text;
using CsCheck;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Tests.Tokenization;

public sealed class StreamingDetokenizerTests
{
    /// <summary>Random tokens of a byte vocabulary: UTF-8 well-formed, cut, overlong, surrogates, all of it.</summary>
    [Fact]
    public void Pieces_put_together_are_the_whole_decoded_at_once()
    {
        var tokenizer = Tokenizer.CreateByteLevel(merges: [("â", "Ģ"), ("Ġ", "t"), ("ð", "Ł")]);
        byte[] telling = [0x41, 0x7F, 0x80, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF];
        var id = Gen.Frequency(
            (6, Gen.Int[0, telling.Length - 1].Select(i => telling[i] + 3)),
            (2, Gen.Int[0, tokenizer.VocabSize + 2]));
        var text = Gen.String.Select(t => tokenizer.Encode(t));
        Gen.Frequency((2, id.Array[0, 30]), (1, text)).Sample(
            ids =>
            {
                foreach (var skipSpecial in new[] { false, true })
                {
                    var stream = new StreamingDetokenizer(tokenizer, skipSpecial);
                    var parts = ids.Select(i => stream.Push(i)).ToList();
                    parts.Add(stream.Flush());
                    Assert.Equal(tokenizer.Decode(ids, skipSpecial), string.Concat(parts));
                    Assert.All(parts, p => Assert.True(p.Length == 0 || !char.IsLowSurrogate(p[0])));
                    // A stream that ended can begin again.
                    Assert.Equal(tokenizer.Decode(ids, skipSpecial), string.Concat(ids.Select(stream.Push).ToList()) + stream.Flush());
                }
            },
            iter: 10_000);
    }

    [Fact]
    public void A_character_comes_when_its_last_byte_does()
    {
        var tokenizer = Tokenizer.CreateByteLevel();
        var stream = new StreamingDetokenizer(tokenizer);
        Assert.Equal(["", "", "", "😀", "h"], tokenizer.Encode("😀h").Select(i => stream.Push(i)));
        Assert.Equal("", stream.Flush());
        Assert.Equal("", string.Concat(tokenizer.Encode("中").Take(2).Select(stream.Push)));
        Assert.Equal("\uFFFD", stream.Flush());
        Assert.Equal("a", stream.Push(tokenizer.Encode("a")[0]));
    }

    [Fact]
    public void Every_golden_text_streams_back()
    {
        var tokenizer = Tokenizers.V3;
        foreach (var line in Tokenizers.JsonLines(Tokenizers.V3File("cases-shared.jsonl")))
        {
            var stream = new StreamingDetokenizer(tokenizer);
            var text = new StringBuilder();
            foreach (var id in Tokenizers.Ids(line.GetProperty("ids")))
                text.Append(stream.Push(id));
            Assert.Equal(line.GetProperty("text").GetString(), text.ToString());
            Assert.Equal("", stream.Flush());
        }
    }
}
