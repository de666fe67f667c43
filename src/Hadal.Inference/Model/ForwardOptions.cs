using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>The order of operations of latent attention; both compute the same function.</summary>
public enum AttentionForm
{
    /// <summary>Queries are carried into the latent space and the cache is read as it is (DeepSeek-V2 report section 2.1.2). The default.</summary>
    Absorb,

    /// <summary>Keys and values are expanded from the latents, as in training.</summary>
    Naive,
}

/// <summary>What the linear layers multiply with.</summary>
public enum ActivationPrecision
{
    /// <summary>Float32 activations with exactly decoded weights. The default.</summary>
    F32,

    /// <summary>
    /// Activations as 8-bit integers in blocks of 32 or 256, for weights in a GGUF integer format; everything else as <see cref="F32"/>. What other engines
    /// for such files do, and several times as fast.
    /// </summary>
    Int8,

    /// <summary>
    /// As <see cref="Int8"/>, and activations rounded to bfloat16 for BF16 and FP8 weights, on processors that multiply such numbers by themselves (AVX512-BF16); the router and the
    /// latent up-projections stay in float32. Products are summed in float32, as on tensor cores.
    /// </summary>
    BF16,

    /// <summary>
    /// W8A8: the input of every FP8 linear is quantised to E4M3 in tiles of 1x128 (DeepSeek-V3 report section 3.3.2), as DeepSeek's own inference code does on a GPU.
    /// </summary>
    Fp8,
}

/// <summary>Which state of the main model the first MTP module receives; published sources differ.</summary>
public enum MtpInput
{
    /// <summary>After the final norm, as vLLM and SGLang do. The default.</summary>
    AfterFinalNorm,

    /// <summary>The residual stream before the final norm, as equation 21 of the DeepSeek-V3 report can be read and torchtitan does.</summary>
    BeforeFinalNorm,
}

/// <summary>Choices that change the arithmetic of a forward pass, but not the function it approximates.</summary>
public sealed record ForwardOptions
{
    /// <summary>Form of latent attention.</summary>
    public AttentionForm Attention { get; init; }

    /// <summary>Precision of activations in linear layers.</summary>
    public ActivationPrecision Activations { get; init; }

    /// <summary>Whether weights in GGUF's integer formats are multiplied with 8-bit activations.</summary>
    public bool HasIntegerActivations => Activations is ActivationPrecision.Int8 or ActivationPrecision.BF16;

    /// <summary>
    /// How attention's cache is stored: what a <see cref="Cache.CachePool"/> for this work is made with. Latent attention multiplies rows of less than float32 as
    /// <see cref="AttentionKernel.OperandsFor"/> says.
    /// </summary>
    public CacheFormat Cache { get; init; }

    /// <summary>Input state of the first MTP module.</summary>
    public MtpInput MtpInput { get; init; }
}
