namespace Hadal.Checkpoints.Config;

/// <summary>The model families that Hadal computes; what a config.json calls <c>model_type</c> and <c>architectures</c>.</summary>
public enum Architecture
{
    /// <summary>Dense DeepSeek LLM: <c>LlamaForCausalLM</c>, grouped-query attention over full heads.</summary>
    Llama,

    /// <summary><c>DeepseekV2ForCausalLM</c>: latent attention, softmax routing.</summary>
    DeepseekV2,

    /// <summary><c>DeepseekV3ForCausalLM</c>: latent attention, sigmoid routing with a correction bias.</summary>
    DeepseekV3,
}

/// <summary>How router logits become affinities.</summary>
public enum ScoringFunc
{
    /// <summary>Softmax over all routed experts (V2).</summary>
    Softmax,

    /// <summary>Sigmoid of each logit (V3).</summary>
    Sigmoid,
}

/// <summary>How experts are selected from their affinities; values spelled as in config.json.</summary>
public enum TopkMethod
{
    /// <summary>The highest scores of all.</summary>
    Greedy,

    /// <summary>The highest scores within the groups with the highest maximum (V2).</summary>
    GroupLimitedGreedy,

    /// <summary>Scores plus correction bias, within the groups with the highest sum of their two best (V3).</summary>
    NoauxTc,
}

/// <summary>YaRN position scaling (arXiv 2309.00071), as in <c>rope_scaling</c> of config.json.</summary>
public sealed record YarnScaling
{
    /// <summary>Context extension factor s.</summary>
    public required double Factor { get; init; }

    /// <summary>Rotations above which a dimension is left alone.</summary>
    public required double BetaFast { get; init; }

    /// <summary>Rotations below which a dimension is interpolated fully.</summary>
    public required double BetaSlow { get; init; }

    /// <summary>Numerator of the attention temperature of cos and sin.</summary>
    public required double Mscale { get; init; }

    /// <summary>Scale of the softmax temperature: m = 0.1 * mscale_all_dim * ln(factor) + 1, applied squared.</summary>
    public required double MscaleAllDim { get; init; }

    /// <summary>Context length of pre-training.</summary>
    public required int OriginalMaxPositionEmbeddings { get; init; }
}

/// <summary>
/// What config.json (or a GGUF's metadata) says of a model, checked: the PascalCase of the field names there. Fields that an architecture does not
/// have are zero or null. Nothing here depends on the size of a model.
/// </summary>
public sealed record ModelConfig
{
    /// <summary>Model family.</summary>
    public required Architecture Architecture { get; init; }

    /// <summary>Vocabulary rows of the embedding and head (V).</summary>
    public required int VocabSize { get; init; }

    /// <summary>Width of the residual stream (D).</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width of a dense feed-forward layer (I).</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Layers of the main model, without MTP modules.</summary>
    public required int NumHiddenLayers { get; init; }

    /// <summary>Query heads (H).</summary>
    public required int NumAttentionHeads { get; init; }

    /// <summary>Key/value heads of grouped-query attention (Llama only).</summary>
    public int NumKeyValueHeads { get; init; }

    /// <summary>Width of a head (Llama only).</summary>
    public int HeadDim { get; init; }

    /// <summary>Rank of the compressed query (Q), or null for a plain q_proj.</summary>
    public int? QLoraRank { get; init; }

    /// <summary>Rank of the compressed key/value latent (C).</summary>
    public int KvLoraRank { get; init; }

    /// <summary>Width of a query/key head without position (N).</summary>
    public int QkNopeHeadDim { get; init; }

    /// <summary>Width of the rotated part of query and key (R).</summary>
    public int QkRopeHeadDim { get; init; }

    /// <summary>Width of a value head (U).</summary>
    public int VHeadDim { get; init; }

    /// <summary>Routed experts (E); 0 in a dense model.</summary>
    public int NRoutedExperts { get; init; }

    /// <summary>Shared experts; they are one MLP of that multiple of <see cref="MoeIntermediateSize"/>.</summary>
    public int NSharedExperts { get; init; }

    /// <summary>Routed experts for each token (K).</summary>
    public int NumExpertsPerTok { get; init; }

    /// <summary>Width of a routed expert (F).</summary>
    public int MoeIntermediateSize { get; init; }

    /// <summary>Layers before this one are dense.</summary>
    public int FirstKDenseReplace { get; init; }

    /// <summary>Of the layers from <see cref="FirstKDenseReplace"/> on, each multiple of this is a mixture of experts.</summary>
    public int MoeLayerFreq { get; init; } = 1;

    /// <summary>Expert groups (G); 1 when routing is not limited.</summary>
    public int NGroup { get; init; } = 1;

    /// <summary>Groups a token may use.</summary>
    public int TopkGroup { get; init; } = 1;

    /// <summary>Factor on the routed experts' weights.</summary>
    public double RoutedScalingFactor { get; init; } = 1;

    /// <summary>Affinity function of the router.</summary>
    public ScoringFunc ScoringFunc { get; init; }

    /// <summary>Selection rule of the router.</summary>
    public TopkMethod TopkMethod { get; init; }

    /// <summary>Whether the chosen weights are divided by their sum.</summary>
    public bool NormTopkProb { get; init; }

    /// <summary>MTP modules in the file, at layers <see cref="NumHiddenLayers"/> and following.</summary>
    public int NumNextnPredictLayers { get; init; }

    /// <summary>Epsilon of every RMSNorm.</summary>
    public required double RmsNormEps { get; init; }

    /// <summary>Base of the rotary angles.</summary>
    public required double RopeTheta { get; init; }

    /// <summary>YaRN scaling, or null.</summary>
    public YarnScaling? RopeScaling { get; init; }

    /// <summary>Divisor of positions (rope_scaling type linear, DeepSeek-Coder); 1 when there is none.</summary>
    public double RopeLinearFactor { get; init; } = 1;

    /// <summary>
    /// Whether rotary pairs are neighbours (2i, 2i+1), as in DeepSeek V2/V3 files and in every GGUF, or halves (i, i + R/2), as in Llama's Hugging Face files.
    /// </summary>
    public required bool RopeInterleaved { get; init; }

    /// <summary>Longest context the model was made for.</summary>
    public required int MaxPositionEmbeddings { get; init; }

    /// <summary>Whether the head is the embedding.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>First token of a text, when there is one.</summary>
    public int? BosTokenId { get; init; }

    /// <summary>Tokens that end a text.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>Whether FP8 activation scales are powers of two (<c>quantization_config.scale_fmt: ue8m0</c>, V3.1).</summary>
    public bool Ue8m0ActivationScales { get; init; }

    /// <summary>Whether the linear layers are stored as FP8 with 128x128 blocks (<c>quantization_config</c>).</summary>
    public bool Fp8Weights { get; init; }

    /// <summary>What was assumed because the file does not say it, one sentence each, to be shown to the user.</summary>
    public IReadOnlyList<string> Assumptions { get; init; } = [];

    /// <summary>Whether layer <paramref name="layer"/> (MTP layers included) is a mixture of experts.</summary>
    public bool IsMoeLayer(int layer) => NRoutedExperts > 0 && layer >= FirstKDenseReplace && layer % MoeLayerFreq == 0;

    /// <summary>Whether attention is latent (MLA) rather than grouped-query.</summary>
    public bool IsLatentAttention => Architecture != Architecture.Llama;
}
