using Hadal.Numerics.MachineCode;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Row kernels of the formats in blocks of 32 with 16 bytes of nibbles, low ones first, then high ones: <see cref="Q4_0"/>, <see cref="Q4_1"/>, with a fifth bit for
/// each code <see cref="Q5_0"/>, <see cref="Q5_1"/>, and with a table <see cref="IQ4_NL"/>.
/// </summary>
/// <param name="blockBytes">Bytes of a block.</param>
/// <param name="codes">Where the nibbles begin.</param>
/// <param name="zeroPoint">What is taken off every code.</param>
/// <param name="minimum">Where the minimum lies, which is added.</param>
/// <param name="fifthBits">Where 32 bits lie that are bit 4 of the codes.</param>
/// <param name="table">What a nibble stands for, zero point included.</param>
internal sealed class NibbleRows(int blockBytes, int codes, int zeroPoint, int? minimum = null, int? fifthBits = null, byte[]? table = null)
    : SmallBlockRows(zeroPoint, scaleOffset: 0, minimum)
{
    private const int Nibble = 18;
    private const int Shifts = 19;
    private const int Sixteen = 20;
    private const int Table = 21;

    /// <inheritdoc/>
    public override int BlockBytes => blockBytes;

    /// <inheritdoc/>
    protected override void LoadConstants(int tailBlocks)
    {
        base.LoadConstants(tailBlocks);
        C.mov(eax, 0xFF00);
        C.kmovd(k3, eax);
        C.vmovdqu32(Zmm(Nibble), Constants.Vector(static _ => 0x0F));
        C.vmovdqu32(Zmm(Shifts), Constants.Words(static i => i / 8 % 2 * 4));
        if (fifthBits is not null)
            C.vmovdqu32(Zmm(Sixteen), Constants.Vector(static _ => 0x10));
        if (table is not null)
            C.vmovdqu32(Zmm(Table), Constants.Vector(i => table[i % 16]));
    }

    /// <inheritdoc/>
    protected override void Unpack(int offset, bool both)
    {
        var at = rdi + offset;
        C.vbroadcasti32x4(Ymm(Codes), __xmmword_ptr[at + codes]);
        if (both)
            C.vbroadcasti32x4(Zmm(Codes).k3, __xmmword_ptr[at + blockBytes + codes]);
        C.vpsrlvw(Zmm(Codes), Zmm(Codes), Zmm(Shifts));
        C.vpandd(Zmm(Codes), Zmm(Codes), Zmm(Nibble));
        if (table is not null)
            C.vpshufb(Zmm(Codes), Zmm(Table), Zmm(Codes));
        if (fifthBits is not { } high)
            return;
        C.kmovd(k4, __dword_ptr[at + high]);
        if (both)
        {
            C.kmovd(k5, __dword_ptr[at + blockBytes + high]);
            C.kunpckdq(k4, k5, k4);
        }

        C.vpaddb(Zmm(Codes).k4, Zmm(Codes), Zmm(Sixteen));
    }
}
