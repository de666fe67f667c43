using Hadal.Numerics.Kernels.Integer;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// The kernels of <see cref="InterleavedTile"/> for AVX512-VNNI, which .NET does not expose: sixteen weight rows times one to twelve tokens. One instruction adds up
/// four products of codes of any size in 32 bits; signed codes get a zero point of 128.
/// </summary>
/// <remarks>
/// Registers beside the common ones: r8, r9, r10 codes of tokens 0, 5 and 10, rbx and rbp being those of token 0; r11, r12, r15 the stride from one token to the next,
/// three and five times that; rax, r13 work.
/// zmm0-11 sums over the block, then chains; zmm12-23 sums over one integer scale, or of minima; zmm24 codes; zmm25 work; zmm26 integer scales; zmm27 the mask of
/// lower bits; zmm28 values of codes, zmm29 minus the zero point.
/// </remarks>
internal sealed class InterleavedVnniTile(InterleavedPanel panel, int tokens, PanelSource source)
    : InterleavedTile(panel, tokens, source, Vector, MaxTokens, new Assembler(64) { PreferVex = false })
{
    /// <summary>Most tokens of a kernel.</summary>
    public const int MaxTokens = 12;

    private const int Sums = 0;
    private const int Partial = MaxTokens;
    private const int Codes = 24;
    private const int Work = 25;
    private const int Scale = 26;
    private const int Mask = 27;
    private const int Values = 28;
    private const int Zero = 29;
    private const int Vector = 64;
    private const int Half = Vector / 2;
    private const int SignedZero = 128;
    private const int TokensOfBase = 5;

    /// <summary>Asking costs one token or two more than it brings: docs/LOG.md.</summary>
    protected override bool AsksAhead => Tokens is not (1 or 2) && base.AsksAhead;

    /// <summary>What is asked for into the first cache is asked for into the second one before; docs/LOG.md.</summary>
    protected override (int Bytes, int Piece) FarAhead => AsksAhead ? (12288, 64) : base.FarAhead;

    /// <inheritdoc/>
    protected override bool AsksForPages => true;

    private int ZeroPoint => Panel.IsSigned ? SignedZero : Panel.ZeroPoint;

    /// <inheritdoc/>
    protected override void LoadStrides()
    {
        C.mov(r11, rdx);
        C.lea(r12, __[r11 + (r11 * 2)]);
        C.lea(r15, __[r11 + (r11 * 4)]);
    }

    /// <inheritdoc/>
    protected override void LoadConstants()
    {
        C.vmovdqu32(Zmm(Mask), Constants.Vector(_ => LowerMask));
        if (Panel.Layout.Table is { Length: > 0 } table)
            C.vmovdqu32(Zmm(Values), Constants.Vector(i => table[i % table.Length] + SignedZero));
        else if (Panel.IsSigned)
            C.vmovdqu32(Zmm(Values), Constants.Vector(static _ => SignedZero));
        if (ZeroPoint != 0)
            C.vmovdqu32(Zmm(Zero), Constants.Words(i => IsSuper || i % 2 == 0 ? -ZeroPoint : 0));
    }

    /// <inheritdoc/>
    protected override void BeginPanel()
    {
        C.vpxord(zmm0, zmm0, zmm0);
        for (var i = 0; i < 4 * Tokens; i++)
            C.vmovdqa32(__zmmword_ptr[rsp + (i * Vector)], zmm0);
        C.mov(r8, FirstToken);
        C.mov(rbx, r8);
        C.add(rbx, Argument(nameof(InterleavedArguments.Sums)));
        C.mov(rbp, r8);
        C.add(rbp, Argument(nameof(InterleavedArguments.Scales)));
    }

    // The bases of tokens 5 and 10 beside that of token 0.
    private void FollowingBases(AssemblerRegister64 first, AssemblerRegister64 second, AssemblerRegister64 third)
    {
        if (Tokens > TokensOfBase)
            C.lea(second, __[first + r15]);
        if (Tokens > 2 * TokensOfBase)
            C.lea(third, __[first + (r15 * 2)]);
    }

    // Some bytes of a token, from the base that it belongs to.
    private static AssemblerMemoryOperand Of(int token, AssemblerRegister64 first, AssemblerRegister64 second, AssemblerRegister64 third, int at)
    {
        var from = (token / TokensOfBase) switch { 0 => first, 1 => second, _ => third };
        return (token % TokensOfBase) switch
        {
            0 => __dword_bcst[from + at],
            3 => __dword_bcst[from + r12 + at],
            var n => __dword_bcst[from + (r11 * n) + at],
        };
    }

    /// <inheritdoc/>
    protected override void SuperBlock()
    {
        var round = C.CreateLabel();
        ForEach(t => C.vpxord(Zmm(Sums + t), Zmm(Sums + t), Zmm(Sums + t)));
        if (ZeroPoint != 0)
        {
            FollowingBases(rbx, rax, r13);
            for (var pair = 0; pair < Panel.Scales / 2; pair++)
            {
                C.vpmovsxbw(Zmm(Scale), __ymmword_ptr[rdi + Panel.ScalesAt + (pair * InterleavedPanel.PairBytes)]);
                C.vpmullw(Zmm(Scale), Zmm(Scale), Zmm(Zero));
                AddPairSums(Sums, pair);
            }
        }

        if (HasPackedScales)
            UnpackScales();
        else
            C.lea(rsi, __[rdi + Panel.ScalesAt]);
        Prefetch(Panel.Codes);
        C.add(rdi, Panel.Codes);
        C.mov(ecx, Panel.Rounds);
        C.Label(ref round);
        FollowingBases(r8, r9, r10);
        var bytes = Panel.RoundVectors * Vector;
        var scales = Panel.Layout.RoundCodes / Panel.SumLength;
        for (var i = 0; i < scales; i++)
        {
            var scale = i;
            ForEach(t => C.vpxord(Zmm(Partial + t), Zmm(Partial + t), Zmm(Partial + t)));
            Steps(Partial, i * Panel.SumLength / 4, Panel.SumLength / 4);
            LoadScale(scale);
            ForEach(t => C.vpmulld(Zmm(Partial + t), Zmm(Partial + t), Zmm(Scale)));
            ForEach(t => C.vpaddd(Zmm(Sums + t), Zmm(Sums + t), Zmm(Partial + t)));
        }

        C.add(rsi, scales / 2 * (HasPackedScales ? Vector : InterleavedPanel.PairBytes));
        C.add(rdi, bytes);
        C.add(r8, Panel.Layout.RoundCodes);
        C.dec(ecx);
        C.jnz(round);

        // rdi is at the end of the block.
        var start = rdi - Panel.Bytes;
        FollowingBases(rbp, rax, r13);
        AddToChains(__ymmword_ptr[start]);
        if (Panel.HasMinimum)
        {
            FollowingBases(rbx, rax, r13);
            ForEach(t => C.vpxord(Zmm(Partial + t), Zmm(Partial + t), Zmm(Partial + t)));
            for (var pair = 0; pair < Panel.Scales / 2; pair++)
            {
                if (pair % 2 == 0)
                    Unpack(start + Panel.ScalesAt, Panel.Layout.Minimum(pair / 2));
                var first = 2 * (pair % 2);
                C.vpshufb(Zmm(Scale), Zmm(Codes), Constants.Vector(j => j % 2 == 1 ? 0x80 : (j % 16 / 4 * 4) + first + (j % 4 / 2)));
                AddPairSums(Partial, pair);
            }

            FollowingBases(rbp, rax, r13);
            SubtractFromSums(__ymmword_ptr[start + Half]);
        }

        StoreChains();
    }

    // Four scales of each row go to the stack, for two of them as they are, for the other two moved to their place; rsi = where.
    private void UnpackScales()
    {
        for (var pair = 0; pair < Panel.Scales / 2; pair++)
        {
            if (pair % 2 == 0)
                Unpack(rdi + Panel.ScalesAt, Panel.Layout.Scale(pair / 2));
            else
                C.vpsrld(Zmm(Codes), Zmm(Codes), 16);
            C.vmovdqa32(__zmmword_ptr[rsp + ScaleFours + (pair * Vector)], Zmm(Codes));
        }

        C.lea(rsi, __[rsp + ScaleFours]);
    }

    // zmm26 = a scale of each row: one of the two that lie together.
    private void LoadScale(int scale)
    {
        var pair = scale / 2;
        if (HasPackedScales)
        {
            C.vmovdqa32(Zmm(Scale), __zmmword_ptr[rsi + (pair * Vector)]);
            C.vpshufb(Zmm(Scale), Zmm(Scale), Constants.Vector(j => j % 4 > 0 ? 0x80 : (j % 16) + (scale % 2)));
            return;
        }

        C.vpmovsxbw(Zmm(Scale), __ymmword_ptr[rsi + (pair * InterleavedPanel.PairBytes)]);
        if (scale % 2 == 0)
            C.vpslld(Zmm(Scale), Zmm(Scale), 16);
        C.vpsrad(Zmm(Scale), Zmm(Scale), 16);
    }

    /// <inheritdoc/>
    protected override void SmallBlock()
    {
        FollowingBases(rbx, rax, r13);

        // The zero point comes off first: two sums of activations, of which the first is meant.
        ForEach(t =>
        {
            C.vpxord(Zmm(Sums + t), Zmm(Sums + t), Zmm(Sums + t));
            if (ZeroPoint != 0)
                C.vpdpwssd(Zmm(Sums + t), Zmm(Zero), Of(t, rbx, rax, r13, 0));
        });
        FollowingBases(r8, r9, r10);
        C.mov(rsi, rdi);
        Prefetch(Panel.Codes);
        C.add(rdi, Panel.Codes);
        Steps(Sums, 0, Panel.BlockLength / 4);
        C.add(rdi, Panel.RoundVectors * Vector);
        C.add(r8, Panel.BlockLength);
        if (Panel.HasMinimum)
        {
            C.vmovdqu32(Zmm(Scale), Constants.Words(static i => i % 2 == 0 ? 1 : 0));
            ForEach(t => C.vpxord(Zmm(Partial + t), Zmm(Partial + t), Zmm(Partial + t)));
            ForEach(t => C.vpdpwssd(Zmm(Partial + t), Zmm(Scale), Of(t, rbx, rax, r13, 0)));
        }

        FollowingBases(rbp, rax, r13);
        AddToChains(__ymmword_ptr[rsi]);
        if (Panel.HasMinimum)
            SubtractFromSums(__ymmword_ptr[rsi + Half]);
        StoreChains();
    }

    // registers first.. += codes times activations over some steps of four codes.
    private void Steps(int target, int first, int count)
    {
        for (var step = first; step < first + count; step++)
        {
            LoadCodes(step);
            ForEach(t => C.vpdpbusd(Zmm(target + t), Zmm(Codes), Of(t, r8, r9, r10, step * 4)));
        }
    }

    // zmm24 = four unsigned codes of each row.
    private void LoadCodes(int step)
    {
        PrefetchVectors(step);
        if (Panel.IsSigned && !IsExpanded && Panel.Layout.Table.Length == 0)
        {
            C.vpxord(Zmm(Codes), Zmm(Values), __zmmword_ptr[rdi + (Panel.Layout.Code(step)[0].Vector * Vector)]);
            return;
        }

        Unpack(__[rdi], Panel.Layout.Code(step));
        if (Panel.Layout.Table.Length > 0)
            C.vpshufb(Zmm(Codes), Zmm(Values), Zmm(Codes));
    }

    /// <inheritdoc/>
    protected override void LoadBits(AssemblerMemoryOperand vector, int shift, int? mask, bool isFirst)
    {
        var target = Zmm(isFirst ? Codes : Work);
        var bytes = __zmmword_ptr[vector];
        if (shift == 0 && mask == LowerMask)
        {
            C.vpandd(target, Zmm(Mask), bytes);
        }
        else
        {
            if (shift > 0)
                C.vpsllw(target, bytes, (byte)shift);
            else if (shift < 0)
                C.vpsrlw(target, bytes, (byte)-shift);
            else
                C.vmovdqu32(target, bytes);
            if (mask == LowerMask)
                C.vpandd(target, target, Zmm(Mask));
            else if (mask is { } bits)
                C.vpandd(target, target, Constants.Vector(_ => bits));
        }

        if (!isFirst)
            C.vpord(Zmm(Codes), Zmm(Codes), target);
    }

    /// <inheritdoc/>
    protected override void StoreCodes(int step)
    {
        LoadCodes(step);
        C.vmovdqu32(__zmmword_ptr[rsi + (step * Vector)], Zmm(Codes));
    }

    /// <inheritdoc/>
    protected override void StoreResults(int token)
    {
        C.vmovaps(zmm0, __zmmword_ptr[rsp + (token * Vector)]);
        C.vaddps(zmm0, zmm0, __zmmword_ptr[rsp + (2 * Plane) + (token * Vector)]);
        C.vmovaps(zmm1, __zmmword_ptr[rsp + Plane + (token * Vector)]);
        C.vaddps(zmm1, zmm1, __zmmword_ptr[rsp + (3 * Plane) + (token * Vector)]);
        C.vaddps(zmm0, zmm0, zmm1);
        C.vmovups(__zmmword_ptr[rdx], zmm0);
    }

    // registers target.. += two numbers of each row in zmm26 times the sums of activations that belong to them.
    private void AddPairSums(int target, int pair) => ForEach(t => C.vpdpwssd(Zmm(target + t), Zmm(Scale), Of(t, rbx, rax, r13, pair * 4)));

    private void StoreChains() => ForEach(t => C.vmovups(__zmmword_ptr[r14 + (t * Vector)], Zmm(Sums + t)));

    // sums = fma(float(sums), d * dx, chain), d in binary16; rbp, rax, r13 are the bases of scales.
    private void AddToChains(AssemblerMemoryOperand scales)
    {
        C.vcvtph2ps(Zmm(Codes), scales);
        ForEach(t =>
        {
            C.vmulps(Zmm(Work), Zmm(Codes), Of(t, rbp, rax, r13, 0));
            C.vcvtdq2ps(Zmm(Sums + t), Zmm(Sums + t));
            C.vfmadd213ps(Zmm(Sums + t), Zmm(Work), __zmmword_ptr[r14 + (t * Vector)]);
        });
    }

    // sums = fma(-float(partial), dmin * dx, sums).
    private void SubtractFromSums(AssemblerMemoryOperand scales)
    {
        C.vcvtph2ps(Zmm(Codes), scales);
        ForEach(t =>
        {
            C.vmulps(Zmm(Work), Zmm(Codes), Of(t, rbp, rax, r13, 0));
            C.vcvtdq2ps(Zmm(Partial + t), Zmm(Partial + t));
            C.vfnmadd231ps(Zmm(Sums + t), Zmm(Partial + t), Zmm(Work));
        });
    }
}
