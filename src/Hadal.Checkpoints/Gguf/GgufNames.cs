using System.Globalization;

namespace Hadal.Checkpoints.Gguf;

/// <summary>
/// Tensor names of llama.cpp (<c>LLM_TENSOR_NAMES</c> of llama-arch.cpp, architectures llama and deepseek2) and their Hugging Face counterparts.
/// The expert stacks have no counterpart of their own: each slice of one is a tensor in Hugging Face's naming.
/// </summary>
internal static class GgufNames
{
    /// <summary>Layers begin with this, followed by their number and a dot.</summary>
    public const string Block = "blk.";

    /// <summary>Gate and up projections of all experts in one stack, gate first, as newer converters may merge them.</summary>
    public const string MergedExperts = "ffn_gate_up_exps.weight";

    /// <summary>Name of the embedding.</summary>
    public const string Embedding = "token_embd.weight";

    /// <summary>Name of the head.</summary>
    public const string Head = "output.weight";

    /// <summary>The stacks of experts and the projection each holds.</summary>
    public static readonly (string Gguf, string Projection)[] ExpertStacks =
    [
        ("ffn_gate_exps.weight", "gate_proj"), ("ffn_up_exps.weight", "up_proj"), ("ffn_down_exps.weight", "down_proj"),
    ];

    private static readonly (string Gguf, string HuggingFace)[] Outer =
    [
        (Embedding, NextnLayers.Embedding), ("output_norm.weight", "model.norm.weight"), (Head, NextnLayers.Head),
    ];

    private static readonly (string Gguf, string HuggingFace)[] Inner =
    [
        ("attn_norm.weight", "input_layernorm.weight"),
        ("ffn_norm.weight", "post_attention_layernorm.weight"),
        ("attn_q.weight", "self_attn.q_proj.weight"),
        ("attn_k.weight", "self_attn.k_proj.weight"),
        ("attn_v.weight", "self_attn.v_proj.weight"),
        ("attn_output.weight", "self_attn.o_proj.weight"),
        ("attn_q_a.weight", "self_attn.q_a_proj.weight"),
        ("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"),
        ("attn_q_b.weight", "self_attn.q_b_proj.weight"),
        ("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"),
        ("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"),
        ("attn_kv_b.weight", "self_attn.kv_b_proj.weight"),
        ("attn_k_b.weight", "self_attn.k_b_proj.weight"),
        ("attn_v_b.weight", "self_attn.v_b_proj.weight"),
        ("ffn_gate.weight", "mlp.gate_proj.weight"),
        ("ffn_up.weight", "mlp.up_proj.weight"),
        ("ffn_down.weight", "mlp.down_proj.weight"),
        ("ffn_gate_inp.weight", "mlp.gate.weight"),
        ("exp_probs_b.bias", "mlp.gate.e_score_correction_bias"),
        ("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"),
        ("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"),
        ("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"),
        ("nextn.eh_proj.weight", "eh_proj.weight"),
        ("nextn.enorm.weight", "enorm.weight"),
        ("nextn.hnorm.weight", "hnorm.weight"),
        ("nextn.embed_tokens.weight", "embed_tokens.weight"),
        ("nextn.shared_head_norm.weight", "shared_head.norm.weight"),
        ("nextn.shared_head_head.weight", "shared_head.head.weight"),
    ];

    private static readonly Dictionary<string, string> ToHuggingFace = Outer.Concat(Inner).ToDictionary(pair => pair.Gguf, pair => pair.HuggingFace);
    private static readonly Dictionary<string, string> ToGguf = Outer.Concat(Inner).ToDictionary(pair => pair.HuggingFace, pair => pair.Gguf);

    /// <summary>Splits a name into its layer and the rest; the layer is null outside the blocks.</summary>
    public static (int? Layer, string Inside) Split(string name) => Split(name, Block);

    /// <summary>The Hugging Face name of a tensor that is no stack of experts, or null when it is unknown.</summary>
    public static string? HuggingFaceName(string name)
    {
        var (layer, rest) = Split(name);
        return ToHuggingFace.TryGetValue(rest, out var found) && IsOuter(rest) == (layer is null) ? Join("model.layers.", layer, found) : null;
    }

    /// <summary>The GGUF name of a Hugging Face tensor that is no single expert, or null when it is unknown.</summary>
    public static string? GgufName(string huggingFace)
    {
        if (ToGguf.TryGetValue(huggingFace, out var outer) && IsOuter(outer))
            return outer;
        var (layer, rest) = Split(huggingFace, "model.layers.");
        return layer is not null && ToGguf.TryGetValue(rest, out var found) && !IsOuter(found) ? Join(Block, layer, found) : null;
    }

    private static bool IsOuter(string gguf) => Array.Exists(Outer, pair => pair.Gguf == gguf);

    private static string Join(string prefix, int? layer, string rest) => layer is null ? rest : $"{prefix}{layer}.{rest}";

    /// <summary>The number is taken only as it would be written, so that two names cannot mean one tensor.</summary>
    private static (int? Layer, string Inside) Split(string name, string prefix)
    {
        if (!name.StartsWith(prefix, StringComparison.Ordinal))
            return (null, name);
        var dot = name.IndexOf('.', prefix.Length);
        return dot > 0
            && int.TryParse(name.AsSpan(prefix.Length, dot - prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var layer)
            && layer.ToString(CultureInfo.InvariantCulture).Length == dot - prefix.Length
                ? (layer, name[(dot + 1)..])
                : (null, name);
    }
}
