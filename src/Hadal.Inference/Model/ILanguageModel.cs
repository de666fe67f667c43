using Hadal.Checkpoints.Config;

namespace Hadal.Inference.Model;

/// <summary>What the engine needs of a model: <see cref="DeepSeek"/>, or a script in tests. Safe for several callers, each with a context of its own.</summary>
public interface ILanguageModel
{
    /// <summary>What the model is.</summary>
    ModelConfig Config { get; }

    /// <summary>MTP modules that can be run.</summary>
    int MtpModules { get; }

    /// <inheritdoc cref="DeepSeek.Forward"/>
    ForwardResult Forward(ForwardBatch batch, ForwardContext context);

    /// <inheritdoc cref="DeepSeek.ForwardMtp"/>
    ForwardResult ForwardMtp(int module, ForwardBatch batch, ReadOnlySpan<float> state, ForwardContext context);
}
