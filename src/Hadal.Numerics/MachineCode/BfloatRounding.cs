using Hadal.Numerics.Kernels;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembles <c>void round(float* x, float* scales, ushort* target, nint steps)</c> for AVX512-BF16: activations times the scales of E4M3 codes, rounded to bfloat16 and put into the
/// order of <see cref="BfloatDot"/>. Subnormal numbers become zeros, which they count as in any product.
/// </summary>
/// <remarks>rdi: activations; rsi: scales; rdx: results; rcx: steps; rax: steps done, rbx: work. zmm0-3: values; zmm4: the scale; zmm5-7: chunks of eight, even and odd ones.</remarks>
internal static class BfloatRounding
{
    private const int Vector = 64;

    /// <summary>Assembles the kernel and makes it callable.</summary>
    public static nint Assemble()
    {
        var c = new Assembler(64) { PreferVex = false };
        var constants = new ConstantPool(c);
        Enter(c);

        // Chunks of 128 bits in turns: the even ones of both vectors, then the odd ones, by indices of their halves.
        constants.Keep(zmm6, i => i % 8 == 0 ? Half(i / 8, odd: 0) : 0);
        constants.Keep(zmm7, i => i % 8 == 0 ? Half(i / 8, odd: 1) : 0);
        c.xor(eax, eax);
        var step = c.CreateLabel();
        c.Label(ref step);
        c.mov(rbx, rax);
        c.shr(rbx, (byte)int.Log2(WeightMatrix.ScaleBlock / BfloatDot.Step));
        c.vbroadcastss(zmm4, __dword_ptr[rsi + (rbx * sizeof(float))]);
        for (var i = 0; i < 4; i++)
            c.vmulps(Zmm(i), zmm4, __zmmword_ptr[rdi + (i * Vector)]);
        c.vcvtne2ps2bf16(zmm0, zmm1, zmm0);
        c.vcvtne2ps2bf16(zmm2, zmm3, zmm2);
        c.vmovdqa64(zmm5, zmm0);
        c.vpermt2q(zmm5, zmm6, zmm2);
        c.vpermt2q(zmm0, zmm7, zmm2);
        c.vmovdqu64(__zmmword_ptr[rdx], zmm5);
        c.vmovdqu64(__zmmword_ptr[rdx + Vector], zmm0);
        c.add(rdi, 4 * Vector);
        c.add(rdx, 2 * Vector);
        c.inc(rax);
        c.cmp(rax, rcx);
        c.jb(step);
        Leave(c);
        constants.Emit();
        return Publish(c);
    }

    private static int Half(int i, int odd) => (4 * (i / 2)) + (2 * odd) + (i % 2);
}
