using System.Text;
using CsCheck;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Tests.Tokenization;

/// <summary>Small tokenizers made in memory: merging, added tokens, writing and reading back.</summary>
public sealed class ByteLevelTests
{
    [Fact]
    public void Without_merges_every_byte_is_a_token()
    {
        var tokenizer = Tokenizer.CreateByteLevel();
        Assert.Equal(3 + 256 + 15, tokenizer.VocabSize);
        Assert.Equal([.. Encoding.UTF8.GetBytes("Aé\0").Select(b => b + 3)], tokenizer.Encode("Aé\0"));
        Assert.Equal([0, 'A' + 3], tokenizer.Encode("A", addBos: true));
        Assert.Equal("deepseek-v3", tokenizer.PreTokenizerName);
        Assert.Equal(tokenizer.TokenToId("<｜User｜>"), Assert.Single(tokenizer.Encode("<｜User｜>")));
        Assert.Equal("Ā", tokenizer.IdToToken(3));
    }

    /// <summary>The definition: again and again the pair of lowest rank, leftmost of equals.</summary>
    [Fact]
    public void Merging_follows_its_definition_whatever_the_length()
    {
        (string, string)[] merges = [("a", "b"), ("b", "a"), ("ab", "a"), ("a", "a"), ("aa", "aa"), ("c", "ab"), ("aba", "cab"), ("b", "b"), ("ba", "bb"), ("aaaa", "aaaa")];
        var tokenizer = Tokenizer.CreateByteLevel(merges);
        Gen.Int[0, 2].Select(i => "abc"[i]).Array[0, 400].Sample(letters =>
        {
            var text = new string(letters);
            var parts = text.Select(c => c.ToString()).ToList();
            while (true)
            {
                var pairs = Enumerable.Range(0, Math.Max(0, parts.Count - 1)).Select(i => (Rank: Array.IndexOf(merges, (parts[i], parts[i + 1])), At: i)).Where(m => m.Rank >= 0).ToList();
                if (pairs.Count == 0)
                    break;
                var at = pairs.Min().At;
                parts[at] += parts[at + 1];
                parts.RemoveAt(at + 1);
            }

            Assert.Equal(parts, tokenizer.Encode(text).Select(i => tokenizer.IdToToken(i)!));
        });
    }

    [Fact]
    public void A_tokenizer_written_and_read_again_is_the_same()
    {
        using var folder = new TempFolder();
        var tokenizer = Tokenizer.CreateByteLevel([("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("\"", "\\")], ["<think>"], "{{ 'a \"template\"' }}");
        tokenizer.Save(folder.Path);
        var read = Tokenizer.FromTokenizerJson(folder.Path);
        AssertSame(tokenizer, read);
        foreach (var text in new[] { " the the\n\"\\", "<think><｜User｜>x", "中文 123456" })
            Assert.Equal(tokenizer.Encode(text), read.Encode(text));
        Assert.Equal(["Ġthe"], read.Encode(" the").Select(i => read.IdToToken(i)!));
    }

    [Fact]
    public void DeepSeek_V3_written_and_read_again_is_the_same()
    {
        using var folder = new TempFolder();
        Tokenizers.V3.Save(folder.Path);
        var read = Tokenizer.FromTokenizerJson(folder.File("tokenizer.json"));
        AssertSame(Tokenizers.V3, read);
        foreach (var line in Tokenizers.JsonLines(Tokenizers.V3File("cases-shared.jsonl")))
            Assert.Equal(Tokenizers.Ids(line.GetProperty("ids")), read.Encode(line.GetProperty("text").GetString()));
    }

    [Fact]
    public void A_merge_of_what_is_no_token_is_refused()
    {
        var e = Assert.Throws<InvalidDataException>(() => Tokenizer.CreateByteLevel([("xy", "z")]));
        Assert.Contains("xy", e.Message);
    }

    [Fact]
    public void Ill_formed_UTF8_is_read_as_it_decodes()
    {
        var tokenizer = Tokenizer.CreateByteLevel();
        var ids = new List<int>();
        tokenizer.EncodeUtf8([0x41, 0xE2, 0x82, 0x42, 0xFF], ids, addBos: true);
        Assert.Equal([0, .. tokenizer.Encode("A\uFFFDB\uFFFD")], ids);
    }

    private static void AssertSame(Tokenizer expected, Tokenizer actual)
    {
        Assert.Equal(expected.VocabSize, actual.VocabSize);
        Assert.Equal(expected.AddedTokens, actual.AddedTokens);
        Assert.Equal(expected.MergeCount, actual.MergeCount);
        Assert.Equal(expected.BosId, actual.BosId);
        Assert.Equal(expected.EosId, actual.EosId);
        Assert.Equal(expected.AddBos, actual.AddBos);
        Assert.Equal(expected.ChatTemplate, actual.ChatTemplate);
        Assert.Equal(expected.PreTokenizerName, actual.PreTokenizerName);
        for (var id = 0; id < expected.VocabSize; id++)
            Assert.Equal(expected.IdToToken(id), actual.IdToToken(id));
        for (var rank = 0; rank < expected.MergeCount; rank++)
            Assert.Equal(expected.Merge(rank), actual.Merge(rank));
    }
}
