using Hadal.Numerics.Kernels.Integer;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// The kernels of <see cref="InterleavedTile"/> for AVX512-VNNI, which .NET does not expose: sixteen weight rows times one to twelve tokens. One instruction adds up
/// four products of codes of any size in 32 bits; signed codes get a zero point of 128.
/// </summary>
/// <param name="panel">How codes lie.</param>
/// <param name="tokens">T.</param>
/// <param name="source">Where panels are.</param>
/// <param name="everyLine">Whether every line is asked for; <see cref="StreamHints"/>.</param>
/// <remarks>
/// Registers beside the common ones: r8, r9, r10 codes of tokens 0, 5 and 10, rbx and rbp being those of token 0; r11, r12, r15 the stride from one token to the next,
/// three and five times that; rax, r13 work.
/// zmm0-11 sums over the block, then chains; zmm12-23 sums over one integer scale, or of minima; zmm24 codes; zmm25 work; zmm26 integer scales; zmm28 values of
/// codes, zmm29 minus the zero point. What the tokens and the format leave of them holds constants, and vectors of codes for as long as steps take bits from them:
/// reading a vector of 64 bytes keeps both of the processor's load units busy, which with few tokens is what there is least of.
/// </remarks>
internal sealed class InterleavedVnniTile(InterleavedPanel panel, int tokens, PanelSource source, bool everyLine)
    : InterleavedTile(panel, tokens, source, Vector, MaxTokens, new Assembler(64) { PreferVex = false })
{
    /// <summary>Most tokens of a kernel.</summary>
    public const int MaxTokens = 12;

    private const int Sums = 0;
    private const int Partial = MaxTokens;
    private const int Codes = 24;
    private const int Work = 25;
    private const int Scale = 26;
    private const int Values = 28;
    private const int Zero = 29;
    private const int Vector = 64;
    private const int Half = Vector / 2;
    private const int SignedZero = 128;
    private const int TokensOfBase = 5;
    private const int TopMask = 0xF0;
    private const int TopBits = 4;

    // With so few tokens the rounds of a super-block lie one behind the other, its scales in registers; but for whole codes where every line is asked for: from
    // memory a loop of rounds is faster there, docs/LOG.md.
    private const int UnrolledTokens = 4;

    // Registers that codes may take before constants do.
    private const int MostHeld = 8;

    private readonly Stack<int> spare = [];
    private readonly Dictionary<int, int> held = [];

    // Sums of codes in the upper half of a byte, sixteen times too large, if there are registers for them; and packed scales.
    private int[] topSums = [];
    private int[] scaleFours = [];

    /// <summary>Where the processor reads ahead by itself, asking costs one token or two more than it brings: docs/LOG.md.</summary>
    protected override bool AsksAhead => (everyLine || Tokens is not (1 or 2)) && base.AsksAhead;

    /// <summary>There, what is asked for into the first cache is asked for into the second one before; docs/LOG.md.</summary>
    protected override (int Bytes, int Piece)? FarAhead => everyLine ? null : AsksAhead ? (12288, 64) : base.FarAhead;

    private int ZeroPoint => Panel.IsSigned ? SignedZero : Panel.ZeroPoint;

    private bool IsUnrolled => HasPackedScales && Tokens <= UnrolledTokens && (!everyLine || Panel.Expands);

    /// <inheritdoc/>
    protected override void AskForPage()
    {
        if (everyLine)
            StreamHints.AskForPage(C, rdi, rax);
        else
            C.prefetcht1(__byte_ptr[rdi + StreamHints.RareLineAhead]);
    }

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
        var table = Panel.Layout.Table;
        if (table.Length > 0)
            C.vmovdqu32(Zmm(Values), Constants.Vector(i => table[i % table.Length] + SignedZero));
        else if (Panel.IsSigned)
            C.vmovdqu32(Zmm(Values), Constants.Vector(static _ => SignedZero));
        if (ZeroPoint != 0)
            C.vmovdqu32(Zmm(Zero), Constants.Words(i => IsSuper || i % 2 == 0 ? -ZeroPoint : 0));
        ShareOutRegisters();
    }

    // In the order of what they are worth; where there are none left, everything is read where it lies.
    private void ShareOutRegisters()
    {
        var taken = Math.Max(1, Tokens);
        for (var i = 0; i < MaxTokens; i++)
        {
            if (i >= taken)
                spare.Push(Sums + i);
            if (i >= taken || !(IsSuper || Panel.HasMinimum))
                spare.Push(Partial + i);
        }

        foreach (var unused in (int[])[27, 30, 31])
            spare.Push(unused);
        if (!Panel.IsSigned && Panel.Layout.Table.Length == 0)
            spare.Push(Values);
        if (ZeroPoint == 0)
            spare.Push(Zero);
        Keep(LowerMask, reserve: 0);
        var vectors = Math.Min(MostHeld, Panel.RoundVectors);
        var steps = Enumerable.Range(0, Panel.Layout.RoundCodes / 4).ToArray();
        if (IsUnrolled)
            scaleFours = [.. Enumerable.Range(0, Panel.Scales / 4).Select(_ => spare.Pop())];
        if (IsSuper && steps.Any(IsTop) && spare.Count > vectors + Tokens)
        {
            topSums = [.. Enumerable.Range(0, Tokens).Select(_ => spare.Pop())];
            Keep(TopMask, vectors);
        }

        foreach (var mask in steps.SelectMany(step => Bits(Panel.Layout.Code(step))).Select(static bits => bits.Mask).OfType<int>().Distinct())
            Keep(mask, vectors);
        for (var i = 0; i < 4 && IsUnrolled && spare.Count > vectors; i++)
            Constants.Keep(Zmm(spare.Pop()), OneOfFour(i));
    }

    private void Keep(int mask, int reserve)
    {
        if (spare.Count > reserve && Constants.Register(_ => mask) is null)
            Constants.Keep(Zmm(spare.Pop()), _ => mask);
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
        ForEach(t => C.vpxord(Zmm(Sums + t), Zmm(Sums + t), Zmm(Sums + t)));
        foreach (var sum in topSums)
            C.vpxord(Zmm(sum), Zmm(sum), Zmm(sum));
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
        if (IsUnrolled)
        {
            for (var i = 0; i < Panel.Rounds; i++)
                Round(i);
        }
        else
        {
            var round = C.CreateLabel();
            C.mov(ecx, Panel.Rounds);
            C.Label(ref round);
            Round(0);
            C.dec(ecx);
            C.jnz(round);
        }

        for (var t = 0; t < topSums.Length; t++)
        {
            C.vpsrad(Zmm(topSums[t]), Zmm(topSums[t]), TopBits);
            C.vpaddd(Zmm(Sums + t), Zmm(Sums + t), Zmm(topSums[t]));
        }

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

    // A round of a super-block; its number only where rounds are unrolled.
    private void Round(int number)
    {
        FollowingBases(r8, r9, r10);
        var scales = Panel.Layout.RoundCodes / Panel.SumLength;
        var steps = Panel.SumLength / 4;
        for (var i = 0; i < scales; i++)
        {
            ForEach(t => C.vpxord(Zmm(Partial + t), Zmm(Partial + t), Zmm(Partial + t)));
            Steps(Partial, i * steps, steps);
            LoadScale((number * scales) + i);
            ForEach(t => C.vpmulld(Zmm(Partial + t), Zmm(Partial + t), Zmm(Scale)));
            var isTop = topSums.Length > 0 && IsTop(i * steps);
            ForEach(t =>
            {
                var sum = Zmm(isTop ? topSums[t] : Sums + t);
                C.vpaddd(sum, sum, Zmm(Partial + t));
            });
        }

        if (!IsUnrolled)
            C.add(rsi, scales / 2 * (HasPackedScales ? Vector : InterleavedPanel.PairBytes));
        C.add(rdi, Panel.RoundVectors * Vector);
        C.add(r8, Panel.Layout.RoundCodes);
    }

    // Four scales of each row go to a register; or to the stack, for two of them as they are, for the other two moved to their place, and rsi = where.
    private void UnpackScales()
    {
        for (var pair = 0; pair < Panel.Scales / 2; pair++)
        {
            if (pair % 2 == 0)
                Unpack(rdi + Panel.ScalesAt, Panel.Layout.Scale(pair / 2));
            else if (!IsUnrolled)
                C.vpsrld(Zmm(Codes), Zmm(Codes), 16);
            if (!IsUnrolled)
                C.vmovdqa32(__zmmword_ptr[rsp + ScaleFours + (pair * Vector)], Zmm(Codes));
            else if (pair % 2 == 0)
                C.vmovdqa32(Zmm(scaleFours[pair / 2]), Zmm(Codes));
        }

        if (!IsUnrolled)
            C.lea(rsi, __[rsp + ScaleFours]);
    }

    // zmm26 = a scale of each row: one of the two or four that lie together.
    private void LoadScale(int scale)
    {
        if (IsUnrolled)
        {
            if (Constants.Register(OneOfFour(scale % 4)) is { } shuffle)
                C.vpshufb(Zmm(Scale), Zmm(scaleFours[scale / 4]), shuffle);
            else
                C.vpshufb(Zmm(Scale), Zmm(scaleFours[scale / 4]), Constants.Vector(OneOfFour(scale % 4)));
            return;
        }

        var pair = scale / 2;
        if (HasPackedScales)
        {
            C.vmovdqa32(Zmm(Scale), __zmmword_ptr[rsi + (pair * Vector)]);
            C.vpshufb(Zmm(Scale), Zmm(Scale), Constants.Vector(OneOfFour(scale % 2)));
            return;
        }

        C.vpmovsxbw(Zmm(Scale), __ymmword_ptr[rsi + (pair * InterleavedPanel.PairBytes)]);
        if (scale % 2 == 0)
            C.vpslld(Zmm(Scale), Zmm(Scale), 16);
        C.vpsrad(Zmm(Scale), Zmm(Scale), 16);
    }

    // The shuffle that makes one byte of each four a number of 32 bits.
    private static Func<int, int> OneOfFour(int which) => j => j % 4 > 0 ? 0x80 : (j % 16) + which;

    // Whether four codes lie in the upper halves of bytes: as they lie there, they are sixteen times themselves.
    private bool IsTop(int step) => Panel.Layout.Table.Length == 0 && Panel.Layout.Code(step) is [{ Shift: TopBits, Bits: TopBits }];

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
            FollowingBases(rbx, rax, r13);
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

    // zmm24 = four unsigned codes of each row, or sixteen times them.
    private void LoadCodes(int step)
    {
        PrefetchVectors(step);
        var fields = Panel.Layout.Code(step);
        if (Panel.IsSigned && !IsExpanded && Panel.Layout.Table.Length == 0)
        {
            C.vpxord(Zmm(Codes), Zmm(Values), __zmmword_ptr[rdi + (fields[0].Vector * Vector)]);
            return;
        }

        if (topSums.Length > 0 && IsTop(step))
        {
            And(Zmm(Codes), Held(fields[0].Vector, step), TopMask);
            return;
        }

        if (fields is [{ Bits: 8 } whole])
            C.vmovdqu32(Zmm(Codes), __zmmword_ptr[rdi + (whole.Vector * Vector)]);
        else
            foreach (var bits in Bits(fields))
                TakeBits(Held(bits.Vector, step), bits);
        if (Panel.Layout.Table.Length > 0)
            C.vpshufb(Zmm(Codes), Zmm(Values), Zmm(Codes));
    }

    // A vector of a round in a register: until the last step that takes bits from it, if there is one to spare.
    private AssemblerRegisterZMM Held(int vector, int step)
    {
        var isLast = !Enumerable.Range(step + 1, (Panel.Layout.RoundCodes / 4) - step - 1).Any(later => Panel.Layout.Code(later).Any(field => field.Vector == vector));
        if (!held.TryGetValue(vector, out var register))
        {
            register = isLast || !spare.TryPop(out var one) ? Work : held[vector] = one;
            C.vmovdqu32(Zmm(register), __zmmword_ptr[rdi + (vector * Vector)]);
        }
        else if (isLast)
        {
            held.Remove(vector);
            spare.Push(register);
        }

        return Zmm(register);
    }

    /// <inheritdoc/>
    protected override void LoadBits(AssemblerMemoryOperand vector, CodeBits bits)
    {
        C.vmovdqu32(Zmm(Work), __zmmword_ptr[vector]);
        TakeBits(Zmm(Work), bits);
    }

    private void TakeBits(AssemblerRegisterZMM source, CodeBits bits)
    {
        var target = Zmm(bits.IsFirst ? Codes : Work);
        if (bits.Shift > 0)
            C.vpsllw(target, source, (byte)bits.Shift);
        else if (bits.Shift < 0)
            C.vpsrlw(target, source, (byte)-bits.Shift);
        else
            target = source;
        if (!bits.IsFirst)
            Merge(Zmm(Codes), target, bits.Mask ?? byte.MaxValue);
        else if (bits.Mask is { } mask)
            And(Zmm(Codes), target, mask);
        else
            C.vmovdqa32(Zmm(Codes), target);
    }

    private void And(AssemblerRegisterZMM target, AssemblerRegisterZMM source, int mask)
    {
        if (Constants.Register(_ => mask) is { } register)
            C.vpandd(target, source, register);
        else
            C.vpandd(target, source, Constants.Vector(_ => mask));
    }

    // target |= source & mask.
    private void Merge(AssemblerRegisterZMM target, AssemblerRegisterZMM source, int mask)
    {
        const byte FirstOrBothOthers = 0xF8;
        if (Constants.Register(_ => mask) is { } register)
            C.vpternlogd(target, source, register, FirstOrBothOthers);
        else
            C.vpternlogd(target, source, Constants.Vector(_ => mask), FirstOrBothOthers);
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
        C.vmovaps(Zmm(Codes), __zmmword_ptr[rsp + (token * Vector)]);
        C.vaddps(Zmm(Codes), Zmm(Codes), __zmmword_ptr[rsp + (2 * Plane) + (token * Vector)]);
        C.vmovaps(Zmm(Work), __zmmword_ptr[rsp + Plane + (token * Vector)]);
        C.vaddps(Zmm(Work), Zmm(Work), __zmmword_ptr[rsp + (3 * Plane) + (token * Vector)]);
        C.vaddps(Zmm(Codes), Zmm(Codes), Zmm(Work));
        C.vmovups(__zmmword_ptr[rdx], Zmm(Codes));
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
