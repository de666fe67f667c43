using System.Runtime.InteropServices;
using Hadal.Numerics.Kernels;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>What a kernel of <see cref="BfloatTile"/> is called with.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BfloatTileArguments
{
    /// <summary>Four rows of bfloat16 weights, one after the other.</summary>
    public byte* Weights;

    /// <summary>Rounded activations of the first token.</summary>
    public byte* Tokens;

    /// <summary>Results: four values for each token.</summary>
    public float* Results;

    /// <summary>Bytes from one token's results to the next.</summary>
    public long ResultStride;

    /// <summary>Columns in steps of <see cref="BfloatDot.Step"/>, at least one.</summary>
    public long Steps;

    /// <summary>What to bring into the cache meanwhile, as many bytes as the four rows have; only read by kernels that ask.</summary>
    public byte* Ahead;
}

/// <summary>
/// Assembles <c>void tile(BfloatTileArguments*)</c> for AVX512-BF16: four rows of weights by one to three tokens, in the order of <see cref="BfloatDot"/>. Both running sums of each
/// stay in registers: twelve products for seven vectors loaded.
/// </summary>
/// <param name="tokens">1 to <see cref="MaxTokens"/>.</param>
/// <param name="asks">Whether it brings <see cref="BfloatTileArguments.Ahead"/> into the cache.</param>
/// <remarks>
/// rsi: weights, r8: three rows on; rcx: bytes of a row; rdx: activations; r9: steps left; r10: bytes asked for next; rax: work. zmm0-23: sums, by token, row and which of two;
/// zmm24-26: activations; zmm27-28: weights.
/// </remarks>
internal sealed class BfloatTile(int tokens, bool asks)
{
    /// <summary>Rows of a tile.</summary>
    public const int Rows = 4;

    /// <summary>The most tokens of a tile.</summary>
    public const int MaxTokens = 3;

    private const int Vector = 64;
    private const int StepBytes = BfloatDot.Step * sizeof(ushort);
    private const int Activations = 24;
    private const int Weights = 27;

    private readonly Assembler c = new(64) { PreferVex = false };

    /// <summary>Assembles the kernel and makes it callable.</summary>
    public nint Assemble()
    {
        Enter(c);
        c.mov(rsi, Field(nameof(BfloatTileArguments.Weights)));
        c.mov(rdx, Field(nameof(BfloatTileArguments.Tokens)));
        c.mov(r9, Field(nameof(BfloatTileArguments.Steps)));
        if (asks)
            c.mov(r10, Field(nameof(BfloatTileArguments.Ahead)));
        c.imul(rcx, r9, StepBytes);
        c.lea(rax, __[rcx + (rcx * 2)]);
        c.lea(r8, __[rsi + rax]);
        for (var i = 0; i < tokens * Rows * BfloatDot.Sums; i++)
            c.vpxord(Zmm(i), Zmm(i), Zmm(i));
        var step = c.CreateLabel();
        c.Label(ref step);
        for (var half = 0; half < BfloatDot.Sums; half++)
            Half(half);
        c.add(rsi, StepBytes);
        c.add(r8, StepBytes);
        c.add(rdx, StepBytes);
        if (asks)
            c.add(r10, Rows * StepBytes);
        c.dec(r9);
        c.jnz(step);
        c.mov(rdx, Field(nameof(BfloatTileArguments.Results)));
        c.mov(rcx, Field(nameof(BfloatTileArguments.ResultStride)));
        for (var t = 0; t < tokens; t++)
        {
            StoreSums(t);
            if (t < tokens - 1)
                c.add(rdx, rcx);
        }

        Leave(c);
        return Publish(c);
    }

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rdi + Marshal.OffsetOf<BfloatTileArguments>(name).ToInt32()];

    private static AssemblerRegisterZMM Sum(int token, int row, int half) => Zmm((((token * Rows) + row) * BfloatDot.Sums) + half);

    private void Half(int half)
    {
        var offset = half * Vector;
        for (var t = 0; t < tokens; t++)
            c.vmovdqu64(Zmm(Activations + t), __zmmword_ptr[Row(rdx, rdx, t) + offset]);
        for (var r = 0; r < Rows; r++)
        {
            var weights = Zmm(Weights + (r % 2));
            c.vmovdqu64(weights, __zmmword_ptr[Row(rsi, r8, r) + offset]);
            if (asks)
                c.prefetcht0(__byte_ptr[r10 + (((half * Rows) + r) * Vector)]);
            for (var t = 0; t < tokens; t++)
                c.vdpbf16ps(Sum(t, r, half), Zmm(Activations + t), weights);
        }
    }

    private static AssemblerMemoryOperand Row(AssemblerRegister64 first, AssemblerRegister64 fourth, int row) => row switch
    {
        0 => first + 0,
        1 => first + rcx,
        2 => first + (rcx * 2),
        _ => fourth + 0,
    };

    // The tree of BfloatDot for four rows at once: the lanes of each 128 bits, then those four.
    private void StoreSums(int token)
    {
        for (var r = 0; r < Rows; r++)
            c.vaddps(Sum(token, r, 0), Sum(token, r, 0), Sum(token, r, 1));
        var (s0, s1, s2, s3) = (Sum(token, 0, 0), Sum(token, 1, 0), Sum(token, 2, 0), Sum(token, 3, 0));
        var (low, high) = (Zmm(Weights), Zmm(Weights + 1));
        foreach (var (a, b) in (ReadOnlySpan<(AssemblerRegisterZMM, AssemblerRegisterZMM)>)[(s0, s1), (s2, s3)])
        {
            c.vunpcklps(low, a, b);
            c.vunpckhps(high, a, b);
            c.vaddps(a, low, high);
        }

        c.vunpcklpd(low, s0, s2);
        c.vunpckhpd(high, s0, s2);
        c.vaddps(low, low, high);
        c.vextractf32x8(Ymm(Weights + 1), low, 1);
        c.vaddps(Ymm(Weights), Ymm(Weights), Ymm(Weights + 1));
        c.vextractf32x4(Xmm(Weights + 1), Ymm(Weights), 1);
        c.vaddps(Xmm(Weights), Xmm(Weights), Xmm(Weights + 1));
        c.vmovups(__xmmword_ptr[rdx], Xmm(Weights));
    }
}
