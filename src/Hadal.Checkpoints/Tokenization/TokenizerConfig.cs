namespace Hadal.Checkpoints.Tokenization;

/// <summary>What a model says about its tokenizer beside the vocabulary: tokenizer_config.json, or the keys of a GGUF file.</summary>
/// <param name="BosToken">Spelling of the token that begins a text.</param>
/// <param name="EosToken">Spelling of the token that ends one.</param>
/// <param name="AddBos">Whether a prompt begins with <paramref name="BosToken"/>. Chat templates write it themselves.</param>
/// <param name="ChatTemplate">The Jinja text of the chat template. It is recognised, never executed.</param>
internal sealed record TokenizerConfig(string? BosToken, string? EosToken, bool AddBos, string? ChatTemplate);
