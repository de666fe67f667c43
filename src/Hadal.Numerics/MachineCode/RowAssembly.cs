using System.Runtime.InteropServices;
using Hadal.Numerics.Kernels.Integer;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Hadal.Numerics.MachineCode.KernelFrame;

namespace Hadal.Numerics.MachineCode;

/// <summary>What a row kernel is called with, beside weights, activations and results.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RowArguments
{
    /// <summary>Weight rows, one after the other.</summary>
    public long Rows;

    /// <summary>Full groups of blocks in a row.</summary>
    public long Groups;

    /// <summary>Bytes from one token's activations to the next.</summary>
    public long TokenStride;

    /// <summary>Bytes from one token's results to the next.</summary>
    public long ResultStride;

    /// <summary>Where the sums lie that the format uses, from the start of a token's activations.</summary>
    public long Sums;

    /// <summary>Where the scales lie, from the start of a token's activations.</summary>
    public long Scales;
}

/// <summary>
/// Assembles kernels for AVX512-VNNI that stream weight rows once and multiply them with one to four tokens, in the order of <see cref="IntegerDot"/>:
/// <c>void rows(byte* weights, byte* x, float* y, RowArguments* arguments)</c>, y[t, m] for all rows m and T tokens t.
/// </summary>
/// <remarks>
/// A row is cut into groups of blocks whose sums are brought side by side and then added to the four chains, one lane each. What a format has to say is in the
/// methods that its own file overrides. Registers: rdi weights; r8, r9, r10 codes, sums and scales of the first token, r11 the stride to the next one and
/// rbx three times that; zmm28 to zmm31 the chains of up to four tokens.
/// </remarks>
internal abstract class RowAssembly
{
    /// <summary>Most tokens of a kernel.</summary>
    public const int MaxTokens = 4;

    /// <summary>How far ahead of the row its weights are asked for: beyond what the hardware prefetcher reaches by itself.</summary>
    private const int PrefetchBytes = 8192;

    private const int Chain = 28;

    private int tokens;

    /// <summary>Bytes of a block.</summary>
    public abstract int BlockBytes { get; }

    /// <summary>Values of a block.</summary>
    public abstract int BlockLength { get; }

    /// <summary>Blocks of a full group.</summary>
    public abstract int GroupBlocks { get; }

    /// <summary>Values that share one of the sums which the format uses: 16 or 32.</summary>
    public abstract int SumLength { get; }

    /// <summary>T.</summary>
    protected int Tokens => tokens;

    /// <summary>The assembler of the kernel being made.</summary>
    protected Assembler C { get; private set; } = null!;

    /// <summary>Constants of the kernel being made.</summary>
    protected ConstantPool Constants { get; private set; } = null!;

    /// <summary>Assembles a kernel and makes it callable.</summary>
    /// <param name="tokenCount">T, 1 to 4.</param>
    /// <param name="tailBlocks">Blocks of a row beyond its full groups.</param>
    public nint Assemble(int tokenCount, int tailBlocks)
    {
        tokens = tokenCount;
        Begin();
        C.mov(r12, __qword_ptr[rcx + Offset(nameof(RowArguments.Rows))]);
        C.mov(r13, __qword_ptr[rcx + Offset(nameof(RowArguments.Groups))]);
        C.mov(r11, __qword_ptr[rcx + Offset(nameof(RowArguments.TokenStride))]);
        C.mov(rbp, __qword_ptr[rcx + Offset(nameof(RowArguments.ResultStride))]);
        C.mov(r14, __qword_ptr[rcx + Offset(nameof(RowArguments.Sums))]);
        C.mov(r15, __qword_ptr[rcx + Offset(nameof(RowArguments.Scales))]);
        C.add(r14, rsi);
        C.add(r15, rsi);
        C.lea(rbx, __[r11 + (r11 * 2)]);
        if (tailBlocks > 0)
            LoadMask(k1, tailBlocks);
        LoadConstants(tailBlocks);

        var row = C.CreateLabel();
        var group = C.CreateLabel();
        var tail = C.CreateLabel();
        C.Label(ref row);
        C.mov(r8, rsi);
        C.mov(r9, r14);
        C.mov(r10, r15);
        for (var t = 0; t < tokens; t++)
            C.vpxord(Xmm(Chain + t), Xmm(Chain + t), Xmm(Chain + t));
        C.mov(rax, r13);
        C.test(rax, rax);
        C.jz(tail);
        C.Label(ref group);
        for (var line = 0; line < GroupBlocks * BlockBytes; line += 64)
            C.prefetcht0(__byte_ptr[rdi + PrefetchBytes + line]);
        Group(GroupBlocks);
        C.add(rdi, GroupBlocks * BlockBytes);
        C.add(r8, GroupBlocks * BlockLength);
        C.add(r9, GroupBlocks * BlockLength / SumLength * 2);
        C.add(r10, GroupBlocks * 4);
        C.dec(rax);
        C.jnz(group);
        C.Label(ref tail);
        if (tailBlocks > 0)
        {
            Group(tailBlocks);
            C.add(rdi, tailBlocks * BlockBytes);
        }
        else
        {
            C.nop();
        }

        // (c0 + c2) + (c1 + c3).
        for (var t = 0; t < tokens; t++)
        {
            var chain = Xmm(Chain + t);
            C.vmovhlps(xmm0, chain, chain);
            C.vaddps(chain, chain, xmm0);
            C.vmovshdup(xmm0, chain);
            C.vaddss(chain, chain, xmm0);
            if (t == 0)
                C.mov(rax, rdx);
            else
                C.add(rax, rbp);
            C.vmovss(__dword_ptr[rax], chain);
        }

        C.add(rdx, 4);
        C.dec(r12);
        C.jnz(row);
        return End();
    }

    private void Begin()
    {
        C = new Assembler(64) { PreferVex = false };
        Constants = new ConstantPool(C);
        Enter(C);
    }

    private nint End()
    {
        Leave(C);
        Constants.Emit();
        return Publish(C);
    }

    /// <summary>Loads what does not change from row to row into registers.</summary>
    protected abstract void LoadConstants(int tailBlocks);

    /// <summary>Adds a group of blocks at rdi to the chains.</summary>
    protected abstract void Group(int blocks);

    /// <summary>An address within a token's codes (r8), sums (r9) or scales (r10).</summary>
    protected static AssemblerMemoryOperand At(AssemblerRegister64 part, int token, int offset) => token switch
    {
        0 => __[part + offset],
        1 => __[part + r11 + offset],
        2 => __[part + (r11 * 2) + offset],
        _ => __[part + rbx + offset],
    };

    /// <summary>chain += sums * (scales * activation scales), lane by lane; the reverse with <paramref name="negative"/>.</summary>
    /// <param name="token">Whose chain.</param>
    /// <param name="sums">Register with four int32 sums; overwritten.</param>
    /// <param name="scales">Register with the blocks' four scales.</param>
    /// <param name="first">First block of the four within the group.</param>
    /// <param name="blocks">How many of the four there are.</param>
    /// <param name="negative">Whether to subtract.</param>
    protected void AddToChain(int token, int sums, int scales, int first, int blocks, bool negative)
    {
        const int Product = 27;
        C.vcvtdq2ps(Xmm(sums), Xmm(sums));
        if (blocks >= 4)
        {
            C.vmulps(Xmm(Product), Xmm(scales), At(r10, token, first * 4));
        }
        else
        {
            C.vmovups(Xmm(Product).k1.z, At(r10, token, first * 4));
            C.vmulps(Xmm(Product), Xmm(scales), Xmm(Product));
        }

        if (negative)
            C.vfnmadd231ps(Xmm(Chain + token), Xmm(sums), Xmm(Product));
        else
            C.vfmadd231ps(Xmm(Chain + token), Xmm(sums), Xmm(Product));
    }

    /// <summary>Sums of pairs of lanes of two registers, taking turns: [a0+a2, b0+b2, a1+a3, b1+b3] in each 128 bits.</summary>
    protected void AddPairs(int target, int a, int b)
    {
        C.vpunpckldq(Zmm(26), Zmm(a), Zmm(b));
        C.vpunpckhdq(Zmm(27), Zmm(a), Zmm(b));
        C.vpaddd(Zmm(target), Zmm(26), Zmm(27));
    }

    /// <summary>The second half of <see cref="AddPairs"/>: [a, b, c, d] summed over each 128 bits.</summary>
    protected void AddFours(int target, int ab, int cd)
    {
        C.vpunpcklqdq(Zmm(26), Zmm(ab), Zmm(cd));
        C.vpunpckhqdq(Zmm(27), Zmm(ab), Zmm(cd));
        C.vpaddd(Zmm(target), Zmm(26), Zmm(27));
    }

    /// <summary>A mask of the lowest <paramref name="bits"/> bits.</summary>
    protected void LoadMask(AssemblerRegisterK mask, int bits)
    {
        C.mov(rax, bits == 64 ? -1L : (1L << bits) - 1);
        C.kmovq(mask, rax);
    }

    private static int Offset(string field) => (int)Marshal.OffsetOf<RowArguments>(field);
}
