namespace Hadal.Checkpoints.Gguf;

/// <summary>Metadata keys of llama.cpp (<c>LLM_KV_NAMES</c> of llama-arch.cpp); those of an architecture stand behind its name and a dot.</summary>
internal static class GgufKeys
{
    public const string Architecture = "general.architecture";
    public const string SplitCount = "split.count";
    public const string SplitNumber = "split.no";

    public const string VocabSize = "vocab_size";
    public const string ContextLength = "context_length";
    public const string EmbeddingLength = "embedding_length";
    public const string FeedForwardLength = "feed_forward_length";
    public const string BlockCount = "block_count";
    public const string NextnPredictLayers = "nextn_predict_layers";

    public const string HeadCount = "attention.head_count";
    public const string HeadCountKv = "attention.head_count_kv";
    public const string KeyLength = "attention.key_length";
    public const string ValueLength = "attention.value_length";
    public const string KeyLengthMla = "attention.key_length_mla";
    public const string ValueLengthMla = "attention.value_length_mla";
    public const string QLoraRank = "attention.q_lora_rank";
    public const string KvLoraRank = "attention.kv_lora_rank";
    public const string RmsEpsilon = "attention.layer_norm_rms_epsilon";

    public const string LeadingDenseBlockCount = "leading_dense_block_count";
    public const string ExpertCount = "expert_count";
    public const string ExpertUsedCount = "expert_used_count";
    public const string ExpertSharedCount = "expert_shared_count";
    public const string ExpertFeedForwardLength = "expert_feed_forward_length";
    public const string ExpertGroupCount = "expert_group_count";
    public const string ExpertGroupUsedCount = "expert_group_used_count";
    public const string ExpertGatingFunc = "expert_gating_func";
    public const string ExpertWeightsScale = "expert_weights_scale";
    public const string ExpertWeightsNorm = "expert_weights_norm";

    public const string RopeDimensionCount = "rope.dimension_count";
    public const string RopeFreqBase = "rope.freq_base";
    public const string RopeScaleLinear = "rope.scale_linear";
    public const string RopeScalingType = "rope.scaling.type";
    public const string RopeScalingFactor = "rope.scaling.factor";
    public const string RopeScalingAttnFactor = "rope.scaling.attn_factor";
    public const string RopeScalingOriginalContext = "rope.scaling.original_context_length";
    public const string YarnLogMultiplier = "rope.scaling.yarn_log_multiplier";
    public const string YarnExtFactor = "rope.scaling.yarn_ext_factor";
    public const string YarnAttnFactor = "rope.scaling.yarn_attn_factor";
    public const string YarnBetaFast = "rope.scaling.yarn_beta_fast";
    public const string YarnBetaSlow = "rope.scaling.yarn_beta_slow";

    public const string TokenizerModel = "tokenizer.ggml.model";
    public const string TokenizerPre = "tokenizer.ggml.pre";
    public const string Tokens = "tokenizer.ggml.tokens";
    public const string TokenTypes = "tokenizer.ggml.token_type";
    public const string Merges = "tokenizer.ggml.merges";
    public const string BosTokenId = "tokenizer.ggml.bos_token_id";
    public const string EosTokenId = "tokenizer.ggml.eos_token_id";
    public const string EotTokenId = "tokenizer.ggml.eot_token_id";
    public const string PaddingTokenId = "tokenizer.ggml.padding_token_id";
    public const string AddBosToken = "tokenizer.ggml.add_bos_token";
    public const string AddEosToken = "tokenizer.ggml.add_eos_token";
    public const string ChatTemplate = "tokenizer.chat_template";

    /// <summary>Values of <see cref="ExpertGatingFunc"/>.</summary>
    public const int GatingSoftmax = 1;

    /// <summary>Values of <see cref="ExpertGatingFunc"/>.</summary>
    public const int GatingSigmoid = 2;
}
