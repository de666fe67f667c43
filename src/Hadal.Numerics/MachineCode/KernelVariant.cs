using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Which kernels are assembled: the best that this processor runs, or those that the environment variable HADAL_KERNEL asks for: <c>avx2</c> none with
/// vectors of 512 bits, <c>portable</c> none at all.
/// </summary>
internal static class KernelVariant
{
    private static readonly string? Forced = Environment.GetEnvironmentVariable("HADAL_KERNEL");

    /// <summary>Kernels for AVX2 with FMA and conversions of binary16.</summary>
    public static readonly bool Avx2 = Forced != "portable" && System.Runtime.Intrinsics.X86.Avx2.IsSupported && Fma.IsSupported && (X86Base.CpuId(1, 0).Ecx & (1 << 29)) != 0;

    /// <summary>Kernels for vectors of 512 bits.</summary>
    public static readonly bool Avx512 = Avx2 && Forced != "avx2" && Avx512BW.IsSupported && Avx512DQ.IsSupported;

    /// <summary>Kernels for AVX512-VNNI.</summary>
    public static readonly bool Vnni = Avx512 && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>Kernels for AVX512-BF16.</summary>
    public static readonly bool Bf16 = Avx512 && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0;

    /// <summary>Kernels that look bytes up in tables of 128 (AVX512-VBMI).</summary>
    public static readonly bool Vbmi = Avx512 && Avx512Vbmi.IsSupported;
}
