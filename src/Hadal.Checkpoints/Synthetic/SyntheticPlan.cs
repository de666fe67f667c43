using Hadal.Checkpoints.Config;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Synthetic;

/// <summary>Which matrices a model of some shape has, and in which formats, before any of them is made.</summary>
public sealed class SyntheticPlan
{
    private readonly List<(string Name, WeightFormat Format, int Rows, int Cols)> matrices = [];
    private readonly FormatMix mix;
    private readonly bool splitKeyValue;

    private SyntheticPlan(ModelConfig config, FormatMix mix)
    {
        this.mix = mix;

        // Files in GGUF's integer formats carry the key/value up-projection split; folders carry it whole.
        splitKeyValue = config.IsLatentAttention && WeightFormats.HasIntegerProducts(mix.FormatOf("kv_b_proj", 256, 0, config.NumHiddenLayers));
        Config = config with { RopeInterleaved = config.RopeInterleaved || splitKeyValue, Fp8Weights = mix.Name == "fp8" };
        Add("model.embed_tokens", -1, config.VocabSize, config.HiddenSize);
        Add("lm_head", -1, config.VocabSize, config.HiddenSize);
        for (var layer = 0; layer < config.NumHiddenLayers + config.NumNextnPredictLayers; layer++)
            AddLayer(layer);
    }

    /// <summary>The shape, with what the formats decide.</summary>
    public ModelConfig Config { get; }

    /// <summary>Hugging Face name, format, rows and columns of each.</summary>
    public IReadOnlyList<(string Name, WeightFormat Format, int Rows, int Cols)> Matrices => matrices;

    /// <summary>Bytes of all matrices, without the scales of E4M3.</summary>
    public long Bytes => matrices.Sum(static m => WeightFormats.RowBytes(m.Format, m.Cols) * m.Rows);

    /// <summary>Plans.</summary>
    /// <param name="config">Shape.</param>
    /// <param name="mix">Formats.</param>
    public static SyntheticPlan Of(ModelConfig config, FormatMix mix)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(mix);
        return new SyntheticPlan(config, mix);
    }

    private void AddLayer(int layer)
    {
        var c = Config;
        var prefix = $"model.layers.{layer}.";
        var attention = prefix + "self_attn.";
        if (!c.IsLatentAttention)
        {
            Add(attention + "q_proj", layer, c.NumAttentionHeads * c.HeadDim, c.HiddenSize);
            Add(attention + "k_proj", layer, c.NumKeyValueHeads * c.HeadDim, c.HiddenSize);
            Add(attention + "v_proj", layer, c.NumKeyValueHeads * c.HeadDim, c.HiddenSize);
            Add(attention + "o_proj", layer, c.HiddenSize, c.NumAttentionHeads * c.HeadDim);
        }
        else
        {
            var queryWidth = c.NumAttentionHeads * (c.QkNopeHeadDim + c.QkRopeHeadDim);
            if (c.QLoraRank is { } q)
            {
                Add(attention + "q_a_proj", layer, q, c.HiddenSize);
                Add(attention + "q_b_proj", layer, queryWidth, q);
            }
            else
            {
                Add(attention + "q_proj", layer, queryWidth, c.HiddenSize);
            }

            Add(attention + "kv_a_proj_with_mqa", layer, c.KvLoraRank + c.QkRopeHeadDim, c.HiddenSize);
            if (splitKeyValue)
            {
                Add(attention + "k_b_proj", layer, c.NumAttentionHeads * c.KvLoraRank, c.QkNopeHeadDim);
                Add(attention + "v_b_proj", layer, c.NumAttentionHeads * c.VHeadDim, c.KvLoraRank);
            }
            else
            {
                Add(attention + "kv_b_proj", layer, c.NumAttentionHeads * (c.QkNopeHeadDim + c.VHeadDim), c.KvLoraRank);
            }

            Add(attention + "o_proj", layer, c.HiddenSize, c.NumAttentionHeads * c.VHeadDim);
        }

        if (layer >= c.NumHiddenLayers)
            Add(prefix + "eh_proj", layer, c.HiddenSize, 2 * c.HiddenSize);
        if (!c.IsMoeLayer(layer))
        {
            AddFeedForward(prefix + "mlp.", layer, c.IntermediateSize);
            return;
        }

        Add(prefix + "mlp.gate", layer, c.NRoutedExperts, c.HiddenSize);
        for (var e = 0; e < c.NRoutedExperts; e++)
            AddFeedForward($"{prefix}mlp.experts.{e}.", layer, c.MoeIntermediateSize);
        if (c.NSharedExperts > 0)
            AddFeedForward(prefix + "mlp.shared_experts.", layer, c.NSharedExperts * c.MoeIntermediateSize);
    }

    private void AddFeedForward(string prefix, int layer, int intermediate)
    {
        Add(prefix + "gate_proj", layer, intermediate, Config.HiddenSize);
        Add(prefix + "up_proj", layer, intermediate, Config.HiddenSize);
        Add(prefix + "down_proj", layer, Config.HiddenSize, intermediate);
    }

    private void Add(string module, int layer, int rows, int cols)
    {
        var name = module + ".weight";
        matrices.Add((name, mix.FormatOf(name, cols, layer, Config.NumHiddenLayers), rows, cols));
    }
}
