using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Tests.Gguf;

public sealed class GgufCheckpointTests : IDisposable
{
    private static readonly GgufEntry Embedding = new("token_embd.weight", WeightFormat.F32, [4, 8]);
    private static readonly GgufEntry Head = new("output.weight", WeightFormat.F32, [4, 8]);

    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void An_old_v3_file_takes_defaults_and_says_what_it_assumes()
    {
        // As converters wrote them at the beginning of 2025: attn_kv_b, no groups.
        var config = Config(Old(), Embedding, Head);
        Assert.Equal((Architecture.DeepseekV3, 61, 256, 8, 4), (config.Architecture, config.NumHiddenLayers, config.NRoutedExperts, config.NGroup, config.TopkGroup));
        Assert.Equal((1536, 512, 128, 64, 128), (config.QLoraRank, config.KvLoraRank, config.QkNopeHeadDim, config.QkRopeHeadDim, config.VHeadDim));
        Assert.Equal((ScoringFunc.Sigmoid, TopkMethod.NoauxTc, true, 2.5), (config.ScoringFunc, config.TopkMethod, config.NormTopkProb, config.RoutedScalingFactor));
        Assert.Equal((4, 8, 10000.0, 1e-6, false, 0), (config.VocabSize, config.HiddenSize, config.RopeTheta, config.RmsNormEps, config.TieWordEmbeddings, config.NumNextnPredictLayers));
        Assert.Equal(new YarnScaling { Factor = 40, BetaFast = 32, BetaSlow = 1, Mscale = 1, MscaleAllDim = 1, OriginalMaxPositionEmbeddings = 4096 }, config.RopeScaling);
        Assert.Contains("expert_group_count is absent; 256 experts in 61 layers", Assert.Single(config.Assumptions), StringComparison.Ordinal);
    }

    [Fact]
    public void Groups_in_the_file_are_used_and_other_shapes_are_not_guessed()
    {
        var said = Config(With(Old(), ("expert_group_count", 16), ("expert_group_used_count", 2)), Embedding, Head);
        Assert.Equal((16, 2, 0), (said.NGroup, said.TopkGroup, said.Assumptions.Count));
        var one = Config(With(Old(), ("expert_group_count", 1), ("expert_group_used_count", 1)), Embedding, Head);
        Assert.Equal((1, 1, 0), (one.NGroup, one.TopkGroup, one.Assumptions.Count));
        var other = Config(With(Old(), ("block_count", 60)), Embedding, Head);
        Assert.Equal((1, 1, 0), (other.NGroup, other.TopkGroup, other.Assumptions.Count));
        var v2 = Config(With(Old(), ("block_count", 60), ("expert_count", 160), ("expert_used_count", 6), ("expert_gating_func", 1)), Embedding, Head);
        Assert.Equal((Architecture.DeepseekV2, TopkMethod.GroupLimitedGreedy, 8, 3, 1), (v2.Architecture, v2.TopkMethod, v2.NGroup, v2.TopkGroup, v2.Assumptions.Count));
    }

    [Fact]
    public void The_absorbed_layout_and_mtp_modules_are_told_by_their_keys()
    {
        var config = Config(With(Old(), ("block_count", 62), ("nextn_predict_layers", 1), ("attention.head_count_kv", 1), ("attention.key_length", 576), ("attention.value_length", 512), ("attention.key_length_mla", 192), ("attention.value_length_mla", 128)), Embedding);
        Assert.Equal((61, 128, 64, 128, true), (config.NumHiddenLayers, config.QkNopeHeadDim, config.QkRopeHeadDim, config.VHeadDim, config.TieWordEmbeddings));
        Assert.Equal(0, config.NumNextnPredictLayers);
        Assert.Contains(config.Assumptions, text => text.Contains("the file holds 0 MTP modules", StringComparison.Ordinal));
    }

    [Fact]
    public void Defaults_are_llama_cpps()
    {
        var config = Config(Without(Old(), "expert_gating_func", "expert_weights_norm", "expert_weights_scale", "rope.freq_base", "rope.scaling.original_context_length", "vocab_size", "attention.q_lora_rank", "leading_dense_block_count"), Embedding, Head);
        Assert.Equal((ScoringFunc.Softmax, false, 1.0, 10000.0, 163840, 4, null, 0), (config.ScoringFunc, config.NormTopkProb, config.RoutedScalingFactor, config.RopeTheta, config.RopeScaling!.OriginalMaxPositionEmbeddings, config.VocabSize, config.QLoraRank, config.FirstKDenseReplace));
        var plain = Config(Without(Old(), "rope.scaling.yarn_log_multiplier"), Embedding, Head);
        Assert.Equal((1.0, 0.0), (plain.RopeScaling!.Mscale, plain.RopeScaling.MscaleAllDim));
        Assert.Contains(plain.Assumptions, text => text.Contains("yarn_log_multiplier is absent", StringComparison.Ordinal));
        var lite = Config(With(Old(), ("rope.scaling.yarn_log_multiplier", 0.0707f)), Embedding, Head);
        Assert.Equal((0.707, 0.707), (lite.RopeScaling!.Mscale, lite.RopeScaling.MscaleAllDim));
    }

    [Theory]
    [InlineData("general.architecture", "qwen2", "expected llama or deepseek2, found qwen2")]
    [InlineData("block_count", null, "deepseek2.block_count: expected an integer from 1 to 4096, found no such metadata key")]
    [InlineData("block_count", 1 << 20, "deepseek2.block_count")]
    [InlineData("attention.kv_lora_rank", null, "deepseek2.attention.kv_lora_rank")]
    [InlineData("attention.key_length", 64, "deepseek2.attention.key_length: expected more than the 64 rotated dimensions, found 64")]
    [InlineData("attention.head_count_kv", 1, "deepseek2.attention.key_length_mla")]
    [InlineData("rope.dimension_count", 63, "deepseek2.rope.dimension_count: expected an even number")]
    [InlineData("rope.scaling.type", "longrope", "deepseek2.rope.scaling.type: expected none, linear or yarn, found longrope")]
    [InlineData("rope.scaling.type", "linear", "deepseek2.rope.scaling.factor: expected 1")]
    [InlineData("rope.scaling.yarn_attn_factor", 0.5f, "yarn_attn_factor: expected 1, found 0.5")]
    [InlineData("expert_gating_func", 4, "deepseek2.expert_gating_func: expected 1 (softmax) or 2 (sigmoid), found 4")]
    [InlineData("expert_group_count", 7, "deepseek2.expert_group_used_count")]
    [InlineData("expert_used_count", 257, "deepseek2.expert_used_count: expected an integer from 1 to 256, found 257")]
    [InlineData("embedding_length", "8", "deepseek2.embedding_length: expected an integer, found String")]
    [InlineData("nextn_predict_layers", 61, "deepseek2.nextn_predict_layers: expected an integer from 0 to 16")]
    [InlineData("tokenizer.ggml.eos_token_id", 4, "tokenizer.ggml.eos_token_id: expected an id below the vocabulary size 4, found 4")]
    [InlineData("split.count", 3, "split.no")]
    public void A_key_that_is_missing_or_asks_for_too_much_is_named(string key, object? value, string expected)
    {
        var keys = value is null ? Without(Old(), key) : With(Old(), (key, value));
        var error = Assert.Throws<InvalidDataException>(() => Config(keys, Embedding, Head)).Message;
        Assert.StartsWith(folder.File("m.gguf"), error, StringComparison.Ordinal);
        Assert.Contains(expected, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("blk.0.attn_q.bias", new long[] { 8 }, "no place for")]
    [InlineData("rope_freqs.weight", new long[] { 8 }, "no place for")]
    [InlineData("blk.00.attn_norm.weight", new long[] { 8 }, "no place for")]
    [InlineData("blk.61.attn_norm.weight", new long[] { 8 }, "expected layers below block_count 61, found layer 61")]
    [InlineData("blk.5.ffn_up_exps.weight", new long[] { 255, 1, 8 }, "expected shape [256, rows, columns], found [255, 1, 8]")]
    [InlineData("blk.5.ffn_gate_up_exps.weight", new long[] { 256, 3, 8 }, "expected shape [256, rows, columns]")]
    public void A_tensor_without_a_place_is_refused(string name, long[] shape, string expected) =>
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => Config(Old(), Embedding, Head, new GgufEntry(name, WeightFormat.F32, shape))).Message, StringComparison.Ordinal);

    [Fact]
    public void Merged_gate_and_up_projections_are_sliced()
    {
        Write(With(Old(), ("expert_count", 2), ("expert_used_count", 1), ("block_count", 3)), Embedding, Head, new GgufEntry("blk.1.ffn_gate_up_exps.weight", WeightFormat.F32, [2, 2, 8]));
        using var checkpoint = Checkpoint.Open(folder.File("m.gguf"));
        var row = new float[8];
        var first = 0f;
        foreach (var name in (string[])["0.gate_proj", "0.up_proj", "1.gate_proj", "1.up_proj"])
        {
            checkpoint.Matrix($"model.layers.1.mlp.experts.{name}.weight", 1, 8).DecodeRow(0, row);
            Assert.Equal(Enumerable.Range(0, 8).Select(i => 64 + first + i), row);
            first += 8;
        }
    }

    [Fact]
    public void A_whole_up_projection_is_preferred_to_its_copy()
    {
        var copy = new GgufEntry("blk.0.attn_k_b.weight", WeightFormat.F32, [2, 4]);
        Write(Old(), Embedding, Head, new GgufEntry("blk.0.attn_kv_b.weight", WeightFormat.F32, [6, 8]), copy);
        using (var both = Checkpoint.Open(folder.File("m.gguf")))
            Assert.Equal((true, false), (both.Contains("model.layers.0.self_attn.kv_b_proj.weight"), both.Contains("model.layers.0.self_attn.k_b_proj.weight")));
        File.Delete(folder.File("m.gguf"));
        Write(Old(), Embedding, Head, copy);
        using var alone = Checkpoint.Open(folder.File("m.gguf"));
        Assert.True(alone.Contains("model.layers.0.self_attn.k_b_proj.weight"));
        var error = Assert.Throws<InvalidDataException>(() => alone.Matrix("model.layers.0.self_attn.kv_b_proj.weight", 6, 8)).Message;
        Assert.Contains("blk.0.attn_kv_b.weight: expected shape [6, 8] for model.layers.0.self_attn.kv_b_proj.weight, found no such tensor", error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_split_model_is_one_model()
    {
        Write(With(Old(), ("split.no", 0), ("split.count", 2)), "m-00001-of-00002.gguf", Embedding);
        var missing = Assert.Throws<InvalidDataException>(() => Checkpoint.Open(folder.File("m-00001-of-00002.gguf"))).Message;
        Assert.Contains("expected the file m-00002-of-00002.gguf beside it, found none", missing, StringComparison.Ordinal);
        Write([("split.no", 1), ("split.count", 2)], "m-00002-of-00002.gguf", Head);
        using var checkpoint = Checkpoint.Open(folder.File("m-00001-of-00002.gguf"));
        Assert.Equal(["model.embed_tokens.weight", "lm_head.weight"], checkpoint.Tensors.Select(t => t.Name));
        Assert.Contains("split.no: expected the first file of the split", Assert.Throws<InvalidDataException>(() => Checkpoint.Open(folder.File("m-00002-of-00002.gguf"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Formats_that_are_not_computed_are_refused_by_name()
    {
        var bytes = new GgufBytes().Counts(1, 0).Tensor("token_embd.weight", [256, 4], 16, 0).Pad().Zeros(4 * 66).ToArray();
        using (var file = GgufFile.Open(folder.Write("iq2.gguf", bytes)))
            Assert.Equal("IQ2_XXS", Assert.Single(file.Tensors).Type.Name);
        Write(Old(), Embedding);
        var valid = File.ReadAllBytes(folder.File("m.gguf"));
        var at = valid.AsSpan().IndexOf("token_embd.weight"u8) + "token_embd.weight"u8.Length + 4 + 16;
        valid[at] = 24; // I8: a type of known size that is no weight format.
        Assert.Contains("token_embd.weight: expected one of F32, F16", Assert.Throws<InvalidDataException>(() => Checkpoint.Open(folder.Write("i8.gguf", valid))).Message, StringComparison.Ordinal);
    }

    private static List<(string Key, object Value)> Old() =>
    [
        ("general.architecture", "deepseek2"), ("block_count", 61), ("context_length", 163840), ("embedding_length", 8), ("feed_forward_length", 18432), ("vocab_size", 4),
        ("attention.head_count", 128), ("attention.head_count_kv", 128), ("attention.key_length", 192), ("attention.value_length", 128), ("attention.q_lora_rank", 1536),
        ("attention.kv_lora_rank", 512), ("attention.layer_norm_rms_epsilon", 1e-6f), ("rope.dimension_count", 64), ("rope.freq_base", 10000f), ("rope.scaling.type", "yarn"),
        ("rope.scaling.factor", 40f), ("rope.scaling.original_context_length", 4096), ("rope.scaling.yarn_log_multiplier", 0.1f), ("leading_dense_block_count", 3),
        ("expert_count", 256), ("expert_used_count", 8), ("expert_shared_count", 1), ("expert_feed_forward_length", 2048), ("expert_weights_scale", 2.5f),
        ("expert_weights_norm", true), ("expert_gating_func", 2),
    ];

    private static List<(string Key, object Value)> With(List<(string Key, object Value)> keys, params (string Key, object Value)[] changes) =>
        [.. keys.Where(pair => !changes.Any(change => change.Key == pair.Key)), .. changes];

    private static List<(string Key, object Value)> Without(List<(string Key, object Value)> keys, params string[] absent) => [.. keys.Where(pair => !absent.Contains(pair.Key))];

    private ModelConfig Config(List<(string Key, object Value)> keys, params GgufEntry[] tensors)
    {
        File.Delete(folder.File("m.gguf"));
        Write(keys, tensors);
        using var checkpoint = Checkpoint.Open(folder.File("m.gguf"));
        return checkpoint.Config;
    }

    private void Write(List<(string Key, object Value)> keys, params GgufEntry[] tensors) => Write(keys, "m.gguf", tensors);

    /// <summary>Writes a file whose values count up from 0 through all tensors.</summary>
    private void Write(List<(string Key, object Value)> keys, string name, params GgufEntry[] tensors)
    {
        var metadata = new GgufMetadataBuilder();
        foreach (var (key, value) in keys)
        {
            var full = key.StartsWith("general.", StringComparison.Ordinal) || key.StartsWith("tokenizer.", StringComparison.Ordinal) || key.StartsWith("split.", StringComparison.Ordinal) ? key : "deepseek2." + key;
            switch (value)
            {
                case string text: metadata.Add(full, text); break;
                case int number: metadata.Add(full, number); break;
                case float number: metadata.Add(full, (double)number); break;
                case bool flag: metadata.Add(full, flag); break;
                default: throw new ArgumentException($"{value.GetType()}", nameof(keys));
            }
        }

        using var writer = new GgufWriter(folder.File(name), metadata, tensors);
        var next = 0;
        foreach (var tensor in tensors)
        {
            for (var i = 0L; i < tensor.ByteLength / sizeof(float); i++)
                writer.Write(BitConverter.GetBytes((float)next++));
        }

        writer.Complete();
    }
}
