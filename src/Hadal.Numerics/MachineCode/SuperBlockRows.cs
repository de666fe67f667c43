using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Hadal.Numerics.MachineCode.KernelFrame;

namespace Hadal.Numerics.MachineCode;

/// <summary>Row kernels of formats in super-blocks of 256, four to a group: 64 codes at a time, times activations, times the integer scales of their sub-blocks.</summary>
/// <remarks>
/// zmm0-7: sums of two blocks for each token; zmm8-11: those of the first two blocks folded; zmm12 codes, zmm13 scales, zmm14-15 temporary;
/// zmm16-25 belong to the format.
/// </remarks>
internal abstract class SuperBlockRows : RowAssembly
{
    protected const int Codes = 12;
    protected const int Scales = 13;
    protected const int Temporary = 14;

    private const int Folded = 8;

    /// <inheritdoc/>
    public override int BlockLength => 256;

    /// <inheritdoc/>
    public override int GroupBlocks => 4;

    /// <inheritdoc/>
    protected override void Group(int blocks)
    {
        BeginGroup(blocks);
        for (var block = 0; block < 4; block++)
        {
            if (block < blocks)
                Block(block);
            else
                Clear(block);
            if (block == 1)
            {
                for (var t = 0; t < Tokens; t++)
                    AddPairs(Folded + t, t, Tokens + t);
            }
        }

        for (var t = 0; t < Tokens; t++)
        {
            AddPairs(t, t, Tokens + t);
            AddFours(t, Folded + t, t);
            C.vextracti64x4(Ymm(26), Zmm(t), 1);
            C.vpaddd(Ymm(t), Ymm(t), Ymm(26));
            C.vextracti32x4(Xmm(26), Ymm(t), 1);
            C.vpaddd(Xmm(t), Xmm(t), Xmm(26));
            Finish(t, t, blocks);
        }
    }

    /// <summary>Reads what the blocks of a group have beside their codes.</summary>
    protected abstract void BeginGroup(int blocks);

    /// <summary>Before the codes of a block.</summary>
    protected abstract void BeginBlock(int block);

    /// <summary>zmm12 = 64 unsigned codes in their natural order.</summary>
    protected abstract void Unpack(int block, int chunk);

    /// <summary>zmm13 = the integer scale of each pair of codes, as <see cref="Multiply"/> wants it.</summary>
    protected abstract void Scale(int block, int chunk);

    /// <summary>
    /// Adds 64 codes times a token's activations, times their scales, to its sums: pairs in 16 bits first, which holds them for codes up to 128.
    /// </summary>
    /// <param name="token">Whose activations.</param>
    /// <param name="at">Where the activations begin, from those of the group.</param>
    /// <param name="sums">Register of the sums.</param>
    /// <param name="first">Whether these are the first, so that the sums are set.</param>
    protected virtual void Multiply(int token, int at, int sums, bool first)
    {
        var product = Zmm(Temporary + (token % 2));
        C.vpmaddubsw(product, Zmm(Codes), At(r8, token, at));
        if (first)
            C.vpmaddwd(Zmm(sums), product, Zmm(Scales));
        else
            C.vpdpwssd(Zmm(sums), product, Zmm(Scales));
    }

    /// <summary>Takes the zero point off a block's sums.</summary>
    protected virtual void TakeOffZero(int block, int token, int sums)
    {
    }

    /// <summary>Adds four sums to a token's chain.</summary>
    protected abstract void Finish(int token, int sums, int blocks);

    private void Clear(int block)
    {
        for (var t = 0; t < Tokens; t++)
        {
            var sums = Zmm((block % 2 * Tokens) + t);
            C.vpxord(sums, sums, sums);
        }
    }

    private void Block(int block)
    {
        BeginBlock(block);
        for (var chunk = 0; chunk < 4; chunk++)
        {
            Unpack(block, chunk);
            Scale(block, chunk);
            for (var t = 0; t < Tokens; t++)
                Multiply(t, (block * 256) + (chunk * 64), (block % 2 * Tokens) + t, first: chunk == 0);
        }

        for (var t = 0; t < Tokens; t++)
            TakeOffZero(block, t, (block % 2 * Tokens) + t);
    }
}
