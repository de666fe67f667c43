using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
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
/// Assembles integer kernels for AVX2: eight weight rows that lie side by side (<see cref="InterleavedPanel"/>) times one to six tokens,
/// <c>void tile(byte* panels, byte* x, float* y, InterleavedArguments* arguments)</c>, y[t, m] for all rows m of all panels. The order of everything is that of
/// <see cref="IntegerDot"/>, the chains [4][T][8] of a panel lying on the stack.
/// </summary>
/// <remarks>
/// Registers: rdi codes; rsi what lies before them; rax, rbx, rbp where a token's codes, sums and scales are, from the tokens in r8 to r13; r14 chains of the
/// block; rcx rounds left; rdx how far ahead bytes are asked for. ymm0-5 sums over the block, then chains; ymm6-11 sums over some steps in 16 bits, or of minima; ymm12 codes; ymm13 broadcast activations; ymm14
/// integer scales, ymm15 the mask of lower bits (signed codes: ymm11 their magnitude).
/// </remarks>
internal sealed class InterleavedTile
{
    /// <summary>Most tokens of a kernel.</summary>
    public const int MaxTokens = 6;

    private const int Sums = 0;
    private const int Partial = 6;
    private const int Codes = 12;
    private const int Broadcast = 13;
    private const int Scale = 14;
    private const int Mask = 15;
    private const int Magnitude = 11;
    private const int Vector = InterleavedPanel.Vector;
    private const int MaxScalePairs = 8;

    // On the stack: chains, then what there is no register for.
    private const int BlocksLeft = 4 * MaxTokens * Vector;
    private const int PanelsLeft = BlocksLeft + 8;
    private const int Arguments = BlocksLeft + 16;
    private const int Results = BlocksLeft + 24;
    private const int CallersStack = BlocksLeft + 32;
    private const int ScaleFours = BlocksLeft + 64;
    private const int StackBytes = ScaleFours + (MaxScalePairs * Vector);

    private static readonly AssemblerRegister64[] TokenRegisters = [r8, r9, r10, r11, r12, r13];

    private readonly Assembler c = new(64);
    private readonly ConstantPool constants;
    private readonly InterleavedPanel panel;
    private readonly int tokens;
    private readonly PanelSource source;

    private InterleavedTile(InterleavedPanel panel, int tokens, PanelSource source)
    {
        this.panel = source switch
        {
            PanelSource.Expanded => panel.Expanded,
            PanelSource.Copy or PanelSource.CachedCopy => panel.Copied,
            _ => panel,
        };
        this.tokens = tokens;
        this.source = source;
        constants = new ConstantPool(c);
    }

    /// <summary>Whether this processor runs the kernels.</summary>
    public static bool IsSupported => Avx2.IsSupported && Fma.IsSupported && (X86Base.CpuId(1, 0).Ecx & (1 << 29)) != 0;

    private int Plane => tokens * Vector;

    private int LowerMask => (1 << panel.Layout.Code(0)[0].Bits) - 1;

    private bool IsSuper => panel.Scales > 0;

    // Scales and minima are unpacked for each block.
    private bool HasPackedScales => IsSuper && panel.HasMinimum;

    /// <summary>Assembles a kernel and makes it callable.</summary>
    /// <param name="panel">Layout of the format.</param>
    /// <param name="tokens">T, 1 to 6.</param>
    /// <param name="source">Where its panels are.</param>
    public static nint Assemble(InterleavedPanel panel, int tokens, PanelSource source)
    {
        var tile = new InterleavedTile(panel, tokens, source);
        tile.Kernel();
        return Publish(tile.c);
    }

    /// <summary>Assembles what expands the blocks of one panel, <c>void expand(byte* panel, byte* target, void* unused, InterleavedArguments* arguments)</c>.</summary>
    /// <param name="panel">Layout of the format.</param>
    /// <param name="source">Where the panel is.</param>
    public static nint AssembleExpansion(InterleavedPanel panel, PanelSource source)
    {
        var tile = new InterleavedTile(panel, 0, source);
        tile.Expansion();
        return Publish(tile.c);
    }

    private void Kernel()
    {
        Enter(c);
        c.mov(rax, rsp);
        c.sub(rsp, StackBytes);
        c.and(rsp, -64);
        c.mov(__qword_ptr[rsp + CallersStack], rax);
        c.mov(__qword_ptr[rsp + Arguments], rcx);
        c.mov(__qword_ptr[rsp + Results], rdx);
        c.mov(rax, Argument(nameof(InterleavedArguments.Panels)));
        c.mov(__qword_ptr[rsp + PanelsLeft], rax);
        c.mov(rdx, Argument(nameof(InterleavedArguments.TokenStride)));
        for (var t = 0; t < tokens; t++)
        {
            c.mov(TokenRegisters[t], rsi);
            c.add(rsi, rdx);
        }

        c.vmovdqu(Ymm(Mask), constants.Vector(_ => LowerMask));
        if (!IsSuper)
            c.vmovdqu(Ymm(Scale), constants.Words(static _ => 1));

        var next = c.CreateLabel();
        c.Label(ref next);
        Panel();
        StoreResults();
        c.dec(__qword_ptr[rsp + PanelsLeft]);
        c.jnz(next);
        c.mov(rsp, __qword_ptr[rsp + CallersStack]);
        Leave(c);
        constants.Emit();
    }

    private void Expansion()
    {
        const int Half = Vector / 2;
        var block = c.CreateLabel();
        var round = c.CreateLabel();
        Enter(c);
        c.vmovdqu(Ymm(Mask), constants.Vector(_ => LowerMask));
        c.mov(rax, Argument(nameof(InterleavedArguments.Blocks)));
        c.mov(rdx, Argument(nameof(InterleavedArguments.Ahead)));
        c.Label(ref block);
        Prefetch(panel.Bytes);
        for (var i = 0; i < panel.Codes; i += Half)
        {
            c.vmovdqu(xmm0, __xmmword_ptr[rdi + i]);
            c.vmovdqu(__xmmword_ptr[rsi + i], xmm0);
        }

        c.add(rdi, panel.Codes);
        c.add(rsi, panel.Codes);
        c.mov(ecx, panel.Rounds);
        c.Label(ref round);
        for (var step = 0; step < panel.Layout.RoundCodes / 4; step++)
        {
            LoadCodes(step);
            c.vmovdqu(__ymmword_ptr[rsi + (step * Vector)], Ymm(Codes));
        }

        c.add(rdi, panel.RoundVectors * Vector);
        c.add(rsi, panel.Layout.RoundCodes / 4 * Vector);
        c.dec(ecx);
        c.jnz(round);
        c.dec(rax);
        c.jnz(block);
        Leave(c);
        constants.Emit();
    }

    private void Panel()
    {
        c.vpxor(ymm0, ymm0, ymm0);
        for (var i = 0; i < 4 * tokens; i++)
            c.vmovdqa(__ymmword_ptr[rsp + (i * Vector)], ymm0);
        c.mov(r14, rsp);
        c.mov(rcx, __qword_ptr[rsp + Arguments]);
        c.mov(rax, Argument(nameof(InterleavedArguments.Blocks)));
        c.mov(__qword_ptr[rsp + BlocksLeft], rax);
        c.xor(eax, eax);
        c.mov(rbx, Argument(nameof(InterleavedArguments.Sums)));
        c.mov(rbp, Argument(nameof(InterleavedArguments.Scales)));
        c.mov(rdx, Argument(nameof(InterleavedArguments.Ahead)));
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
        c.dec(__qword_ptr[rsp + BlocksLeft]);
        c.jnz(block);
    }

    // (c0 + c2) + (c1 + c3).
    private void StoreResults()
    {
        c.mov(rcx, __qword_ptr[rsp + Arguments]);
        c.mov(rax, Argument(nameof(InterleavedArguments.ResultStride)));
        c.mov(rdx, __qword_ptr[rsp + Results]);
        c.add(__qword_ptr[rsp + Results], Vector);
        ForEach(t =>
        {
            c.vmovaps(ymm0, __ymmword_ptr[rsp + (t * Vector)]);
            c.vaddps(ymm0, ymm0, __ymmword_ptr[rsp + (2 * Plane) + (t * Vector)]);
            c.vmovaps(ymm1, __ymmword_ptr[rsp + Plane + (t * Vector)]);
            c.vaddps(ymm1, ymm1, __ymmword_ptr[rsp + (3 * Plane) + (t * Vector)]);
            c.vaddps(ymm0, ymm0, ymm1);
            c.vmovups(__ymmword_ptr[rdx], ymm0);
            c.add(rdx, rax);
        });
    }

    private static AssemblerMemoryOperand Argument(string name) => __qword_ptr[rcx + Marshal.OffsetOf<InterleavedArguments>(name).ToInt32()];

    private void ForEach(Action<int> body)
    {
        for (var t = 0; t < tokens; t++)
            body(t);
    }

    private void Prefetch(int bytes)
    {
        for (var line = 0; source is PanelSource.Rows or PanelSource.Copy && line < bytes; line += 64)
            c.prefetcht0(__byte_ptr[rdi + rdx + line]);
    }

    private void SuperBlock()
    {
        var round = c.CreateLabel();
        ForEach(t => c.vpxor(Ymm(Sums + t), Ymm(Sums + t), Ymm(Sums + t)));
        if (HasPackedScales)
            UnpackScales();
        else
            c.lea(rsi, __[rdi + panel.ScalesAt]);
        Prefetch(panel.Codes);
        c.add(rdi, panel.Codes);
        c.mov(ecx, panel.Rounds);
        c.Label(ref round);
        var bytes = panel.RoundVectors * Vector;
        Prefetch(bytes);
        var scales = panel.Layout.RoundCodes / panel.SumLength;
        for (var i = 0; i < scales; i++)
        {
            var scale = i;
            Steps(i * panel.SumLength / 4, panel.SumLength / 4, () => LoadScale(scale));
        }

        c.add(rsi, scales / 2 * (HasPackedScales ? Vector : InterleavedPanel.PairBytes));
        c.add(rdi, bytes);
        c.add(rax, panel.Layout.RoundCodes);
        c.dec(ecx);
        c.jnz(round);

        // rdi is at the end of the block.
        var start = rdi - panel.Bytes;
        if (panel.ZeroPoint != 0)
        {
            for (var pair = 0; pair < panel.Scales / 2; pair++)
            {
                c.vpmovsxbw(Ymm(Codes), __xmmword_ptr[start + panel.ScalesAt + (pair * InterleavedPanel.PairBytes)]);
                AddPairSums(Codes, pair);
            }

            ForEach(t =>
            {
                c.vpslld(Ymm(Partial + t), Ymm(Partial + t), (byte)BitOperations.Log2((uint)panel.ZeroPoint));
                c.vpsubd(Ymm(Sums + t), Ymm(Sums + t), Ymm(Partial + t));
            });
        }

        AddToChains(__xmmword_ptr[start]);
        if (panel.HasMinimum)
        {
            for (var pair = 0; pair < panel.Scales / 2; pair++)
            {
                if (pair % 2 == 0)
                    Unpack(start + panel.ScalesAt, panel.Layout.Minimum(pair / 2));
                var first = 2 * (pair % 2);
                c.vpshufb(Ymm(Scale), Ymm(Codes), constants.Vector(j => j % 2 == 1 ? 0x80 : (j % 16 / 4 * 4) + first + (j % 4 / 2)));
                AddPairSums(Scale, pair);
            }

            SubtractFromSums(__xmmword_ptr[start + 16]);
        }

        StoreChains();
    }

    // Four scales of each row go to the stack, for two of them as they are, for the other two moved to their place; rsi = where.
    private void UnpackScales()
    {
        for (var pair = 0; pair < panel.Scales / 2; pair++)
        {
            if (pair % 2 == 0)
                Unpack(rdi + panel.ScalesAt, panel.Layout.Scale(pair / 2));
            else
                c.vpsrld(Ymm(Codes), Ymm(Codes), 16);
            c.vmovdqa(__ymmword_ptr[rsp + ScaleFours + (pair * Vector)], Ymm(Codes));
        }

        c.lea(rsi, __[rsp + ScaleFours]);
    }

    // ymm12 = four numbers of each row, a byte each.
    private void Unpack(AssemblerMemoryOperand vectors, BitField[] fields)
    {
        var to = 0;
        foreach (var field in fields)
        {
            Bits(to == 0 ? Codes : Broadcast, vectors, field, to);
            if (to > 0)
                c.vpor(Ymm(Codes), Ymm(Codes), Ymm(Broadcast));
            to += field.Bits;
        }
    }

    // ymm14 = a scale of each row, twice: one of the two that lie together.
    private void LoadScale(int scale)
    {
        var pair = scale / 2;
        if (HasPackedScales)
        {
            c.vmovdqa(Ymm(Scale), __ymmword_ptr[rsi + (pair * Vector)]);
            c.vpshufb(Ymm(Scale), Ymm(Scale), constants.Vector(j => j % 2 == 1 ? 0x80 : (j % 16 / 4 * 4) + (scale % 2)));
            return;
        }

        c.vpmovsxbw(Ymm(Scale), __xmmword_ptr[rsi + (pair * InterleavedPanel.PairBytes)]);
        c.vpshufb(Ymm(Scale), Ymm(Scale), constants.Vector(j => (j % 16 / 4 * 4) + (2 * (scale % 2)) + (j % 2)));
    }

    private void SmallBlock()
    {
        // The zero point comes off first: two sums of activations, of which the first is meant.
        ForEach(t =>
        {
            if (panel.ZeroPoint == 0)
            {
                c.vpxor(Ymm(Sums + t), Ymm(Sums + t), Ymm(Sums + t));
                return;
            }

            c.vpbroadcastd(Ymm(Sums + t), __dword_ptr[TokenRegisters[t] + rbx]);
            c.vpmaddwd(Ymm(Sums + t), Ymm(Sums + t), constants.Words(i => i % 2 == 0 ? -panel.ZeroPoint : 0));
        });
        c.mov(rsi, rdi);
        Prefetch(panel.Bytes);
        c.add(rdi, panel.Codes);
        Steps(0, panel.BlockLength / 4, static () => { });
        c.add(rdi, panel.RoundVectors * Vector);
        c.add(rax, panel.BlockLength);
        AddToChains(__xmmword_ptr[rsi]);
        if (panel.HasMinimum)
        {
            ForEach(t =>
            {
                c.vpbroadcastd(Ymm(Partial + t), __dword_ptr[TokenRegisters[t] + rbx]);
                c.vpmaddwd(Ymm(Partial + t), Ymm(Partial + t), constants.Words(static i => i % 2 == 0 ? 1 : 0));
            });
            SubtractFromSums(__xmmword_ptr[rsi + 16]);
        }

        StoreChains();
    }

    // sums += scale times codes times activations over some steps of four codes.
    private void Steps(int first, int count, Action loadScale)
    {
        if (panel.IsSigned)
        {
            loadScale();
            for (var step = first; step < first + count; step++)
                SignedStep(step);
            return;
        }

        for (var part = first; part < first + count; part += panel.PartSteps)
        {
            for (var step = part; step < part + panel.PartSteps; step++)
            {
                LoadCodes(step);
                var isFirst = step == part;
                ForEach(t =>
                {
                    var target = isFirst ? Ymm(Partial + t) : Ymm(Broadcast);
                    c.vpbroadcastd(Ymm(Broadcast), Activations(t, step));
                    c.vpmaddubsw(target, Ymm(Codes), Ymm(Broadcast));
                    if (!isFirst)
                        c.vpaddw(Ymm(Partial + t), Ymm(Partial + t), Ymm(Broadcast));
                });
            }

            loadScale();
            ForEach(t =>
            {
                c.vpmaddwd(Ymm(Partial + t), Ymm(Partial + t), Ymm(Scale));
                c.vpaddd(Ymm(Sums + t), Ymm(Sums + t), Ymm(Partial + t));
            });
        }
    }

    // The sign of a code goes to the activation, the magnitude stays.
    private void SignedStep(int step)
    {
        LoadCodes(step);
        c.vpabsb(Ymm(Magnitude), Ymm(Codes));
        ForEach(t =>
        {
            c.vpbroadcastd(Ymm(Broadcast), Activations(t, step));
            c.vpsignb(Ymm(Broadcast), Ymm(Broadcast), Ymm(Codes));
            c.vpmaddubsw(Ymm(Broadcast), Ymm(Magnitude), Ymm(Broadcast));
            c.vpmaddwd(Ymm(Broadcast), Ymm(Broadcast), Ymm(Scale));
            c.vpaddd(Ymm(Sums + t), Ymm(Sums + t), Ymm(Broadcast));
        });
    }

    // ymm12 = four codes of each row.
    private void LoadCodes(int step)
    {
        var table = panel.Layout.Table;
        Unpack(__[rdi], panel.Layout.Code(step));
        if (table.Length == 0)
            return;
        c.vmovdqu(Ymm(Broadcast), constants.Vector(i => table[i % table.Length]));
        c.vpshufb(Ymm(Codes), Ymm(Broadcast), Ymm(Codes));
    }

    // Some bits of every byte of a vector, moved to bit position to. Shifts are of 16-bit lanes: what comes in from the neighbour is masked.
    private void Bits(int target, AssemblerMemoryOperand vectors, BitField from, int to)
    {
        var vector = __ymmword_ptr[vectors + (from.Vector * Vector)];
        if (from.Bits == 8)
        {
            c.vmovdqu(Ymm(target), vector);
            return;
        }

        var mask = ((1 << from.Bits) - 1) << to;
        if (from.Shift == to && mask == LowerMask)
        {
            c.vpand(Ymm(target), Ymm(Mask), vector);
            return;
        }

        c.vmovdqu(Ymm(target), vector);
        if (from.Shift < to)
            c.vpsllw(Ymm(target), Ymm(target), (byte)(to - from.Shift));
        else if (from.Shift > to)
            c.vpsrlw(Ymm(target), Ymm(target), (byte)(from.Shift - to));
        if (mask == LowerMask)
            c.vpand(Ymm(target), Ymm(target), Ymm(Mask));
        else
            c.vpand(Ymm(target), Ymm(target), constants.Vector(_ => mask));
    }

    private AssemblerMemoryOperand Activations(int token, int step) => __dword_ptr[TokenRegisters[token] + rax + (step * 4)];

    // partial sums += two numbers of each row times the sums of activations that belong to them.
    private void AddPairSums(int numbers, int pair) => ForEach(t =>
    {
        c.vpbroadcastd(Ymm(Broadcast), __dword_ptr[TokenRegisters[t] + rbx + (pair * 4)]);
        c.vpmaddwd(pair == 0 ? Ymm(Partial + t) : Ymm(Broadcast), Ymm(numbers), Ymm(Broadcast));
        if (pair > 0)
            c.vpaddd(Ymm(Partial + t), Ymm(Partial + t), Ymm(Broadcast));
    });

    private void StoreChains() => ForEach(t => c.vmovups(__ymmword_ptr[r14 + (t * Vector)], Ymm(Sums + t)));

    // sums = fma(float(sums), d * dx, chain), d in binary16.
    private void AddToChains(AssemblerMemoryOperand scales)
    {
        c.vcvtph2ps(Ymm(Codes), scales);
        ForEach(t =>
        {
            ActivationScale(t);
            c.vcvtdq2ps(Ymm(Sums + t), Ymm(Sums + t));
            c.vfmadd213ps(Ymm(Sums + t), Ymm(Broadcast), __ymmword_ptr[r14 + (t * Vector)]);
        });
    }

    // sums = fma(-float(partial), dmin * dx, sums).
    private void SubtractFromSums(AssemblerMemoryOperand scales)
    {
        c.vcvtph2ps(Ymm(Codes), scales);
        ForEach(t =>
        {
            ActivationScale(t);
            c.vcvtdq2ps(Ymm(Partial + t), Ymm(Partial + t));
            c.vfnmadd231ps(Ymm(Sums + t), Ymm(Partial + t), Ymm(Broadcast));
        });
    }

    // ymm13 = the scale of a token's block times those of the rows in ymm12.
    private void ActivationScale(int token)
    {
        c.vbroadcastss(Ymm(Broadcast), __dword_ptr[TokenRegisters[token] + rbp]);
        c.vmulps(Ymm(Broadcast), Ymm(Codes), Ymm(Broadcast));
    }
}
