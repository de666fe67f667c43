using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Hadal.Numerics.MachineCode.KernelFrame;

namespace Hadal.Numerics.MachineCode;

/// <summary>Row kernels of formats in blocks of 32 with a scale each, eight to a group: two blocks at a time in one register.</summary>
/// <remarks>
/// zmm0-7: sums of two pairs of blocks for each token; zmm8-11: those of the first two pairs folded; zmm12 codes; zmm13 scales, zmm14 minima of the eight
/// blocks, zmm15 temporary; zmm16-25 belong to the format, of which 16 and 17 serve this class while it finishes a group.
/// </remarks>
internal abstract class SmallBlockRows(int zeroPoint, int scaleOffset, int? minimumOffset) : RowAssembly
{
    protected const int Codes = 12;

    private const int Folded = 8;
    private const int Scales = 13;
    private const int Minima = 14;
    private const int Temporary = 15;
    private const int Upper = 16;
    private const int UpperScales = 17;
    private const int Order = 25;

    /// <inheritdoc/>
    public override int BlockLength => 32;

    /// <inheritdoc/>
    public override int GroupBlocks => 8;

    /// <inheritdoc/>
    public override int SumLength => 32;

    /// <inheritdoc/>
    protected override void LoadConstants(int tailBlocks)
    {
        // k1: lanes of the last, unfinished four; k2: sums of a tail.
        if (tailBlocks % 4 > 0)
            LoadMask(k1, tailBlocks % 4);
        if (tailBlocks > 0)
            LoadMask(k2, tailBlocks);

        // Sums of the even blocks are in the lower half, those of the odd ones in the upper.
        C.vmovdqu32(Zmm(Order), Constants.DoubleWords(i => i < 8 ? (i / 2) + (i % 2 * 8) : 0));
    }

    /// <inheritdoc/>
    protected override void Group(int blocks)
    {
        Halves(Scales, scaleOffset, blocks);
        if (minimumOffset is { } offset)
            Halves(Minima, offset, blocks);
        for (var pair = 0; pair < 4; pair++)
        {
            if (2 * pair < blocks)
                Unpack(2 * pair * BlockBytes, (2 * pair) + 1 < blocks);
            for (var t = 0; t < Tokens; t++)
            {
                var sums = Zmm((pair % 2 * Tokens) + t);
                C.vpxord(sums, sums, sums);
                if (2 * pair < blocks)
                    C.vpdpbusd(sums, Zmm(Codes), At(r8, t, pair * 64));
            }

            for (var t = 0; pair == 1 && t < Tokens; t++)
                AddPairs(Folded + t, t, Tokens + t);
        }

        for (var t = 0; t < Tokens; t++)
        {
            AddPairs(t, t, Tokens + t);
            AddFours(t, Folded + t, t);
            C.vshufi32x4(Zmm(26), Zmm(t), Zmm(t), 0b10_11_00_01);
            C.vpaddd(Zmm(t), Zmm(t), Zmm(26));
            C.vpermd(Zmm(t), Zmm(Order), Zmm(t));
            if (zeroPoint != 0 || minimumOffset is not null)
                SumsOfActivations(t, blocks);
            if (zeroPoint != 0)
            {
                C.vpslld(Ymm(Temporary), Ymm(Temporary), (byte)System.Numerics.BitOperations.Log2((uint)zeroPoint));
                C.vpsubd(Ymm(t), Ymm(t), Ymm(Temporary));
            }

            Finish(t, blocks);
        }
    }

    /// <summary>zmm12 = unsigned codes of the block at rdi + <paramref name="offset"/>, and in the upper half those of the next one if there is one.</summary>
    protected abstract void Unpack(int offset, bool both);

    // Eight binary16 values, one from each block, as float32; those that are not there are zero.
    private void Halves(int target, int offset, int blocks)
    {
        C.vpxor(xmm0, xmm0, xmm0);
        C.vpxor(xmm1, xmm1, xmm1);
        for (var b = 0; b < blocks; b++)
            C.vpinsrw(Xmm(b / 4), Xmm(b / 4), __word_ptr[rdi + (b * BlockBytes) + offset], (byte)(b % 4));
        C.vpunpcklqdq(Xmm(0), Xmm(0), Xmm(1));
        C.vcvtph2ps(Ymm(target), Xmm(0));
    }

    private void SumsOfActivations(int token, int blocks)
    {
        if (blocks == 8)
        {
            C.vpmovsxwd(Ymm(Temporary), At(r9, token, 0));
            return;
        }

        C.vpmovsxwd(Ymm(Temporary).k2.z, At(r9, token, 0));
    }

    // Blocks 0 to 3 first, then 4 to 7; of each block its product before its minimum.
    private void Finish(int token, int blocks)
    {
        C.vextracti32x4(Xmm(Upper), Ymm(token), 1);
        AddToChain(token, token, Scales, 0, blocks, negative: false);
        if (minimumOffset is not null)
        {
            C.vmovdqa32(Xmm(26), Xmm(Temporary));
            AddToChain(token, 26, Minima, 0, blocks, negative: MinimumIsSubtracted);
        }

        if (blocks <= 4)
            return;
        C.vextractf32x4(Xmm(UpperScales), Ymm(Scales), 1);
        AddToChain(token, Upper, UpperScales, 4, blocks - 4, negative: false);
        if (minimumOffset is not null)
        {
            C.vextracti32x4(Xmm(26), Ymm(Temporary), 1);
            C.vextractf32x4(Xmm(UpperScales), Ymm(Minima), 1);
            AddToChain(token, 26, UpperScales, 4, blocks - 4, negative: MinimumIsSubtracted);
        }
    }

    /// <summary>Whether the format subtracts its minimum; those that add it have it negated in <c>MinimumBits</c>, which comes to the same sum.</summary>
    protected virtual bool MinimumIsSubtracted => false;
}
