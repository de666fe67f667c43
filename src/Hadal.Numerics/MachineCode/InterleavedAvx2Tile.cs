using System.Numerics;
using Hadal.Numerics.Kernels.Integer;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>The kernels of <see cref="InterleavedTile"/> for AVX2: eight weight rows times one to six tokens. Products of pairs are added up in 16 bits for as long as they are sure to fit.</summary>
/// <remarks>
/// Registers beside the common ones: rax where a token's codes are, like rbx and rbp from the tokens in r8 to r13.
/// ymm0-5 sums over the block, then chains; ymm6-11 sums over some steps in 16 bits, or of minima; ymm12 codes; ymm13 broadcast activations; ymm14
/// integer scales, ymm15 the mask of lower bits (signed codes: ymm11 their magnitude).
/// </remarks>
internal sealed class InterleavedAvx2Tile(InterleavedPanel panel, int tokens, PanelSource source) : InterleavedTile(panel, tokens, source, Vector, MaxTokens, new Assembler(64))
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
    private const int Vector = 32;

    private static readonly AssemblerRegister64[] TokenRegisters = [r8, r9, r10, r11, r12, r13];

    /// <inheritdoc/>
    protected override void LoadStrides()
    {
        for (var t = 0; t < Tokens; t++)
        {
            C.mov(TokenRegisters[t], rsi);
            C.add(rsi, rdx);
        }
    }

    /// <inheritdoc/>
    protected override void LoadConstants()
    {
        C.vmovdqu(Ymm(Mask), Constants.Vector(_ => LowerMask));
        if (!IsSuper)
            C.vmovdqu(Ymm(Scale), Constants.Words(static _ => 1));
    }

    /// <inheritdoc/>
    protected override void BeginPanel()
    {
        C.vpxor(ymm0, ymm0, ymm0);
        for (var i = 0; i < 4 * Tokens; i++)
            C.vmovdqa(__ymmword_ptr[rsp + (i * Vector)], ymm0);
        C.xor(eax, eax);
        C.mov(rbx, Argument(nameof(InterleavedArguments.Sums)));
        C.mov(rbp, Argument(nameof(InterleavedArguments.Scales)));
    }

    /// <inheritdoc/>
    protected override void SuperBlock()
    {
        var round = C.CreateLabel();
        ForEach(t => C.vpxor(Ymm(Sums + t), Ymm(Sums + t), Ymm(Sums + t)));
        if (HasPackedScales)
            UnpackScales();
        else
            C.lea(rsi, __[rdi + Panel.ScalesAt]);
        Prefetch(Panel.Codes);
        C.add(rdi, Panel.Codes);
        C.mov(ecx, Panel.Rounds);
        C.Label(ref round);
        var bytes = Panel.RoundVectors * Vector;
        var scales = Panel.Layout.RoundCodes / Panel.SumLength;
        for (var i = 0; i < scales; i++)
        {
            var scale = i;
            Steps(i * Panel.SumLength / 4, Panel.SumLength / 4, () => LoadScale(scale));
        }

        C.add(rsi, scales / 2 * (HasPackedScales ? Vector : InterleavedPanel.PairBytes));
        C.add(rdi, bytes);
        C.add(rax, Panel.Layout.RoundCodes);
        C.dec(ecx);
        C.jnz(round);

        // rdi is at the end of the block.
        var start = rdi - Panel.Bytes;
        if (Panel.ZeroPoint != 0)
        {
            for (var pair = 0; pair < Panel.Scales / 2; pair++)
            {
                C.vpmovsxbw(Ymm(Codes), __xmmword_ptr[start + Panel.ScalesAt + (pair * InterleavedPanel.PairBytes)]);
                AddPairSums(Codes, pair);
            }

            ForEach(t =>
            {
                C.vpslld(Ymm(Partial + t), Ymm(Partial + t), (byte)BitOperations.Log2((uint)Panel.ZeroPoint));
                C.vpsubd(Ymm(Sums + t), Ymm(Sums + t), Ymm(Partial + t));
            });
        }

        AddToChains(__xmmword_ptr[start]);
        if (Panel.HasMinimum)
        {
            for (var pair = 0; pair < Panel.Scales / 2; pair++)
            {
                if (pair % 2 == 0)
                    Unpack(start + Panel.ScalesAt, Panel.Layout.Minimum(pair / 2));
                var first = 2 * (pair % 2);
                C.vpshufb(Ymm(Scale), Ymm(Codes), Constants.Vector(j => j % 2 == 1 ? 0x80 : (j % 16 / 4 * 4) + first + (j % 4 / 2)));
                AddPairSums(Scale, pair);
            }

            SubtractFromSums(__xmmword_ptr[start + 16]);
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
                C.vpsrld(Ymm(Codes), Ymm(Codes), 16);
            C.vmovdqa(__ymmword_ptr[rsp + ScaleFours + (pair * Vector)], Ymm(Codes));
        }

        C.lea(rsi, __[rsp + ScaleFours]);
    }

    // ymm14 = a scale of each row, twice: one of the two that lie together.
    private void LoadScale(int scale)
    {
        var pair = scale / 2;
        if (HasPackedScales)
        {
            C.vmovdqa(Ymm(Scale), __ymmword_ptr[rsi + (pair * Vector)]);
            C.vpshufb(Ymm(Scale), Ymm(Scale), Constants.Vector(j => j % 2 == 1 ? 0x80 : (j % 16 / 4 * 4) + (scale % 2)));
            return;
        }

        C.vpmovsxbw(Ymm(Scale), __xmmword_ptr[rsi + (pair * InterleavedPanel.PairBytes)]);
        C.vpshufb(Ymm(Scale), Ymm(Scale), Constants.Vector(j => (j % 16 / 4 * 4) + (2 * (scale % 2)) + (j % 2)));
    }

    /// <inheritdoc/>
    protected override void SmallBlock()
    {
        // The zero point comes off first: two sums of activations, of which the first is meant.
        ForEach(t =>
        {
            if (Panel.ZeroPoint == 0)
            {
                C.vpxor(Ymm(Sums + t), Ymm(Sums + t), Ymm(Sums + t));
                return;
            }

            C.vpbroadcastd(Ymm(Sums + t), __dword_ptr[TokenRegisters[t] + rbx]);
            C.vpmaddwd(Ymm(Sums + t), Ymm(Sums + t), Constants.Words(i => i % 2 == 0 ? -Panel.ZeroPoint : 0));
        });
        C.mov(rsi, rdi);
        Prefetch(Panel.Codes);
        C.add(rdi, Panel.Codes);
        Steps(0, Panel.BlockLength / 4, static () => { });
        C.add(rdi, Panel.RoundVectors * Vector);
        C.add(rax, Panel.BlockLength);
        AddToChains(__xmmword_ptr[rsi]);
        if (Panel.HasMinimum)
        {
            ForEach(t =>
            {
                C.vpbroadcastd(Ymm(Partial + t), __dword_ptr[TokenRegisters[t] + rbx]);
                C.vpmaddwd(Ymm(Partial + t), Ymm(Partial + t), Constants.Words(static i => i % 2 == 0 ? 1 : 0));
            });
            SubtractFromSums(__xmmword_ptr[rsi + 16]);
        }

        StoreChains();
    }

    // sums += scale times codes times activations over some steps of four codes.
    private void Steps(int first, int count, Action loadScale)
    {
        if (Panel.IsSigned)
        {
            loadScale();
            for (var step = first; step < first + count; step++)
                SignedStep(step);
            return;
        }

        for (var part = first; part < first + count; part += Panel.PartSteps)
        {
            for (var step = part; step < part + Panel.PartSteps; step++)
            {
                LoadCodes(step);
                var isFirst = step == part;
                ForEach(t =>
                {
                    var target = isFirst ? Ymm(Partial + t) : Ymm(Broadcast);
                    C.vpbroadcastd(Ymm(Broadcast), Activations(t, step));
                    C.vpmaddubsw(target, Ymm(Codes), Ymm(Broadcast));
                    if (!isFirst)
                        C.vpaddw(Ymm(Partial + t), Ymm(Partial + t), Ymm(Broadcast));
                });
            }

            loadScale();
            ForEach(t =>
            {
                C.vpmaddwd(Ymm(Partial + t), Ymm(Partial + t), Ymm(Scale));
                C.vpaddd(Ymm(Sums + t), Ymm(Sums + t), Ymm(Partial + t));
            });
        }
    }

    // The sign of a code goes to the activation, the magnitude stays.
    private void SignedStep(int step)
    {
        LoadCodes(step);
        C.vpabsb(Ymm(Magnitude), Ymm(Codes));
        ForEach(t =>
        {
            C.vpbroadcastd(Ymm(Broadcast), Activations(t, step));
            C.vpsignb(Ymm(Broadcast), Ymm(Broadcast), Ymm(Codes));
            C.vpmaddubsw(Ymm(Broadcast), Ymm(Magnitude), Ymm(Broadcast));
            C.vpmaddwd(Ymm(Broadcast), Ymm(Broadcast), Ymm(Scale));
            C.vpaddd(Ymm(Sums + t), Ymm(Sums + t), Ymm(Broadcast));
        });
    }

    // ymm12 = four codes of each row.
    private void LoadCodes(int step)
    {
        PrefetchVectors(step);
        var table = Panel.Layout.Table;
        Unpack(__[rdi], Panel.Layout.Code(step));
        if (table.Length == 0)
            return;
        C.vmovdqu(Ymm(Broadcast), Constants.Vector(i => table[i % table.Length]));
        C.vpshufb(Ymm(Codes), Ymm(Broadcast), Ymm(Codes));
    }

    /// <inheritdoc/>
    protected override void LoadBits(AssemblerMemoryOperand vector, CodeBits bits)
    {
        var target = Ymm(bits.IsFirst ? Codes : Broadcast);
        var bytes = __ymmword_ptr[vector];
        if (bits.Shift == 0 && bits.Mask == LowerMask)
        {
            C.vpand(target, Ymm(Mask), bytes);
        }
        else
        {
            C.vmovdqu(target, bytes);
            if (bits.Shift > 0)
                C.vpsllw(target, target, (byte)bits.Shift);
            else if (bits.Shift < 0)
                C.vpsrlw(target, target, (byte)-bits.Shift);
            if (bits.Mask == LowerMask)
                C.vpand(target, target, Ymm(Mask));
            else if (bits.Mask is { } mask)
                C.vpand(target, target, Constants.Vector(_ => mask));
        }

        if (!bits.IsFirst)
            C.vpor(Ymm(Codes), Ymm(Codes), target);
    }

    /// <inheritdoc/>
    protected override void StoreCodes(int step)
    {
        LoadCodes(step);
        C.vmovdqu(__ymmword_ptr[rsi + (step * Vector)], Ymm(Codes));
    }

    /// <inheritdoc/>
    protected override void StoreResults(int token)
    {
        C.vmovaps(ymm0, __ymmword_ptr[rsp + (token * Vector)]);
        C.vaddps(ymm0, ymm0, __ymmword_ptr[rsp + (2 * Plane) + (token * Vector)]);
        C.vmovaps(ymm1, __ymmword_ptr[rsp + Plane + (token * Vector)]);
        C.vaddps(ymm1, ymm1, __ymmword_ptr[rsp + (3 * Plane) + (token * Vector)]);
        C.vaddps(ymm0, ymm0, ymm1);
        C.vmovups(__ymmword_ptr[rdx], ymm0);
    }

    private AssemblerMemoryOperand Activations(int token, int step) => __dword_ptr[TokenRegisters[token] + rax + (step * 4)];

    // partial sums += two numbers of each row times the sums of activations that belong to them.
    private void AddPairSums(int numbers, int pair) => ForEach(t =>
    {
        C.vpbroadcastd(Ymm(Broadcast), __dword_ptr[TokenRegisters[t] + rbx + (pair * 4)]);
        C.vpmaddwd(pair == 0 ? Ymm(Partial + t) : Ymm(Broadcast), Ymm(numbers), Ymm(Broadcast));
        if (pair > 0)
            C.vpaddd(Ymm(Partial + t), Ymm(Partial + t), Ymm(Broadcast));
    });

    private void StoreChains() => ForEach(t => C.vmovups(__ymmword_ptr[r14 + (t * Vector)], Ymm(Sums + t)));

    // sums = fma(float(sums), d * dx, chain), d in binary16.
    private void AddToChains(AssemblerMemoryOperand scales)
    {
        C.vcvtph2ps(Ymm(Codes), scales);
        ForEach(t =>
        {
            ActivationScale(t);
            C.vcvtdq2ps(Ymm(Sums + t), Ymm(Sums + t));
            C.vfmadd213ps(Ymm(Sums + t), Ymm(Broadcast), __ymmword_ptr[r14 + (t * Vector)]);
        });
    }

    // sums = fma(-float(partial), dmin * dx, sums).
    private void SubtractFromSums(AssemblerMemoryOperand scales)
    {
        C.vcvtph2ps(Ymm(Codes), scales);
        ForEach(t =>
        {
            ActivationScale(t);
            C.vcvtdq2ps(Ymm(Partial + t), Ymm(Partial + t));
            C.vfnmadd231ps(Ymm(Sums + t), Ymm(Partial + t), Ymm(Broadcast));
        });
    }

    // ymm13 = the scale of a token's block times those of the rows in ymm12.
    private void ActivationScale(int token)
    {
        C.vbroadcastss(Ymm(Broadcast), __dword_ptr[TokenRegisters[token] + rbp]);
        C.vmulps(Ymm(Broadcast), Ymm(Codes), Ymm(Broadcast));
    }
}
