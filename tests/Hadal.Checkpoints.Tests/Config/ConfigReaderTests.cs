using System.Text;
using System.Text.Json.Nodes;
using Hadal.Checkpoints.Config;

namespace Hadal.Checkpoints.Tests.Config;

public sealed class ConfigReaderTests
{
    private const string V3 = """
        { "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 384,
          "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 128, "kv_lora_rank": 128, "qk_nope_head_dim": 32,
          "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2,
          "moe_intermediate_size": 64, "first_k_dense_replace": 1,
          "rope_scaling": { "type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096 },
          "quantization_config": { "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128] } }
        """;

    private const string V2Lite = """
        { "architectures": ["DeepseekV2ForCausalLM"], "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 4,
          "num_attention_heads": 4, "q_lora_rank": null, "kv_lora_rank": 128, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
          "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 64, "first_k_dense_replace": 1,
          "n_group": 1, "topk_group": 1, "topk_method": "greedy" }
        """;

    private const string Llama = """
        { "architectures": ["LlamaForCausalLM"], "vocab_size": 32256, "hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 24,
          "num_attention_heads": 16 }
        """;

    [Fact]
    public void V3_takes_its_fields_and_the_defaults_of_its_class()
    {
        var config = Read(V3);
        Assert.Equal(Architecture.DeepseekV3, config.Architecture);
        Assert.Equal((1024, 256, 384, 4, 4), (config.VocabSize, config.HiddenSize, config.IntermediateSize, config.NumHiddenLayers, config.NumAttentionHeads));
        Assert.Equal((128, 128, 32, 16, 32), (config.QLoraRank, config.KvLoraRank, config.QkNopeHeadDim, config.QkRopeHeadDim, config.VHeadDim));
        Assert.Equal((16, 1, 4, 64, 1, 4, 2), (config.NRoutedExperts, config.NSharedExperts, config.NumExpertsPerTok, config.MoeIntermediateSize, config.FirstKDenseReplace, config.NGroup, config.TopkGroup));
        Assert.Equal((ScoringFunc.Sigmoid, TopkMethod.NoauxTc, true, 2.5), (config.ScoringFunc, config.TopkMethod, config.NormTopkProb, config.RoutedScalingFactor));
        Assert.Equal((1e-6, 10000.0, true, 4096), (config.RmsNormEps, config.RopeTheta, config.RopeInterleaved, config.MaxPositionEmbeddings));
        Assert.Equal(new YarnScaling { Factor = 40, BetaFast = 32, BetaSlow = 1, Mscale = 1, MscaleAllDim = 1, OriginalMaxPositionEmbeddings = 4096 }, config.RopeScaling);
        Assert.True(config.Fp8Weights);
        Assert.False(config.Ue8m0ActivationScales);
        Assert.Null(config.BosTokenId);
        Assert.Empty(config.EosTokenIds);
        Assert.False(config.IsMoeLayer(0));
        Assert.True(config.IsMoeLayer(1));
        Assert.True(config.IsMoeLayer(4));
    }

    [Fact]
    public void V2_lite_has_a_plain_query_and_softmax_greedy_routing()
    {
        var config = Read(V2Lite);
        Assert.Null(config.QLoraRank);
        Assert.Equal((ScoringFunc.Softmax, TopkMethod.Greedy, false, 1.0), (config.ScoringFunc, config.TopkMethod, config.NormTopkProb, config.RoutedScalingFactor));
        Assert.Null(config.RopeScaling);
        Assert.Equal(1536, Read(V2Lite.Replace("\"q_lora_rank\": null,", string.Empty, StringComparison.Ordinal)).QLoraRank);
        Assert.Equal(TopkMethod.GroupLimitedGreedy, Read(With(V2Lite, "topk_method", "\"group_limited_greedy\"")).TopkMethod);
    }

    [Fact]
    public void Llama_takes_grouped_heads_and_linear_scaling()
    {
        var config = Read(Llama);
        Assert.Equal((Architecture.Llama, 16, 128, false, false, 1.0), (config.Architecture, config.NumKeyValueHeads, config.HeadDim, config.RopeInterleaved, config.IsLatentAttention, config.RopeLinearFactor));
        Assert.Equal(4, Read(With(Llama, "num_key_value_heads", "4")).NumKeyValueHeads);
        Assert.Equal(64, Read(With(Llama, "head_dim", "64")).HeadDim);
        Assert.Equal(4.0, Read(With(Llama, "rope_scaling", "{\"type\": \"linear\", \"factor\": 4.0}")).RopeLinearFactor);
    }

    [Theory]
    [InlineData("eos_token_id", "[1, 5]", new[] { 1, 5 })]
    [InlineData("eos_token_id", "7", new[] { 7 })]
    [InlineData("eos_token_id", "null", new int[0])]
    public void End_tokens_are_one_or_many(string field, string value, int[] expected) => Assert.Equal(expected, Read(With(V3, field, value)).EosTokenIds);

    [Fact]
    public void Both_spellings_of_rope_scaling_are_read()
    {
        var old = Read(V3).RopeScaling;
        Assert.Equal(old, Read(V3.Replace("\"type\": \"yarn\"", "\"rope_type\": \"yarn\"", StringComparison.Ordinal)).RopeScaling);
        Assert.Equal(old, Read(V3.Replace("\"type\": \"yarn\"", "\"rope_type\": \"yarn\", \"type\": \"yarn\"", StringComparison.Ordinal)).RopeScaling);
        var parameters = Read(V3.Replace("\"rope_scaling\": { ", "\"rope_parameters\": { \"rope_theta\": 50000, ", StringComparison.Ordinal));
        Assert.Equal((old, 50000.0), (parameters.RopeScaling, parameters.RopeTheta));
        Assert.Null(Read(With(V3, "rope_scaling", "{\"rope_type\": \"default\"}")).RopeScaling);
    }

    [Fact]
    public void The_model_type_decides_where_no_architecture_is_named()
    {
        Assert.Equal(Architecture.DeepseekV3, Read(With(V3, "architectures", "null")).Architecture);
        Assert.True(Read(V3.Replace("\"quant_method\"", "\"scale_fmt\": \"ue8m0\", \"quant_method\"", StringComparison.Ordinal)).Ue8m0ActivationScales);
    }

    public static TheoryData<string, string, string, string> Refused => new()
    {
        { V3, "architectures", "[\"DeepseekV32ForCausalLM\"]", "architectures: expected one of LlamaForCausalLM, DeepseekV2ForCausalLM, DeepseekV3ForCausalLM, found DeepseekV32ForCausalLM" },
        { V3, "architectures", "[3]", "architectures" },
        { V3, "hidden_size", "null", "hidden_size: expected an integer from 1 to 1048576, found no such field" },
        { V3, "hidden_size", "-256", "hidden_size: expected an integer from 1 to 1048576, found -256" },
        { V3, "hidden_size", "1152921504606846976", "hidden_size" },
        { V3, "hidden_size", "\"256\"", "found \"256\"" },
        { V3, "hidden_size", "{}", "found an object" },
        { V3, "vocab_size", "0", "vocab_size" },
        { V3, "num_hidden_layers", "1000000", "num_hidden_layers: expected an integer from 1 to 4096" },
        { V3, "attention_bias", "true", "attention_bias: expected false" },
        { Llama, "mlp_bias", "true", "mlp_bias: expected false" },
        { V3, "hidden_act", "\"gelu\"", "hidden_act: expected silu, found gelu" },
        { V3, "qk_rope_head_dim", "15", "qk_rope_head_dim: expected an even number, found 15" },
        { V3, "num_key_value_heads", "2", "num_key_value_heads: expected as many as num_attention_heads, 4, found 2" },
        { V3, "n_group", "3", "n_group: expected a divisor of the 16 routed experts, found 3" },
        { V3, "n_group", "16", "n_group: expected groups of at least 2 experts" },
        { V3, "topk_group", "5", "topk_group: expected at most the 4 groups, found 5" },
        { V3, "num_experts_per_tok", "9", "num_experts_per_tok: expected at most the 8 experts that can be selected, found 9" },
        { V3, "num_experts_per_tok", "17", "num_experts_per_tok: expected an integer from 1 to 16, found 17" },
        { V3, "first_k_dense_replace", "5", "first_k_dense_replace: expected at most the 4 layers, found 5" },
        { V3, "moe_layer_freq", "[0, 1, 1, 1]", "moe_layer_freq: expected an integer" },
        { V3, "topk_method", "\"topk_softplus\"", "topk_method: expected greedy, group_limited_greedy or noaux_tc, found topk_softplus" },
        { V3, "scoring_func", "\"sqrtsoftplus\"", "scoring_func: expected softmax or sigmoid, found sqrtsoftplus" },
        { V3, "routed_scaling_factor", "1e999", "routed_scaling_factor" },
        { V3, "rms_norm_eps", "0", "rms_norm_eps" },
        { V3, "rope_theta", "1", "rope_theta" },
        { V3, "rope_scaling", "{\"type\": \"llama3\", \"factor\": 8}", "rope_scaling.type: expected yarn or default, found llama3" },
        { Llama, "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8}", "rope_scaling.rope_type: expected linear or default, found llama3" },
        { Llama, "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 8}", "found dynamic" },
        { Llama, "rope_scaling", "{\"type\": \"linear\"}", "rope_scaling.factor" },
        { V3, "rope_scaling", "{\"type\": \"yarn\", \"rope_type\": \"linear\", \"factor\": 8}", "rope_scaling.type: expected the same as rope_type" },
        { V3, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 0.5}", "rope_scaling.factor" },
        { V3, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": 0.5}", "beta_fast" },
        { V3, "quantization_config", "{\"quant_method\": \"gptq\"}", "quantization_config.quant_method: expected fp8, found gptq" },
        { V3, "quantization_config", "{\"quant_method\": \"fp8\", \"fmt\": \"e5m2\"}", "quantization_config.fmt: expected e4m3, found e5m2" },
        { V3, "quantization_config", "{\"quant_method\": \"fp8\", \"weight_block_size\": [64, 128]}", "weight_block_size: expected [128, 128], found [64, 128]" },
        { V3, "quantization_config", "{\"quant_method\": \"fp8\"}", "weight_block_size: expected [128, 128], found no such field" },
        { V3, "quantization_config", "{\"quant_method\": \"fp8\", \"activation_scheme\": \"static\"}", "activation_scheme" },
        { V3, "eos_token_id", "1024", "eos_token_id: expected an id below the vocabulary size 1024, found 1024" },
        { V3, "eos_token_id", "[-1]", "eos_token_id" },
        { V3, "bos_token_id", "-1", "bos_token_id" },
        { V2Lite, "num_experts_per_tok", "null", "num_experts_per_tok" },
        { Llama, "num_key_value_heads", "3", "num_key_value_heads: expected a divisor of the 16 attention heads" },
        { Llama, "num_attention_heads", "13", "num_attention_heads: expected a divisor of hidden_size" },
        { Llama, "head_dim", "63", "head_dim: expected an even number" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void What_is_wrong_or_not_computed_is_refused_by_name(string config, string field, string value, string expected)
    {
        var error = Assert.Throws<InvalidDataException>(() => Read(With(config, field, value))).Message;
        Assert.StartsWith("model/config.json: ", error, StringComparison.Ordinal);
        Assert.Contains(expected, error, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error);
    }

    [Theory]
    [InlineData("", "expected JSON")]
    [InlineData("[]", "expected a JSON object, found Array")]
    [InlineData("{\"a\": 1, \"a\": 2}", "expected JSON")]
    [InlineData("{\"\\ud800\": 1}", "expected JSON")]
    [InlineData("{\"model_type\": \"\\ud800\"}", "model_type: expected a string")]
    public void Text_that_is_no_configuration_is_refused(string text, string expected) =>
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => Read(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void Deep_json_is_refused() =>
        Assert.Contains("expected JSON", Assert.Throws<InvalidDataException>(() => Read("{\"a\":" + new string('[', 100_000))).Message, StringComparison.Ordinal);

    private static ModelConfig Read(string json) => ConfigReader.Parse(Encoding.UTF8.GetBytes(json), "model/config.json");

    private static string With(string json, string field, string value)
    {
        // Numbers that no .NET type holds must stay as they are written, so the text is edited and not the tree's numbers.
        var tree = JsonNode.Parse(json)!.AsObject();
        tree[field] = "@@";
        return tree.ToJsonString().Replace("\"@@\"", value, StringComparison.Ordinal);
    }
}
