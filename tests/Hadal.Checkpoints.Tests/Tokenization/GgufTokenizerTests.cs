using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tokenization;
using Hadal.Tests;

namespace Hadal.Checkpoints.Tests.Tokenization;

/// <summary>The vocabularies inside llama.cpp's GGUF files against the ids llama.cpp records for them.</summary>
public sealed class GgufTokenizerTests
{
    [Theory]
    [InlineData("deepseek-llm", 102400)]
    [InlineData("deepseek-coder", 32256)]
    public void Every_case_of_llama_cpp_is_exact(string name, int vocabulary)
    {
        var path = SharedFiles.Path("data", "tokenizers", "llama.cpp", $"ggml-vocab-{name}.gguf");
        using var gguf = GgufFile.Open(path);
        var tokenizer = Tokenizer.FromGguf(gguf.Metadata);
        Assert.Equal(name, tokenizer.PreTokenizerName);
        Assert.Equal(vocabulary, tokenizer.VocabSize);
        // A separator stands after the last text, too.
        var texts = File.ReadAllText(path + ".inp").Split("\n__ggml_vocab_test__\n")[..^1];
        var ids = File.ReadAllLines(path + ".out").Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse).ToArray()).ToArray();
        Assert.Equal(texts.Length, ids.Length);
        Assert.True(ids.Length > 40);
        for (var i = 0; i < ids.Length; i++)
        {
            Assert.Equal(ids[i], tokenizer.Encode(texts[i]));
            Assert.Equal(texts[i], tokenizer.Decode(ids[i]));
        }
    }

    [Theory]
    [InlineData("deepseek-llm")]
    [InlineData("deepseek-coder")]
    public void Text_of_every_kind_comes_back(string name)
    {
        using var gguf = GgufFile.Open(SharedFiles.Path("data", "tokenizers", "llama.cpp", $"ggml-vocab-{name}.gguf"));
        var tokenizer = Tokenizer.FromGguf(gguf.Metadata);
        foreach (var line in Tokenizers.JsonLines(Tokenizers.V3File("cases-shared.jsonl")))
        {
            var text = line.GetProperty("text").GetString()!;
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text, parseSpecial: false)));
        }
    }
}
