using Hadal.Numerics.MachineCode;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.Formats;

/// <content>Row kernels.</content>
public readonly unsafe partial struct Q8_0
{
    private sealed class RowCode() : SmallBlockRows(zeroPoint: 128, scaleOffset: 0, minimumOffset: null)
    {
        private const int Sign = 18;

        public override int BlockBytes => Q8_0.BlockBytes;

        protected override void LoadConstants(int tailBlocks)
        {
            base.LoadConstants(tailBlocks);
            C.vmovdqu32(Zmm(Sign), Constants.Vector(static _ => 0x80));
        }

        protected override void Unpack(int offset, bool both)
        {
            C.vmovdqu32(Ymm(SmallBlockRows.Codes), __ymmword_ptr[rdi + offset + Q8_0.Codes]);
            if (both)
                C.vinserti64x4(Zmm(SmallBlockRows.Codes), Zmm(SmallBlockRows.Codes), __ymmword_ptr[rdi + offset + Q8_0.BlockBytes + Q8_0.Codes], 1);
            C.vpxord(Zmm(SmallBlockRows.Codes), Zmm(SmallBlockRows.Codes), Zmm(Sign));
        }
    }
}
