using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>What a kernel of <see cref="RowStream"/> is called with, beside weights, activations and results.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RowStreamArguments
{
    /// <summary>Weight rows; at least one.</summary>
    public long Rows;

    /// <summary>Bytes from one to the next.</summary>
    public long RowStride;

    /// <summary>Columns that are taken of each, in steps of 64; at least one.</summary>
    public long Steps;

    /// <summary>Bytes from one token's activations to the next; of kernels for several.</summary>
    public long TokenStride;

    /// <summary>Bytes from one token's results to the next; of kernels for several.</summary>
    public long ResultStride;

    /// <summary>Where sums wait between pieces of the columns: <see cref="BfloatRows.SumBytes"/> for each row; of kernels for several tokens.</summary>
    public float* Sums;

    /// <summary>Whether this is not the first piece (1) or the first (0): sums begin as they wait.</summary>
    public long Continues;

    /// <summary>Whether there is another piece behind this (1) or not (0): sums wait instead of results being stored.</summary>
    public long Waits;
}

/// <summary>
/// Assembles kernels for AVX-512 that multiply rows of floating-point numbers on their way from memory with one token or a few,
/// <c>void rows(byte* weights, void* x, float* y, RowStreamArguments* arguments)</c>: the loops over rows and steps, and what is asked for ahead.
/// </summary>
/// <param name="format">F32, F16, BF16 or F8_E4M3.</param>
/// <param name="everyLine">Whether every line is asked for; <see cref="StreamHints"/>.</param>
/// <remarks>
/// rax: work; rdi: weights; rsi: activations of a step; rdx: results; rcx: activations of the first step; r8: rows left; r9: steps of a row; r10: steps left.
/// Of two rows at once, half of the rows apart: rbx: from the first row to the second; r11: from its result to the second's; rbp: pairs left.
/// r14: bytes from the last step of a row to the next row. r12, r13, r15 and all vector registers are the derived class's own.
/// </remarks>
internal abstract class RowStream(WeightFormat format, bool everyLine)
{
    /// <summary>How far ahead every line of two rows at once is asked for. The second row's first lines are up to the caller (<see cref="StreamHints.AskForStart"/>): what the kernel asks for past the end of the rows is the next call's first row.</summary>
    public const int PairAhead = 3072;

    /// <summary>Bytes of a vector.</summary>
    protected const int Vector = 64;

    // The same for a row at a time, where that pays.
    private const int LineAhead = 4096;

    // Elsewhere the processor reads BF16 rows ahead by itself, where each line is read twice and one line of each piece is asked for so far ahead. Codes it does not: all
    // their lines are asked for, into the second cache and then into the first. docs/LOG.md.
    private const int PieceAhead = 6144;
    private const int Piece = 512;
    private const int CodesAhead = 12288;
    private const int CodesNear = 2048;

    /// <summary>The kernel.</summary>
    protected Assembler C { get; } = new(64) { PreferVex = false };

    /// <summary>Format of the weights.</summary>
    protected WeightFormat Format => format;

    /// <summary>Whether the format is E4M3.</summary>
    protected bool IsByte => format == WeightFormat.F8_E4M3;

    /// <summary>Bytes of a step's activations of one token.</summary>
    protected abstract int ActivationBytes { get; }

    private int StepBytes => format switch
    {
        WeightFormat.F8_E4M3 => Vector,
        WeightFormat.F32 => 4 * Vector,
        _ => 2 * Vector,
    };

    /// <summary>Assembles the kernel and makes it callable.</summary>
    public nint Assemble()
    {
        var constants = new ConstantPool(C);
        Enter(C);
        Begin(constants);
        C.mov(r8, Argument(nameof(RowStreamArguments.Rows)));
        C.mov(r9, Argument(nameof(RowStreamArguments.Steps)));
        C.mov(rbx, Argument(nameof(RowStreamArguments.RowStride)));
        C.imul(r14, r9, -StepBytes);
        C.add(r14, rbx);
        C.mov(rcx, rsi);
        var end = C.CreateLabel();
        if (everyLine)
            Pairs(end);
        Rows(r8, rows: 1);
        C.Label(ref end);
        End();
        Leave(C);
        constants.Emit();
        return Publish(C);
    }

    /// <summary>What the kernel was called with (rcx), before the first row.</summary>
    protected static AssemblerMemoryOperand Argument(string name) => __qword_ptr[rcx + Marshal.OffsetOf<RowStreamArguments>(name).ToInt32()];

    /// <summary>Loads what does not change from row to row.</summary>
    /// <param name="constants">Vectors beside the code.</param>
    protected abstract void Begin(ConstantPool constants);

    /// <summary>Undoes what <see cref="Begin"/> did to the stack.</summary>
    protected virtual void End()
    {
    }

    /// <summary>Clears the sums of one row or two.</summary>
    protected abstract void ClearSums(int rows);

    /// <summary>Multiplies the weights of a step, with <see cref="AskAhead"/> before those of each row.</summary>
    /// <param name="rows">1 for the row at rdi, 2 for the one at rdi + rbx as well.</param>
    protected abstract void Step(int rows);

    /// <summary>Adds up the sums of one row or two and stores them.</summary>
    protected abstract void StoreSums(int rows);

    /// <summary>Adds what lies 2 lanes apart within each 128 bits, then 1.</summary>
    protected void AddWithinQuarters(AssemblerRegisterZMM sum, AssemblerRegisterZMM work)
    {
        foreach (var swap in (byte[])[0x4E, 0xB1])
        {
            C.vpermilps(work, sum, swap);
            C.vaddps(sum, sum, work);
        }
    }

    /// <summary>Adds the upper half of a sum to the lower one.</summary>
    /// <param name="sum">Number of the sum's register.</param>
    /// <param name="work">Number of one to spare.</param>
    protected void AddHalves(int sum, int work)
    {
        C.vextractf32x8(Ymm(work), Zmm(sum), 1);
        C.vaddps(Ymm(sum), Ymm(sum), Ymm(work));
    }

    /// <summary>Adds the upper 128 bits of the lower half to the lower ones.</summary>
    /// <inheritdoc cref="AddHalves"/>
    protected void AddQuarters(int sum, int work)
    {
        C.vextractf32x4(Xmm(work), Ymm(sum), 1);
        C.vaddps(Xmm(sum), Xmm(sum), Xmm(work));
    }

    /// <summary>Where the first token's result goes.</summary>
    /// <param name="row">0 or 1.</param>
    protected static AssemblerMemoryOperand Result(int row) => row == 0 ? rdx + 0 : rdx + r11;

    /// <summary>Where a row's step lies.</summary>
    /// <param name="row">0 or 1.</param>
    protected static AssemblerMemoryOperand Weights(int row) => row == 0 ? rdi + 0 : rdi + rbx;

    /// <summary>Asks for what a row comes to.</summary>
    /// <param name="row">0 or 1.</param>
    /// <param name="rows">How many are taken at once.</param>
    protected void AskAhead(int row, int rows)
    {
        if (everyLine)
        {
            var ahead = rows == 1 ? LineAhead : PairAhead;
            C.lea(rax, __[Weights(row)]);
            for (var line = 0; line < StepBytes; line += Vector)
                C.prefetcht0(__byte_ptr[rax + ahead + line]);
            StreamHints.AskForPage(C, rax, rax);
        }
        else if (IsByte)
        {
            C.prefetcht1(__byte_ptr[rdi + CodesAhead]);
            C.prefetcht0(__byte_ptr[rdi + CodesNear]);
        }
        else
        {
            var near = C.CreateLabel();
            C.test(rdi, Piece - StepBytes);
            C.jnz(near);
            C.prefetcht1(__byte_ptr[rdi + PieceAhead]);
            C.Label(ref near);
        }
    }

    // Each row of the first half with that of the second, in two streams far apart, which keep more of the memory busy than one, and do not wait for a row's sums; what an odd number leaves is up to the code behind.
    private void Pairs(Label end)
    {
        var single = C.CreateLabel();
        C.mov(r11, r8);
        C.shr(r11, 1);
        C.jz(single);
        C.imul(rbx, r11);
        C.mov(rbp, r11);
        C.shl(r11, 2);
        Rows(rbp, rows: 2);
        C.add(rdi, rbx);
        C.add(rdx, r11);
        C.Label(ref single);
        C.and(r8, 1);
        C.jz(end);
    }

    private void Rows(AssemblerRegister64 left, int rows)
    {
        var row = C.CreateLabel();
        var step = C.CreateLabel();
        C.Label(ref row);
        if (!everyLine)
            C.prefetcht1(__byte_ptr[rdi + StreamHints.RareLineAhead]);
        ClearSums(rows);
        C.mov(rsi, rcx);
        C.mov(r10, r9);
        C.Label(ref step);
        Step(rows);
        C.add(rdi, StepBytes);
        C.add(rsi, ActivationBytes);
        C.dec(r10);
        C.jnz(step);
        C.add(rdi, r14);
        StoreSums(rows);
        C.add(rdx, sizeof(float));
        C.dec(left);
        C.jnz(row);
    }
}
