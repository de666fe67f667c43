using Hadal.Checkpoints.Config;
using Hadal.Tests;

namespace Hadal.Checkpoints.Tests;

/// <summary>The golden models: what their README and config.json say of them, written down independently.</summary>
internal static class Fixtures
{
    public static TheoryData<string> Names => ["tiny-v3", "tiny-v3-fp8", "tiny-v3-fp8-aligned", "tiny-v2-lite", "tiny-v2", "tiny-dense-mha", "tiny-dense-gqa"];

    public static string Path(string name) => SharedFiles.Path("fixtures", name);

    /// <summary>Name, rows and columns of every matrix, name and length of every vector that a forward pass asks for.</summary>
    public static IEnumerable<(string Name, int Rows, int Cols)> Needed(ModelConfig c)
    {
        yield return ("model.embed_tokens.weight", c.VocabSize, c.HiddenSize);
        yield return ("lm_head.weight", c.VocabSize, c.HiddenSize);
        yield return ("model.norm.weight", c.HiddenSize, 0);
        for (var l = 0; l < c.NumHiddenLayers + c.NumNextnPredictLayers; l++)
        {
            var p = $"model.layers.{l}.";
            foreach (var norm in (string[])["input_layernorm", "post_attention_layernorm"])
                yield return (p + norm + ".weight", c.HiddenSize, 0);
            foreach (var need in c.IsLatentAttention ? Latent(c, p + "self_attn.") : Grouped(c, p + "self_attn."))
                yield return need;
            if (!c.IsMoeLayer(l))
            {
                foreach (var need in Mlp(c, p + "mlp.", c.IntermediateSize))
                    yield return need;
            }
            else
            {
                yield return (p + "mlp.gate.weight", c.NRoutedExperts, c.HiddenSize);
                if (c.TopkMethod == TopkMethod.NoauxTc)
                    yield return (p + "mlp.gate.e_score_correction_bias", c.NRoutedExperts, 0);
                foreach (var need in Mlp(c, p + "mlp.shared_experts.", c.MoeIntermediateSize * c.NSharedExperts))
                    yield return need;
                for (var e = 0; e < c.NRoutedExperts; e++)
                {
                    foreach (var need in Mlp(c, $"{p}mlp.experts.{e}.", c.MoeIntermediateSize))
                        yield return need;
                }
            }

            if (l < c.NumHiddenLayers)
                continue;
            yield return (p + "eh_proj.weight", c.HiddenSize, 2 * c.HiddenSize);
            yield return (p + "enorm.weight", c.HiddenSize, 0);
            yield return (p + "hnorm.weight", c.HiddenSize, 0);
            yield return (p + "shared_head.norm.weight", c.HiddenSize, 0);
            yield return (p + "shared_head.head.weight", c.VocabSize, c.HiddenSize);
            yield return (p + "embed_tokens.weight", c.VocabSize, c.HiddenSize);
        }
    }

    private static IEnumerable<(string Name, int Rows, int Cols)> Latent(ModelConfig c, string p)
    {
        var queryRows = c.NumAttentionHeads * (c.QkNopeHeadDim + c.QkRopeHeadDim);
        if (c.QLoraRank is { } rank)
        {
            yield return (p + "q_a_proj.weight", rank, c.HiddenSize);
            yield return (p + "q_a_layernorm.weight", rank, 0);
            yield return (p + "q_b_proj.weight", queryRows, rank);
        }
        else
        {
            yield return (p + "q_proj.weight", queryRows, c.HiddenSize);
        }

        yield return (p + "kv_a_proj_with_mqa.weight", c.KvLoraRank + c.QkRopeHeadDim, c.HiddenSize);
        yield return (p + "kv_a_layernorm.weight", c.KvLoraRank, 0);
        yield return (p + "kv_b_proj.weight", c.NumAttentionHeads * (c.QkNopeHeadDim + c.VHeadDim), c.KvLoraRank);
        yield return (p + "o_proj.weight", c.HiddenSize, c.NumAttentionHeads * c.VHeadDim);
    }

    private static IEnumerable<(string Name, int Rows, int Cols)> Grouped(ModelConfig c, string p) =>
    [
        (p + "q_proj.weight", c.NumAttentionHeads * c.HeadDim, c.HiddenSize),
        (p + "k_proj.weight", c.NumKeyValueHeads * c.HeadDim, c.HiddenSize),
        (p + "v_proj.weight", c.NumKeyValueHeads * c.HeadDim, c.HiddenSize),
        (p + "o_proj.weight", c.HiddenSize, c.NumAttentionHeads * c.HeadDim),
    ];

    private static IEnumerable<(string Name, int Rows, int Cols)> Mlp(ModelConfig c, string p, int width) =>
    [
        (p + "gate_proj.weight", width, c.HiddenSize),
        (p + "up_proj.weight", width, c.HiddenSize),
        (p + "down_proj.weight", c.HiddenSize, width),
    ];
}
