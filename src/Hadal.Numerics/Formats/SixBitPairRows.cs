using Hadal.Numerics.MachineCode;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Row kernels of <see cref="Q4_K"/> and <see cref="Q5_K"/>. The first 16 bytes of a block are d, dmin and the twelve bytes of <see cref="SixBitPairs"/>; those of
/// four blocks are taken apart together, a block in each 128 bits.
/// </summary>
/// <param name="blockBytes">Bytes of a block.</param>
/// <param name="codes">Where its nibbles begin.</param>
/// <param name="fifthBits">Where its 32 bytes of upper bits begin, if it has any.</param>
internal sealed class SixBitPairRows(int blockBytes, int codes, int? fifthBits) : SuperBlockRows
{
    private const int Pairs = 16;
    private const int Halves = 17;
    private const int Minima = 18;
    private const int Lane = 19;
    private const int Nibble = 20;
    private const int Shifts = 21;
    private const int Spread = 22;

    /// <inheritdoc/>
    public override int BlockBytes => blockBytes;

    /// <inheritdoc/>
    public override int SumLength => 32;

    /// <inheritdoc/>
    protected override void LoadConstants(int tailBlocks)
    {
        if (tailBlocks > 0)
            LoadMask(k2, tailBlocks * 8);
        C.vmovdqu32(Zmm(Nibble), Constants.Vector(static _ => 0x0F));
        C.vmovdqu32(Zmm(Shifts), Constants.Words(static i => i < 16 ? 0 : 4));
        for (var chunk = 0; chunk < 4; chunk++)
        {
            var first = 2 * chunk;
            C.vmovdqu32(Zmm(Spread + chunk), Constants.Vector(i => i % 2 == 1 ? 0x80 : first + (i / 32)));
        }
    }

    /// <inheritdoc/>
    protected override void BeginGroup(int blocks)
    {
        C.vmovdqu32(Xmm(Pairs), __xmmword_ptr[rdi]);
        for (var b = 1; b < blocks; b++)
            C.vinserti32x4(Zmm(Pairs), Zmm(Pairs), __xmmword_ptr[rdi + (b * blockBytes)], (byte)b);

        // d of the four blocks, then dmin.
        C.vmovdqu32(Zmm(Halves), Constants.Words(static i => (i % 4 * 8) + (i / 4 % 2)));
        C.vpermw(Zmm(Halves), Zmm(Halves), Zmm(Pairs));
        C.vcvtph2ps(Ymm(Halves), Xmm(Halves));

        // Bytes 4-7 a, 8-11 b, 12-15 c become scales a & 63, c & 15 | a >> 6 << 4 and minima b & 63, c >> 4 | b >> 6 << 4.
        C.vpshufb(Zmm(Temporary), Zmm(Pairs), Constants.Vector(static i => (i % 16 / 4) switch { 0 => 4 + (i % 4), 2 => 8 + (i % 4), _ => 12 + (i % 4) }));
        C.vpsrlvd(Zmm(Temporary), Zmm(Temporary), Constants.DoubleWords(static i => i % 4 == 3 ? 4 : 0));
        C.vpandd(Zmm(Temporary), Zmm(Temporary), Constants.Vector(static i => i % 8 < 4 ? 0x3F : 0x0F));
        C.vpshufb(Zmm(Temporary + 1), Zmm(Pairs), Constants.Vector(static i => (i % 16 / 4) switch { 1 => 4 + (i % 4), 3 => 8 + (i % 4), _ => 0x80 }));
        C.vpsrld(Zmm(Temporary + 1), Zmm(Temporary + 1), 2);
        C.vpandd(Zmm(Temporary + 1), Zmm(Temporary + 1), Constants.Vector(static _ => 0x30));
        C.vpord(Zmm(Pairs), Zmm(Temporary), Zmm(Temporary + 1));
        C.vpshufb(Zmm(Minima), Zmm(Pairs), Constants.Vector(static i => i % 2 == 1 ? 0x80 : 8 + (i % 16 / 2)));
    }

    /// <inheritdoc/>
    protected override void BeginBlock(int block) => C.vshufi32x4(Zmm(Lane), Zmm(Pairs), Zmm(Pairs), (byte)(block * 0b01_01_01_01));

    /// <inheritdoc/>
    protected override void Unpack(int block, int chunk)
    {
        // 32 bytes hold two sub-blocks: low nibbles, then high ones.
        var at = rdi + (block * blockBytes);
        C.vbroadcasti64x4(Zmm(Codes), __ymmword_ptr[at + codes + (32 * chunk)]);
        C.vpsrlvw(Zmm(Codes), Zmm(Codes), Zmm(Shifts));
        C.vpandd(Zmm(Codes), Zmm(Codes), Zmm(Nibble));
        if (fifthBits is not { } high)
            return;
        C.vbroadcasti64x4(Zmm(Temporary), __ymmword_ptr[at + high]);
        C.vptestmb(k3, Zmm(Temporary), Constants.Vector(i => 1 << ((2 * chunk) + (i / 32))));
        C.vpaddb(Zmm(Codes).k3, Zmm(Codes), Constants.Vector(static _ => 0x10));
    }

    /// <inheritdoc/>
    protected override void Scale(int block, int chunk) => C.vpshufb(Zmm(Scales), Zmm(Lane), Zmm(Spread + chunk));

    /// <inheritdoc/>
    protected override void Finish(int token, int sums, int blocks)
    {
        AddToChain(token, sums, Halves, 0, blocks, negative: false);
        if (token == 0)
            C.vextractf32x4(Xmm(Lane), Ymm(Halves), 1);
        if (blocks == 4)
        {
            C.vpmaddwd(Zmm(Temporary), Zmm(Minima), At(r9, token, 0));
        }
        else
        {
            C.vmovdqu16(Zmm(Temporary).k2.z, At(r9, token, 0));
            C.vpmaddwd(Zmm(Temporary), Zmm(Minima), Zmm(Temporary));
        }

        C.vpshufd(Zmm(Temporary + 1), Zmm(Temporary), 0b01_00_11_10);
        C.vpaddd(Zmm(Temporary), Zmm(Temporary), Zmm(Temporary + 1));
        C.vpshufd(Zmm(Temporary + 1), Zmm(Temporary), 0b10_11_00_01);
        C.vpaddd(Zmm(Temporary), Zmm(Temporary), Zmm(Temporary + 1));
        C.vmovdqu32(Zmm(Temporary + 1), Constants.DoubleWords(static i => i % 4 * 4));
        C.vpermd(Zmm(Temporary), Zmm(Temporary + 1), Zmm(Temporary));
        AddToChain(token, Temporary, Lane, 0, blocks, negative: true);
    }
}
