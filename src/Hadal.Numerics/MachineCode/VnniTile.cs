using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Integer;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembles the integer tile kernels for AVX512-VNNI, which .NET does not expose: one block of 16 weight rows times one block of N tokens, by vpdpbusd,
/// added to one chain of float32 sums. The order of everything is that of <see cref="IntegerDot"/>.
/// </summary>
/// <remarks>
/// <c>void tile(byte* weights, byte* tokens, float* chain)</c> with the layouts of <see cref="IntegerPanel"/>; the chain is [N][16].
/// zmm0-11: sums over the block; zmm12-23: sums over one integer scale; zmm24: weights; zmm25: scale; zmm26-28: float work.
/// </remarks>
internal static class VnniTile
{
    private static readonly AssemblerRegisterZMM[] Zmm =
    [
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
    ];

    private static readonly AssemblerRegisterXMM[] SavedOnWindows = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    /// <summary>Whether this processor runs the kernels.</summary>
    public static bool IsSupported => Avx512BW.IsSupported && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>Assembles a kernel and makes it callable.</summary>
    /// <param name="panel">Layout of the format.</param>
    /// <param name="tokens">N, at most 12.</param>
    public static nint Assemble(IntegerPanel panel, int tokens)
    {
        var c = new Assembler(64);
        var windows = OperatingSystem.IsWindows();
        var (w, x, chain) = windows ? (rcx, rdx, r8) : (rdi, rsi, rdx);
        if (windows)
        {
            c.sub(rsp, SavedOnWindows.Length * 16 + 8);
            for (var i = 0; i < SavedOnWindows.Length; i++)
                c.vmovdqu(__xmmword_ptr[rsp + (i * 16)], SavedOnWindows[i]);
        }

        // Sums over the block end up in zmm0..N-1.
        if (panel.Scales == 0)
            Codes(c, panel, w, x, tokens, first: 0, sum: 0);
        else
            ScaledCodes(c, panel, w, x, tokens);
        c.vmovups(Zmm[25], __zmmword_ptr[w + panel.WeightSuperScale]);
        AddToChain(c, panel, x, chain, tokens, negative: false);

        if (panel.HasMinimum)
        {
            MinimumSums(c, panel, w, x, tokens);
            c.vmovups(Zmm[25], __zmmword_ptr[w + panel.WeightSuperMinimum]);
            AddToChain(c, panel, x, chain, tokens, negative: true);
        }

        c.vzeroupper();
        if (windows)
        {
            for (var i = 0; i < SavedOnWindows.Length; i++)
                c.vmovdqu(SavedOnWindows[i], __xmmword_ptr[rsp + (i * 16)]);
            c.add(rsp, SavedOnWindows.Length * 16 + 8);
        }

        c.ret();
        using var code = new MemoryStream();
        c.Assemble(new StreamCodeWriter(code), 0);
        return ExecutableMemory.Publish(code.ToArray());
    }

    // Registers first.. = start values + sum of codes times codes over the values that share a start value.
    private static void Codes(Assembler c, IntegerPanel panel, AssemblerRegister64 w, AssemblerRegister64 x, int tokens, int first, int sum)
    {
        for (var t = 0; t < tokens; t++)
        {
            if (panel.ZeroPoint != 0)
                c.vpbroadcastd(Zmm[first + t], __dword_ptr[x + panel.TokenStarts(tokens) + (((sum * tokens) + t) * 4)]);
            else
                c.vpxord(Zmm[first + t], Zmm[first + t], Zmm[first + t]);
        }

        for (var k = sum * panel.SumLength / 4; k < (sum + 1) * panel.SumLength / 4; k++)
        {
            c.vmovdqu32(Zmm[24], __zmmword_ptr[w + (k * 64)]);
            for (var t = 0; t < tokens; t++)
                c.vpdpbusd(Zmm[first + t], Zmm[24], __dword_bcst[x + (((k * tokens) + t) * 4)]);
        }
    }

    private static void ScaledCodes(Assembler c, IntegerPanel panel, AssemblerRegister64 w, AssemblerRegister64 x, int tokens)
    {
        for (var s = 0; s < panel.Scales; s++)
        {
            Codes(c, panel, w, x, tokens, IntegerPanel.MaxTokens, s);
            c.vmovdqu32(Zmm[25], __zmmword_ptr[w + panel.WeightScales + (s * 64)]);
            for (var t = 0; t < tokens; t++)
            {
                var product = Zmm[IntegerPanel.MaxTokens + t];
                if (s == 0)
                {
                    c.vpmulld(Zmm[t], product, Zmm[25]);
                    continue;
                }

                c.vpmulld(product, product, Zmm[25]);
                c.vpaddd(Zmm[t], Zmm[t], product);
            }
        }
    }

    // zmm0..N-1 = sum of minima times sums of codes, two 16-bit pairs at a time; blocks of 32 have one minimum, so it is the sum of codes itself.
    private static void MinimumSums(Assembler c, IntegerPanel panel, AssemblerRegister64 w, AssemblerRegister64 x, int tokens)
    {
        var sums = panel.TokenSums(tokens);
        for (var t = 0; t < tokens; t++)
        {
            if (panel.Scales == 0)
                c.vpbroadcastd(Zmm[t], __dword_ptr[x + sums + (t * 4)]);
            else
                c.vpxord(Zmm[t], Zmm[t], Zmm[t]);
        }

        for (var pair = 0; pair < panel.Scales / 2; pair++)
        {
            c.vmovdqu32(Zmm[24], __zmmword_ptr[w + panel.WeightMinima + (pair * 64)]);
            for (var t = 0; t < tokens; t++)
                c.vpdpwssd(Zmm[t], Zmm[24], __dword_bcst[x + sums + (((pair * tokens) + t) * 4)]);
        }
    }

    // chain[t] = fma(+-float(sum), zmm25 * scale[t], chain[t]).
    private static void AddToChain(Assembler c, IntegerPanel panel, AssemblerRegister64 x, AssemblerRegister64 chain, int tokens, bool negative)
    {
        for (var t = 0; t < tokens; t++)
        {
            c.vcvtdq2ps(Zmm[t], Zmm[t]);
            c.vmulps(Zmm[26], Zmm[25], __dword_bcst[x + panel.TokenScales(tokens) + (t * 4)]);
            c.vmovups(Zmm[27], __zmmword_ptr[chain + (t * 64)]);
            if (negative)
                c.vfnmadd231ps(Zmm[27], Zmm[t], Zmm[26]);
            else
                c.vfmadd231ps(Zmm[27], Zmm[t], Zmm[26]);
            c.vmovups(__zmmword_ptr[chain + (t * 64)], Zmm[27]);
        }
    }
}
