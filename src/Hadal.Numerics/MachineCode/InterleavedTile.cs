using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>What a kernel over <see cref="InterleavedPanel"/>s is called with, beside weights, activations and results.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct InterleavedArguments
{
    /// <summary>Panels, one after the other.</summary>
    public long Panels;

    /// <summary>Blocks of each.</summary>
    public long Blocks;

    /// <summary>Bytes from one token's results to the next.</summary>
    public long ResultStride;

    /// <summary>Bytes from one token's activations to the next.</summary>
    public long TokenStride;

    /// <summary>Where the sums lie that the format uses, from the start of a token's activations.</summary>
    public long Sums;

    /// <summary>Where the scales lie, likewise.</summary>
    public long Scales;

    /// <summary>Bytes from a panel to what is asked for while it is read (<see cref="PanelSource.Rows"/>, <see cref="PanelSource.Copy"/>).</summary>
    public long Ahead;
}

/// <summary>Where a kernel finds the panels it multiplies.</summary>
internal enum PanelSource
{
    /// <summary>In a cache, where rows have just been interleaved; the next rows are in memory.</summary>
    Rows,

    /// <summary>The same once more.</summary>
    CachedRows,

    /// <summary>In memory, to be streamed: <see cref="InterleavedPanel.Copied"/> at load.</summary>
    Copy,

    /// <summary>The same once more, in a cache.</summary>
    CachedCopy,

    /// <summary>In a cache, as <see cref="InterleavedPanel.Expanded"/>.</summary>
    Expanded,
}

/// <summary>
/// Assembles integer kernels over weight rows that lie side by side (<see cref="InterleavedPanel"/>), times some tokens:
/// <c>void tile(byte* panels, byte* x, float* y, InterleavedArguments* arguments)</c>, y[t, m] for all rows m of all panels. The order of everything is that of
/// <see cref="IntegerDot"/>, the chains [4][T][rows] of a panel lying on the stack.
/// </summary>
/// <remarks>
/// Registers of all variants: rdi codes; rsi what lies before them; rbx, rbp where sums and scales of activations are; r14 chains of the block; rcx rounds left;
/// rdx how far ahead bytes are asked for.
/// </remarks>
internal abstract class InterleavedTile(InterleavedPanel panel, int tokens, PanelSource source, int vector, int maxTokens, Assembler c)
{
    private const int MaxScalePairs = 8;
    private const int Line = 64;

    private readonly InterleavedPanel panel = source switch
    {
        PanelSource.Expanded => panel.Expanded,
        PanelSource.Copy or PanelSource.CachedCopy => panel.Copied,
        _ => panel,
    };

    // On the stack: chains, then what there is no register for.
    private readonly int frame = 4 * maxTokens * vector;

    /// <summary>Layout of the panels.</summary>
    protected InterleavedPanel Panel => panel;

    /// <summary>T.</summary>
    protected int Tokens => tokens;

    protected Assembler C => c;

    protected ConstantPool Constants { get; } = new(c);

    /// <summary>Bytes of one number for each token and row.</summary>
    protected int Plane => tokens * vector;

    /// <summary>The bits of a code that its first field has.</summary>
    protected int LowerMask => (1 << panel.Layout.Code(0)[0].Bits) - 1;

    /// <summary>Whether every code is a byte already, and unsigned where the variant wants it so.</summary>
    protected bool IsExpanded => source == PanelSource.Expanded;

    protected bool IsSuper => panel.Scales > 0;

    /// <summary>Whether scales and minima are unpacked for each block.</summary>
    protected bool HasPackedScales => IsSuper && panel.HasMinimum;

    /// <summary>On the stack, where the first token's activations are, for kernels that have no register for it.</summary>
    protected AssemblerMemoryOperand FirstToken => __qword_ptr[rsp + frame + 40];

    /// <summary>On the stack, from where unpacked scales lie.</summary>
    protected int ScaleFours => frame + 64;

    /// <summary>
    /// How far ahead one line of each piece is asked for, into the second cache, if any. The processor reads ahead by itself, to the end of a page, and goes on sooner behind it then: docs/LOG.md.
    /// </summary>
    protected virtual (int Bytes, int Piece)? FarAhead => (6144, 512);

    /// <summary>Whether all bytes ahead are asked for, rather than left to what the processor sees coming by itself.</summary>
    protected virtual bool AsksAhead => source is PanelSource.Rows or PanelSource.Copy;

    private AssemblerMemoryOperand BlocksLeft => __qword_ptr[rsp + frame];

    private AssemblerMemoryOperand PanelsLeft => __qword_ptr[rsp + frame + 8];

    private AssemblerMemoryOperand Arguments => __qword_ptr[rsp + frame + 16];

    private AssemblerMemoryOperand Results => __qword_ptr[rsp + frame + 24];

    private AssemblerMemoryOperand CallersStack => __qword_ptr[rsp + frame + 32];

    /// <summary>Assembles a kernel and makes it callable.</summary>
    public nint AssembleKernel()
    {
        Enter(c);
        c.mov(rax, rsp);
        c.sub(rsp, ScaleFours + (MaxScalePairs * vector));
        c.and(rsp, -64);
        c.mov(CallersStack, rax);
        c.mov(Arguments, rcx);
        c.mov(Results, rdx);
        c.mov(FirstToken, rsi);
        c.mov(rax, Argument(nameof(InterleavedArguments.Panels)));
        c.mov(PanelsLeft, rax);
        c.mov(rdx, Argument(nameof(InterleavedArguments.TokenStride)));
        LoadStrides();
        LoadConstants();

        var next = c.CreateLabel();
        c.Label(ref next);
        AllBlocks();
        c.mov(rcx, Arguments);
        c.mov(rax, Argument(nameof(InterleavedArguments.ResultStride)));
        c.mov(rdx, Results);
        c.add(Results, vector);
        ForEach(t =>
        {
            StoreResults(t);
            c.add(rdx, rax);
        });
        c.dec(PanelsLeft);
        c.jnz(next);
        c.mov(rsp, CallersStack);
        Leave(c);
        Constants.Emit();
        return Publish(c);
    }

    /// <summary>Assembles what expands the blocks of one panel, <c>void expand(byte* panel, byte* target, void* unused, InterleavedArguments* arguments)</c>, and makes it callable.</summary>
    public nint AssembleExpansion()
    {
        const int Piece = 16;
        var block = c.CreateLabel();
        var round = c.CreateLabel();
        Enter(c);
        LoadConstants();
        c.mov(r8, Argument(nameof(InterleavedArguments.Blocks)));
        c.mov(rdx, Argument(nameof(InterleavedArguments.Ahead)));
        c.Label(ref block);
        Prefetch(panel.Codes);
        for (var i = 0; i < panel.Codes; i += Piece)
        {
            c.vmovdqu(xmm0, __xmmword_ptr[rdi + i]);
            c.vmovdqu(__xmmword_ptr[rsi + i], xmm0);
        }

        c.add(rdi, panel.Codes);
        c.add(rsi, panel.Codes);
        c.mov(ecx, panel.Rounds);
        c.Label(ref round);
        for (var step = 0; step < panel.Layout.RoundCodes / 4; step++)
            StoreCodes(step);
        c.add(rdi, panel.RoundVectors * vector);
        c.add(rsi, panel.Layout.RoundCodes / 4 * vector);
        c.dec(ecx);
        c.jnz(round);
        c.dec(r8);
        c.jnz(block);
        Leave(c);
        Constants.Emit();
        return Publish(c);
    }

    protected static AssemblerMemoryOperand Argument(string name) => __qword_ptr[rcx + Marshal.OffsetOf<InterleavedArguments>(name).ToInt32()];

    protected void ForEach(Action<int> body)
    {
        for (var t = 0; t < tokens; t++)
            body(t);
    }

    protected void Prefetch(int bytes)
    {
        for (var line = 0; AsksAhead && line < bytes; line += Line)
            c.prefetcht0(__byte_ptr[rdi + rdx + line]);
    }

    /// <summary>Asks for a step's share of a round: many lines at once would stop the processor.</summary>
    protected void PrefetchVectors(int step)
    {
        var steps = panel.Layout.RoundCodes / 4;
        if (step == 0 && source == PanelSource.Copy)
            AskForPage();
        for (var i = step * panel.RoundVectors / steps; i < (step + 1) * panel.RoundVectors / steps; i++)
        {
            if (AsksAhead && i * vector % Line == 0)
                c.prefetcht0(__byte_ptr[rdi + rdx + (i * vector)]);
            if (source == PanelSource.Copy && FarAhead is { } far && i * vector % far.Piece == 0)
                c.prefetcht1(__byte_ptr[rdi + far.Bytes + (i * vector)]);
        }
    }

    /// <summary>Once a round, asks for something of a page to come; rax is work.</summary>
    protected virtual void AskForPage()
    {
    }

    /// <summary>The register of codes = four numbers of each row, a byte each.</summary>
    /// <param name="vectors">The vectors that the fields are in.</param>
    /// <param name="fields">Where the bits of the numbers are.</param>
    protected void Unpack(AssemblerMemoryOperand vectors, BitField[] fields)
    {
        foreach (var bits in Bits(fields))
            LoadBits(vectors + (bits.Vector * vector), bits);
    }

    /// <summary>How fields come together to numbers.</summary>
    protected static IEnumerable<CodeBits> Bits(BitField[] fields)
    {
        var to = 0;
        foreach (var field in fields)
        {
            // Shifts are of 16-bit lanes: what comes in from the neighbour is masked.
            yield return new(field.Vector, to - field.Shift, field.Bits == 8 ? null : ((1 << field.Bits) - 1) << to, to == 0);
            to += field.Bits;
        }
    }

    /// <summary>Puts what is the same for all panels into registers; rdx = the stride from one token to the next, rsi = the first token.</summary>
    protected abstract void LoadStrides();

    /// <summary>Loads vectors that do not change.</summary>
    protected abstract void LoadConstants();

    /// <summary>Begins a panel: chains are zero, and the registers of activations at the first block; rcx = the arguments.</summary>
    protected abstract void BeginPanel();

    /// <summary>Adds a super-block to the chains at r14 and moves on.</summary>
    protected abstract void SuperBlock();

    /// <summary>Adds a block of 32 to the chains at r14 and moves on.</summary>
    protected abstract void SmallBlock();

    /// <summary>[rdx] = (c0 + c2) + (c1 + c3) of a token's chains.</summary>
    protected abstract void StoreResults(int token);

    /// <summary>Four codes of each row go to rsi.</summary>
    protected abstract void StoreCodes(int step);

    /// <summary>The register of codes = the bytes of a vector, shifted and masked; or what is not the first is added to it.</summary>
    protected abstract void LoadBits(AssemblerMemoryOperand vector, CodeBits bits);

    private void AllBlocks()
    {
        c.mov(rcx, Arguments);
        c.mov(r14, rsp);
        c.mov(rax, Argument(nameof(InterleavedArguments.Blocks)));
        c.mov(BlocksLeft, rax);
        c.mov(rdx, Argument(nameof(InterleavedArguments.Ahead)));
        BeginPanel();
        var block = c.CreateLabel();
        c.Label(ref block);
        if (IsSuper)
            SuperBlock();
        else
            SmallBlock();
        c.add(rbx, panel.BlockLength / panel.SumLength * 2);
        c.add(rbp, 4);
        c.add(r14, Plane);
        c.lea(rsi, __[rsp + (4 * Plane)]);
        c.cmp(r14, rsi);
        c.cmove(r14, rsp);
        c.dec(BlocksLeft);
        c.jnz(block);
    }

    /// <summary>Some bits of four numbers of each row, on the way to their places.</summary>
    /// <param name="Vector">The vector that they are in.</param>
    /// <param name="Shift">By how much they move to the left.</param>
    /// <param name="Mask">Where they come to in each byte; null for all of it.</param>
    /// <param name="IsFirst">Whether they are the lowest.</param>
    protected readonly record struct CodeBits(int Vector, int Shift, int? Mask, bool IsFirst);
}
