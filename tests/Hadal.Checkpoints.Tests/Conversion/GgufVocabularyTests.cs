using Hadal.Checkpoints.Conversion;
using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Checkpoints.Tokenization;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;
using Hadal.Tests;

namespace Hadal.Checkpoints.Tests.Conversion;

public sealed class GgufVocabularyTests : IDisposable
{
    private readonly TempFolder folder = new();
    private readonly KernelThreads threads = new(1);

    public void Dispose()
    {
        threads.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void A_tokenizer_json_becomes_the_same_tokenizer_in_gguf()
    {
        WriteModel(129280, "\"eos_token_id\": [1, 128800]");
        foreach (var name in (string[])["tokenizer.json", "tokenizer_config.json"])
            File.Copy(SharedFiles.Path("data", "tokenizers", "deepseek-v3", name), folder.File(name));
        Convert("a.gguf");
        var json = Tokenizer.FromTokenizerJson(folder.File("tokenizer.json"));
        using var file = GgufFile.Open(folder.File("a.gguf"));
        var metadata = file.Metadata;
        var gguf = Tokenizer.FromGguf(metadata);
        Assert.Equal("deepseek-v3", metadata.GetString("tokenizer.ggml.pre"));
        Assert.Equal((129280, 129280, json.MergeCount), (metadata.ArrayLength("tokenizer.ggml.tokens"), metadata.ArrayLength("tokenizer.ggml.token_type"), metadata.ArrayLength("tokenizer.ggml.merges")));
        Assert.Equal((0, 1, 128800), (metadata.GetInt32("tokenizer.ggml.bos_token_id"), metadata.GetInt32("tokenizer.ggml.eos_token_id"), metadata.GetInt32("tokenizer.ggml.eot_token_id")));
        Assert.Equal((json.BosId, json.EosId, json.AddBos, json.ChatTemplate), (gguf.BosId, gguf.EosId, gguf.AddBos, gguf.ChatTemplate));
        var types = metadata.GetInt32s("tokenizer.ggml.token_type")!;
        Assert.Equal([3, 3], [types[0], types[json.TokenToId("<｜User｜>")!.Value]]);
        Assert.Equal((1, 5, "[PAD129279]"), (types[100], types[129279], metadata.GetStrings("tokenizer.ggml.tokens")![129279]));
        foreach (var text in (string[])["Hello, world! 12345", "你好，世界\n\n  def f(x):\n\treturn x", "<｜User｜>Hi<｜Assistant｜>", "naïve ﷺ 🤖 \r\n"])
            Assert.Equal(json.Encode(text), gguf.Encode(text));
        using var checkpoint = Checkpoint.Open(folder.File("a.gguf"));
        Assert.Equal([1, 128800], checkpoint.Config.EosTokenIds);

        // And from GGUF to GGUF the keys are the same bytes.
        GgufConversion.Run(checkpoint, folder.File("b.gguf"), new GgufConversionOptions { Type = WeightFormat.F32 }, threads, null, TestContext.Current.CancellationToken);
        Assert.Equal(File.ReadAllBytes(folder.File("a.gguf")), File.ReadAllBytes(folder.File("b.gguf")));
    }

    [Fact]
    public void A_tokenizer_larger_than_the_embedding_is_refused()
    {
        WriteModel(1000, "\"eos_token_id\": 1");
        File.Copy(SharedFiles.Path("data", "tokenizers", "deepseek-v3", "tokenizer.json"), folder.File("tokenizer.json"));
        Assert.Contains("expected ids below the vocabulary size 1000", Assert.Throws<InvalidDataException>(() => Convert("a.gguf")).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.File("a.gguf")));
    }

    [Fact]
    public void Without_a_tokenizer_the_file_says_so()
    {
        WriteModel(10, "\"eos_token_id\": 1, \"bos_token_id\": 0");
        var report = Convert("a.gguf");
        Assert.Contains("has no tokenizer.json", Assert.Single(report.Notes), StringComparison.Ordinal);
        using var file = GgufFile.Open(folder.File("a.gguf"));
        Assert.Equal(("none", 0, 1), (file.Metadata.GetString("tokenizer.ggml.model"), file.Metadata.GetInt32("tokenizer.ggml.bos_token_id"), file.Metadata.GetInt32("tokenizer.ggml.eos_token_id")));
    }

    private ConversionReport Convert(string name)
    {
        using var source = Checkpoint.Open(folder.Path);
        return GgufConversion.Run(source, folder.File(name), new GgufConversionOptions { Type = WeightFormat.F32, Name = "m" }, threads, null, TestContext.Current.CancellationToken);
    }

    private void WriteModel(int vocab, string more)
    {
        folder.Write("config.json", $$"""
            { "architectures": ["LlamaForCausalLM"], "vocab_size": {{vocab}}, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
              "tie_word_embeddings": true, {{more}} }
            """);
        (string Name, long[] Shape)[] tensors =
        [
            ("model.embed_tokens.weight", [vocab, 4]), ("model.norm.weight", [4]),
            .. ((string[])["input_layernorm", "post_attention_layernorm"]).Select(n => ($"model.layers.0.{n}.weight", (long[])[4])),
            .. ((string[])["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"]).Select(n => ($"model.layers.0.{n}_proj.weight", (long[])[4, 4])),
        ];
        SafetensorsWriter.WriteAll(folder.File("model.safetensors"), [.. tensors.Select(t =>
            (new SafetensorsEntry(t.Name, SafetensorsDtype.F32, t.Shape), (ReadOnlyMemory<byte>)new byte[sizeof(float) * t.Shape.Aggregate(1L, (a, b) => a * b)]))]);
    }
}
