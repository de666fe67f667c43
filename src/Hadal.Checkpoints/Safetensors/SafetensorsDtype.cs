using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Safetensors;

/// <summary>Element types of safetensors, spelled as in the header (huggingface/safetensors, <c>Dtype</c>). Types narrower than a byte are not read.</summary>
public enum SafetensorsDtype
{
    /// <summary>One byte, 0 or 1.</summary>
    BOOL,

    /// <summary>8-bit unsigned integer.</summary>
    U8,

    /// <summary>8-bit signed integer.</summary>
    I8,

    /// <summary>FP8 E5M2.</summary>
    F8_E5M2,

    /// <summary>FP8 E4M3 without infinities.</summary>
    F8_E4M3,

    /// <summary>An exponent alone: 2^(code - 127).</summary>
    F8_E8M0,

    /// <summary>16-bit unsigned integer.</summary>
    U16,

    /// <summary>16-bit signed integer.</summary>
    I16,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>bfloat16.</summary>
    BF16,

    /// <summary>32-bit unsigned integer.</summary>
    U32,

    /// <summary>32-bit signed integer.</summary>
    I32,

    /// <summary>IEEE 754 binary32.</summary>
    F32,

    /// <summary>64-bit unsigned integer.</summary>
    U64,

    /// <summary>64-bit signed integer.</summary>
    I64,

    /// <summary>IEEE 754 binary64.</summary>
    F64,
}

/// <summary>Sizes of element types, and which of them are weight formats.</summary>
internal static class SafetensorsDtypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this SafetensorsDtype dtype) => dtype switch
    {
        <= SafetensorsDtype.F8_E8M0 => 1,
        <= SafetensorsDtype.BF16 => 2,
        <= SafetensorsDtype.F32 => 4,
        _ => 8,
    };

    /// <summary>The weight format that stores such elements, or null.</summary>
    public static WeightFormat? WeightFormat(this SafetensorsDtype dtype) => dtype switch
    {
        SafetensorsDtype.F32 => Numerics.Formats.WeightFormat.F32,
        SafetensorsDtype.F16 => Numerics.Formats.WeightFormat.F16,
        SafetensorsDtype.BF16 => Numerics.Formats.WeightFormat.BF16,
        SafetensorsDtype.F8_E4M3 => Numerics.Formats.WeightFormat.F8_E4M3,
        _ => null,
    };
}
