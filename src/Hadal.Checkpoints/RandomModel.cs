using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tokenization;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints;

/// <summary>
/// Writes a small model of DeepSeek-V3's shape with random weights: latent attention with a query rank, a sigmoid router with correction bias and groups,
/// a shared expert, one MTP module, and a byte-level tokenizer without merges. It knows nothing; it exercises everything.
/// </summary>
/// <remarks>D hidden, V vocabulary.</remarks>
public static class RandomModel
{
    private const int Hidden = 128;
    private const int Intermediate = 256;
    private const int ExpertIntermediate = 64;
    private const int Layers = 4;
    private const int Experts = 8;
    private const int Heads = 4;
    private const int Rank = 64;
    private const int Nope = 32;
    private const int Rope = 16;
    private const int Value = 32;

    // Spread of the logits of letters, of the end of the text, and of all other tokens: sampled text then looks like letters, not like broken UTF-8.
    private const double LetterSpread = 3;
    private const double EndSpread = 2;
    private const double OtherSpread = 0.2;

    private static readonly Tokenizer Tokenizer = Tokenizer.CreateByteLevel();

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static int Vocabulary => Tokenizer.VocabSize;

    /// <summary>Writes config.json, model.safetensors and the tokenizer's files.</summary>
    /// <param name="folder">An existing folder without such files.</param>
    /// <param name="seed">The same seed writes the same bytes.</param>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    public static void Write(string folder, int seed)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        File.WriteAllText(Path.Combine(folder, SafetensorsCheckpoint.ConfigName), Config().ToJsonString(Indented) + "\n");
        Tokenizer.Save(folder);
        var random = new Random(seed);
        var tensors = Tensors().Select(t => (new SafetensorsEntry(t.Name, t.Dtype, t.Shape), (ReadOnlyMemory<byte>)Data(t, random))).ToList();
        SafetensorsWriter.WriteAll(Path.Combine(folder, SafetensorsCheckpoint.SingleName), tensors);
    }

    private static JsonObject Config() => new()
    {
        ["architectures"] = new JsonArray("DeepseekV3ForCausalLM"),
        ["model_type"] = "deepseek_v3",
        ["torch_dtype"] = "bfloat16",
        ["vocab_size"] = Vocabulary,
        ["hidden_size"] = Hidden,
        ["intermediate_size"] = Intermediate,
        ["moe_intermediate_size"] = ExpertIntermediate,
        ["num_hidden_layers"] = Layers,
        ["num_nextn_predict_layers"] = 1,
        ["num_attention_heads"] = Heads,
        ["num_key_value_heads"] = Heads,
        ["q_lora_rank"] = Rank,
        ["kv_lora_rank"] = Rank,
        ["qk_nope_head_dim"] = Nope,
        ["qk_rope_head_dim"] = Rope,
        ["v_head_dim"] = Value,
        ["n_routed_experts"] = Experts,
        ["n_shared_experts"] = 1,
        ["num_experts_per_tok"] = 2,
        ["n_group"] = 2,
        ["topk_group"] = 1,
        ["first_k_dense_replace"] = 1,
        ["moe_layer_freq"] = 1,
        ["routed_scaling_factor"] = 2.5,
        ["scoring_func"] = "sigmoid",
        ["topk_method"] = "noaux_tc",
        ["norm_topk_prob"] = true,
        ["hidden_act"] = "silu",
        ["rms_norm_eps"] = 1e-6,
        ["rope_theta"] = 10000,
        ["max_position_embeddings"] = 4096,
        ["attention_bias"] = false,
        ["tie_word_embeddings"] = false,
        ["bos_token_id"] = Tokenizer.BosId,
        ["eos_token_id"] = Tokenizer.EosId,
    };

    private static IEnumerable<Tensor> Tensors()
    {
        yield return Matrix("model.embed_tokens.weight", Vocabulary, Hidden) with { Spread = 1 };
        for (var layer = 0; layer <= Layers; layer++)
        {
            var prefix = $"model.layers.{layer}";
            if (layer == Layers)
            {
                yield return Norm($"{prefix}.enorm.weight", Hidden);
                yield return Norm($"{prefix}.hnorm.weight", Hidden);
                yield return Matrix($"{prefix}.eh_proj.weight", Hidden, 2 * Hidden);
                yield return Norm($"{prefix}.shared_head.norm.weight", Hidden);
            }

            foreach (var tensor in Attention($"{prefix}.self_attn").Concat(FeedForward($"{prefix}.mlp", layer)))
                yield return tensor;
            yield return Norm($"{prefix}.input_layernorm.weight", Hidden);
            yield return Norm($"{prefix}.post_attention_layernorm.weight", Hidden);
        }

        yield return Norm("model.norm.weight", Hidden);
        yield return Matrix("lm_head.weight", Vocabulary, Hidden) with { RowSpread = HeadSpread };
    }

    private static IEnumerable<Tensor> Attention(string prefix) =>
    [
        Matrix($"{prefix}.q_a_proj.weight", Rank, Hidden),
        Norm($"{prefix}.q_a_layernorm.weight", Rank),
        Matrix($"{prefix}.q_b_proj.weight", Heads * (Nope + Rope), Rank),
        Matrix($"{prefix}.kv_a_proj_with_mqa.weight", Rank + Rope, Hidden),
        Norm($"{prefix}.kv_a_layernorm.weight", Rank),
        Matrix($"{prefix}.kv_b_proj.weight", Heads * (Nope + Value), Rank),
        Matrix($"{prefix}.o_proj.weight", Hidden, Heads * Value),
    ];

    private static IEnumerable<Tensor> FeedForward(string prefix, int layer)
    {
        if (layer == 0)
            return Mlp(prefix, Intermediate);
        return Enumerable.Range(0, Experts).SelectMany(e => Mlp($"{prefix}.experts.{e}", ExpertIntermediate))
            .Concat(Mlp($"{prefix}.shared_experts", ExpertIntermediate))
            .Append(Matrix($"{prefix}.gate.weight", Experts, Hidden))
            .Append(new Tensor($"{prefix}.gate.e_score_correction_bias", SafetensorsDtype.F32, [Experts]) { Spread = 0.1 });
    }

    private static IEnumerable<Tensor> Mlp(string prefix, int width) =>
    [
        Matrix($"{prefix}.gate_proj.weight", width, Hidden),
        Matrix($"{prefix}.up_proj.weight", width, Hidden),
        Matrix($"{prefix}.down_proj.weight", Hidden, width),
    ];

    private static Tensor Matrix(string name, int rows, int cols) => new(name, SafetensorsDtype.BF16, [rows, cols]) { Spread = 1 / Math.Sqrt(cols) };

    private static Tensor Norm(string name, int length) => new(name, SafetensorsDtype.BF16, [length]) { Mean = 1, Spread = 0.1 };

    private static double HeadSpread(long row)
    {
        var spread = row == Tokenizer.EosId ? EndSpread : Tokenizer.DecodeBytes((int)row) is [(byte)' ' or (>= (byte)'a' and <= (byte)'z')] ? LetterSpread : OtherSpread;
        return spread / Math.Sqrt(Hidden);
    }

    private static byte[] Data(Tensor tensor, Random random)
    {
        var count = tensor.Shape.Aggregate(1L, static (a, b) => a * b);
        var values = new float[count];
        var width = tensor.Shape[^1];
        for (var i = 0; i < values.Length; i++)
            values[i] = (float)(tensor.Mean + ((tensor.RowSpread?.Invoke(i / width) ?? tensor.Spread) * Normal(random)));
        var format = tensor.Dtype == SafetensorsDtype.F32 ? WeightFormat.F32 : WeightFormat.BF16;
        var bytes = new byte[values.Length * WeightFormats.BlockBytes(format)];
        if (format == WeightFormat.F32)
            F32.Encode(values, bytes);
        else
            BF16.Encode(values, bytes);
        return bytes;
    }

    // Box and Muller's transform; one of its two values.
    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    private sealed record Tensor(string Name, SafetensorsDtype Dtype, long[] Shape)
    {
        public double Mean { get; init; }

        public double Spread { get; init; }

        public Func<long, double>? RowSpread { get; init; }
    }
}
