namespace Hadal.Numerics.Formats;

/// <summary>
/// The number formats a weight matrix may be stored in. Members are spelled as safetensors and GGUF spell them; the facts of each
/// (block length, bytes, codes) stand in the file of its <see cref="IWeightFormat{TSelf}"/> and nowhere else.
/// </summary>
public enum WeightFormat
{
    /// <summary>IEEE 754 binary32.</summary>
    F32,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>bfloat16: the upper half of a binary32.</summary>
    BF16,

    /// <summary>FP8 E4M3 (1-4-3, no infinities, ±448) with one float32 scale for each 128x128 block, kept beside the codes.</summary>
    F8_E4M3,

    /// <summary>GGUF: blocks of 32, 8-bit codes, one F16 scale.</summary>
    Q8_0,

    /// <summary>GGUF: blocks of 32, 4-bit codes, one F16 scale.</summary>
    Q4_0,

    /// <summary>GGUF: blocks of 32, 4-bit codes, F16 scale and minimum.</summary>
    Q4_1,

    /// <summary>GGUF: blocks of 32, 5-bit codes, one F16 scale.</summary>
    Q5_0,

    /// <summary>GGUF: blocks of 32, 5-bit codes, F16 scale and minimum.</summary>
    Q5_1,

    /// <summary>GGUF: super-blocks of 256, 2-bit codes, 4-bit scales and minima.</summary>
    Q2_K,

    /// <summary>GGUF: super-blocks of 256, 3-bit codes, 6-bit scales.</summary>
    Q3_K,

    /// <summary>GGUF: super-blocks of 256, 4-bit codes, 6-bit scales and minima.</summary>
    Q4_K,

    /// <summary>GGUF: super-blocks of 256, 5-bit codes, 6-bit scales and minima.</summary>
    Q5_K,

    /// <summary>GGUF: super-blocks of 256, 6-bit codes, 8-bit scales.</summary>
    Q6_K,

    /// <summary>GGUF: blocks of 32, 4-bit codes into a non-linear table, one F16 scale.</summary>
    IQ4_NL,

    /// <summary>GGUF: super-blocks of 256, 4-bit codes into a non-linear table, 6-bit scales.</summary>
    IQ4_XS,
}
