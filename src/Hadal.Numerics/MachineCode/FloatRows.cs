using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>What a kernel of <see cref="FloatRows"/> is called with, beside weights, activations and results.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FloatRowArguments
{
    /// <summary>Weight rows, one after the other; at least one.</summary>
    public long Rows;

    /// <summary>Columns of each, in steps of <see cref="DotProduct.Lanes"/>; at least one.</summary>
    public long Steps;
}

/// <summary>
/// Assembles kernels for AVX-512 that multiply BF16 rows or E4M3 codes with one token, <c>void rows(byte* weights, float* x, float* y, FloatRowArguments* arguments)</c>,
/// in the order of <see cref="DotProduct"/>. Values are taken out of the 32-bit lanes that they share, and activations lie as that leaves them (<see cref="ArrangedTokens"/>).
/// </summary>
/// <param name="format">BF16 or F8_E4M3.</param>
/// <param name="everyLine">Whether every line is asked for; <see cref="StreamHints"/>.</param>
/// <remarks>
/// rax: work; rdi: weights; rsi: activations of a step; rdx: results; rcx: activations of the first step; r8: rows left; r9: steps of a row; r10: steps left.
/// zmm0-3: running sums; zmm4-8: values; zmm9: the mask of what belongs to a value.
/// </remarks>
internal sealed class FloatRows(WeightFormat format, bool everyLine)
{
    private const int Vector = 64;

    // How far ahead every line is asked for, where that pays.
    private const int LineAhead = 4096;

    // Elsewhere the processor reads BF16 rows ahead by itself, where each line is read twice and one line of each piece is asked for so far ahead. Codes it does not: all
    // their lines are asked for, into the second cache and then into the first. docs/LOG.md.
    private const int PieceAhead = 6144;
    private const int Piece = 512;
    private const int CodesAhead = 12288;
    private const int CodesNear = 2048;

    private readonly Assembler c = new(64);

    private bool IsByte => format == WeightFormat.F8_E4M3;

    private int StepBytes => IsByte ? Vector : 2 * Vector;

    /// <summary>Assembles the kernel and makes it callable.</summary>
    public nint Assemble()
    {
        var row = c.CreateLabel();
        var step = c.CreateLabel();
        Enter(c);
        c.mov(r8, Argument(nameof(FloatRowArguments.Rows)));
        c.mov(r9, Argument(nameof(FloatRowArguments.Steps)));
        c.mov(rcx, rsi);
        c.mov(eax, IsByte ? F8_E4M3.FieldsMask : unchecked((int)0xFFFF0000));
        c.vpbroadcastd(zmm9, eax);

        c.Label(ref row);
        if (!everyLine)
            c.prefetcht1(__byte_ptr[rdi + PageAhead]);
        for (var i = 0; i < 4; i++)
            c.vpxord(Zmm(i), Zmm(i), Zmm(i));
        c.mov(rsi, rcx);
        c.mov(r10, r9);
        c.Label(ref step);
        AskAhead();
        if (IsByte)
            Codes();
        else
            Words();
        c.add(rdi, StepBytes);
        c.add(rsi, DotProduct.Lanes * sizeof(float));
        c.dec(r10);
        c.jnz(step);
        StoreSum();
        c.add(rdx, sizeof(float));
        c.dec(r8);
        c.jnz(row);
        Leave(c);
        return Publish(c);
    }

    private static AssemblerMemoryOperand Argument(string name) => __qword_ptr[rcx + Marshal.OffsetOf<FloatRowArguments>(name).ToInt32()];

    private void AskAhead()
    {
        if (everyLine)
        {
            StreamHints.AskForPage(c, rdi, rax);
            for (var line = 0; line < StepBytes; line += Vector)
                c.prefetcht0(__byte_ptr[rdi + LineAhead + line]);
        }
        else if (IsByte)
        {
            c.prefetcht1(__byte_ptr[rdi + CodesAhead]);
            c.prefetcht0(__byte_ptr[rdi + CodesNear]);
        }
        else
        {
            var near = c.CreateLabel();
            c.test(rdi, Piece - StepBytes);
            c.jnz(near);
            c.prefetcht1(__byte_ptr[rdi + PieceAhead]);
            c.Label(ref near);
        }
    }

    // Sixty-four BF16 values: the lower and the upper halves of lanes.
    private void Words()
    {
        for (var v = 0; v < 2; v++)
        {
            var weights = __zmmword_ptr[rdi + (v * Vector)];
            c.vpslld(zmm4, weights, 16);
            c.vpandd(zmm5, zmm9, weights);
            Add(2 * v, zmm4);
            Add((2 * v) + 1, zmm5);
        }
    }

    // Sixty-four codes: bytes 0 to 3 of lanes, their fields moved to where float32 has them.
    private void Codes()
    {
        const int Narrower = 24 - F8_E4M3.FieldsShift;
        c.vpsllw(zmm5, __zmmword_ptr[rdi], 8);
        c.vpsraw(zmm4, __zmmword_ptr[rdi], Narrower);
        c.vpsraw(zmm5, zmm5, Narrower);
        c.vpslld(zmm6, zmm4, 16);
        c.vpslld(zmm7, zmm5, 16);
        AssemblerRegisterZMM[] values = [zmm7, zmm6, zmm5, zmm4];
        for (var i = 0; i < values.Length; i++)
        {
            c.vpandd(values[i], values[i], zmm9);
            Add(i, values[i]);
        }
    }

    private void Add(int sum, AssemblerRegisterZMM values) => c.vfmadd231ps(Zmm(sum), values, __zmmword_ptr[rsi + (sum * Vector)]);

    // The tree of DotProduct: elements 16 and then 32 lanes apart, then 8, 4, 2 and 1, wherever they are.
    private void StoreSum()
    {
        if (IsByte)
        {
            // Sums hold elements 4 lanes apart: quarters of each, twice, leave [0 | 1 | 2 | 3].
            Halves(zmm0, zmm1, 0x88, 0xDD);
            Halves(zmm2, zmm3, 0x88, 0xDD);
            Halves(zmm0, zmm2, 0x88, 0xDD);
        }
        else
        {
            // They hold even and odd elements: halves of both leave [even | odd], and quarters [even | - | odd | -].
            Halves(zmm0, zmm1, 0x44, 0xEE);
            Halves(zmm2, zmm3, 0x44, 0xEE);
            c.vaddps(zmm0, zmm0, zmm2);
            c.vshuff32x4(zmm1, zmm0, zmm0, 0xB1);
            c.vaddps(zmm0, zmm0, zmm1);
        }

        // What is left of each vector of 128 bits, 2 lanes apart, then 1.
        foreach (var swap in (byte[])[0x4E, 0xB1])
        {
            c.vpermilps(zmm1, zmm0, swap);
            c.vaddps(zmm0, zmm0, zmm1);
        }

        c.vextractf32x8(ymm1, zmm0, 1);
        c.vaddps(ymm0, ymm0, ymm1);
        if (IsByte)
        {
            c.vextractf128(xmm1, ymm0, 1);
            c.vaddps(xmm0, xmm0, xmm1);
        }

        c.vmovss(__dword_ptr[rdx], xmm0);
    }

    // a = some quarters of a and b + the others.
    private void Halves(AssemblerRegisterZMM a, AssemblerRegisterZMM b, byte some, byte others)
    {
        c.vshuff32x4(zmm4, a, b, some);
        c.vshuff32x4(zmm5, a, b, others);
        c.vaddps(a, zmm4, zmm5);
    }
}
