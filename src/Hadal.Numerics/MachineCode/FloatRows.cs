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
/// Assembles kernels for AVX-512 that multiply rows of floating-point numbers with one token, <c>void rows(byte* weights, float* x, float* y, FloatRowArguments* arguments)</c>,
/// in the order of <see cref="DotProduct"/>. Values of BF16 and E4M3 are taken out of the 32-bit lanes that they share, and activations lie as that leaves them
/// (<see cref="ArrangedTokens"/>); those of F16 and F32 lie as they are.
/// </summary>
/// <param name="format">F32, F16, BF16 or F8_E4M3.</param>
/// <param name="everyLine">Whether every line is asked for; <see cref="StreamHints"/>.</param>
/// <remarks>
/// rax: work; rdi: weights; rsi: activations of a step; rdx: results; rcx: activations of the first step; r8: rows left; r9: steps of a row; r10: steps left.
/// zmm0-3: running sums; zmm4-7: values; zmm9: the mask of what belongs to a value.
/// Of two rows at once, half of the rows apart: rbx: from the first row to the second; r11: from its result to the second's; rbp: pairs left; zmm10-13: sums of the second; zmm16-19: activations.
/// </remarks>
internal sealed class FloatRows(WeightFormat format, bool everyLine)
{
    /// <summary>How far ahead every line of two rows at once is asked for. The second row's first lines are up to the caller (<see cref="StreamHints.AskForStart"/>): what the kernel asks for past the end of the rows is the next call's first row.</summary>
    public const int PairAhead = 3072;

    private const int Vector = 64;

    // The same for a row at a time, where that pays.
    private const int LineAhead = 4096;

    // Elsewhere the processor reads BF16 rows ahead by itself, where each line is read twice and one line of each piece is asked for so far ahead. Codes it does not: all
    // their lines are asked for, into the second cache and then into the first. docs/LOG.md.
    private const int PieceAhead = 6144;
    private const int Piece = 512;
    private const int CodesAhead = 12288;
    private const int CodesNear = 2048;

    // The first running sum of a row, and of the second where there are two.
    private const int Sums = 0;
    private const int SecondSums = 10;
    private const int SharedActivations = 16;

    private readonly Assembler c = new(64);

    private bool IsByte => format == WeightFormat.F8_E4M3;

    private bool IsNatural => format is WeightFormat.F32 or WeightFormat.F16;

    private int StepBytes => format switch
    {
        WeightFormat.F8_E4M3 => Vector,
        WeightFormat.F32 => 4 * Vector,
        _ => 2 * Vector,
    };

    /// <summary>Assembles the kernel and makes it callable.</summary>
    public nint Assemble()
    {
        Enter(c);
        c.mov(r8, Argument(nameof(FloatRowArguments.Rows)));
        c.mov(r9, Argument(nameof(FloatRowArguments.Steps)));
        c.mov(rcx, rsi);
        c.mov(eax, IsByte ? F8_E4M3.FieldsMask : unchecked((int)0xFFFF0000));
        c.vpbroadcastd(zmm9, eax);
        var end = c.CreateLabel();
        if (everyLine)
            Pairs(end);
        Rows(r8, isPaired: false);
        c.Label(ref end);
        Leave(c);
        return Publish(c);
    }

    private static AssemblerMemoryOperand Argument(string name) => __qword_ptr[rcx + Marshal.OffsetOf<FloatRowArguments>(name).ToInt32()];

    // Each row of the first half with that of the second, in two streams far apart, which keep more of the memory busy than one, and do not wait for a row's sums; what an odd number leaves is up to the code behind.
    private void Pairs(Label end)
    {
        var single = c.CreateLabel();
        c.mov(r11, r8);
        c.shr(r11, 1);
        c.jz(single);
        c.mov(rbx, r9);
        c.imul(rbx, r11);
        c.imul(rbx, rbx, StepBytes);
        c.mov(rbp, r11);
        c.shl(r11, 2);
        Rows(rbp, isPaired: true);
        c.add(rdi, rbx);
        c.add(rdx, r11);
        c.Label(ref single);
        c.and(r8, 1);
        c.jz(end);
    }

    private void Rows(AssemblerRegister64 left, bool isPaired)
    {
        var row = c.CreateLabel();
        var step = c.CreateLabel();
        c.Label(ref row);
        if (!everyLine)
            c.prefetcht1(__byte_ptr[rdi + StreamHints.RareLineAhead]);
        for (var i = 0; i < 4; i++)
        {
            c.vpxord(Zmm(Sums + i), Zmm(Sums + i), Zmm(Sums + i));
            if (isPaired)
                c.vpxord(Zmm(SecondSums + i), Zmm(SecondSums + i), Zmm(SecondSums + i));
        }

        c.mov(rsi, rcx);
        c.mov(r10, r9);
        c.Label(ref step);
        if (isPaired)
            StepOfTwo();
        else
            StepOfOne();
        c.add(rdi, StepBytes);
        c.add(rsi, DotProduct.Lanes * sizeof(float));
        c.dec(r10);
        c.jnz(step);
        StoreSum(Sums, __dword_ptr[rdx]);
        if (isPaired)
            StoreSum(SecondSums, __dword_ptr[rdx + r11]);
        c.add(rdx, sizeof(float));
        c.dec(left);
        c.jnz(row);
    }

    private void StepOfTwo()
    {
        for (var i = 0; i < 4; i++)
            c.vmovups(Zmm(SharedActivations + i), Activations(i));
        Stream(rdi + rbx, SecondSums);
        Stream(rdi + 0, Sums);

        void Stream(AssemblerMemoryOperand row, int sums)
        {
            c.lea(rax, __[row]);
            for (var line = 0; line < StepBytes; line += Vector)
                c.prefetcht0(__byte_ptr[rax + PairAhead + line]);
            StreamHints.AskForPage(c, rax, rax);
            Values(row, (i, values) => c.vfmadd231ps(Zmm(sums + i), values, Zmm(SharedActivations + i)));
        }
    }

    private void StepOfOne()
    {
        AskAhead();
        Values(rdi + 0, (i, values) => c.vfmadd231ps(Zmm(Sums + i), values, Activations(i)));
    }

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

    // Sixty-four values of a row, sixteen at a time.
    private void Values(AssemblerMemoryOperand row, Action<int, AssemblerRegisterZMM> add)
    {
        if (IsByte)
            Codes(__zmmword_ptr[row], add);
        else if (IsNatural)
            Numbers(row, add);
        else
            Words(row, add);
    }

    private void Numbers(AssemblerMemoryOperand row, Action<int, AssemblerRegisterZMM> add)
    {
        for (var v = 0; v < 4; v++)
        {
            if (format == WeightFormat.F16)
                c.vcvtph2ps(Zmm(4 + v), __ymmword_ptr[row + (v * Vector / 2)]);
            else
                c.vmovups(Zmm(4 + v), __zmmword_ptr[row + (v * Vector)]);
            add(v, Zmm(4 + v));
        }
    }

    // BF16: the lower and the upper halves of lanes.
    private void Words(AssemblerMemoryOperand row, Action<int, AssemblerRegisterZMM> add)
    {
        for (var v = 0; v < 2; v++)
        {
            var weights = __zmmword_ptr[row + (v * Vector)];
            c.vpslld(zmm4, weights, 16);
            c.vpandd(zmm5, zmm9, weights);
            add(2 * v, zmm4);
            add((2 * v) + 1, zmm5);
        }
    }

    // E4M3: bytes 0 to 3 of lanes, their fields moved to where float32 has them.
    private void Codes(AssemblerMemoryOperand codes, Action<int, AssemblerRegisterZMM> add)
    {
        const int Narrower = 24 - F8_E4M3.FieldsShift;
        c.vpsllw(zmm5, codes, 8);
        c.vpsraw(zmm4, codes, Narrower);
        c.vpsraw(zmm5, zmm5, Narrower);
        c.vpslld(zmm6, zmm4, 16);
        c.vpslld(zmm7, zmm5, 16);
        AssemblerRegisterZMM[] values = [zmm7, zmm6, zmm5, zmm4];
        for (var i = 0; i < values.Length; i++)
        {
            c.vpandd(values[i], values[i], zmm9);
            add(i, values[i]);
        }
    }

    private static AssemblerMemoryOperand Activations(int part) => __zmmword_ptr[rsi + (part * Vector)];

    // The tree of DotProduct: elements 16 and then 32 lanes apart, then 8, 4, 2 and 1, wherever they are.
    private void StoreSum(int first, AssemblerMemoryOperand result)
    {
        var (s0, s1, s2, s3) = (Zmm(first), Zmm(first + 1), Zmm(first + 2), Zmm(first + 3));
        if (IsNatural)
        {
            StoreNaturalSum(first, result);
            return;
        }

        if (IsByte)
        {
            // Sums hold elements 4 lanes apart: quarters of each, twice, leave [0 | 1 | 2 | 3].
            Halves(s0, s1, 0x88, 0xDD);
            Halves(s2, s3, 0x88, 0xDD);
            Halves(s0, s2, 0x88, 0xDD);
        }
        else
        {
            // They hold even and odd elements: halves of both leave [even | odd], and quarters [even | - | odd | -].
            Halves(s0, s1, 0x44, 0xEE);
            Halves(s2, s3, 0x44, 0xEE);
            c.vaddps(s0, s0, s2);
            c.vshuff32x4(s1, s0, s0, 0xB1);
            c.vaddps(s0, s0, s1);
        }

        // What is left of each vector of 128 bits, 2 lanes apart, then 1.
        foreach (var swap in (byte[])[0x4E, 0xB1])
        {
            c.vpermilps(s1, s0, swap);
            c.vaddps(s0, s0, s1);
        }

        c.vextractf32x8(Ymm(first + 1), s0, 1);
        c.vaddps(Ymm(first), Ymm(first), Ymm(first + 1));
        if (IsByte)
        {
            c.vextractf128(Xmm(first + 1), Ymm(first), 1);
            c.vaddps(Xmm(first), Xmm(first), Xmm(first + 1));
        }

        c.vmovss(result, Xmm(first));
    }

    // Sums hold elements in their order: halves of 8, 4, 2 and 1.
    private void StoreNaturalSum(int first, AssemblerMemoryOperand result)
    {
        var (s0, s1, s2, s3) = (Zmm(first), Zmm(first + 1), Zmm(first + 2), Zmm(first + 3));
        c.vaddps(s0, s0, s1);
        c.vaddps(s2, s2, s3);
        c.vaddps(s0, s0, s2);
        c.vshuff32x4(s1, s0, s0, 0x4E);
        c.vaddps(s0, s0, s1);
        c.vshuff32x4(s1, s0, s0, 0xB1);
        c.vaddps(s0, s0, s1);
        foreach (var swap in (byte[])[0x4E, 0xB1])
        {
            c.vpermilps(s1, s0, swap);
            c.vaddps(s0, s0, s1);
        }

        c.vmovss(result, Xmm(first));
    }

    // a = some quarters of a and b + the others.
    private void Halves(AssemblerRegisterZMM a, AssemblerRegisterZMM b, byte some, byte others)
    {
        c.vshuff32x4(zmm4, a, b, some);
        c.vshuff32x4(zmm5, a, b, others);
        c.vaddps(a, zmm4, zmm5);
    }
}
