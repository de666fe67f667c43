using Hadal.Numerics.MachineCode;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.Formats;

/// <content>Row kernels.</content>
public readonly unsafe partial struct Q3_K
{
    private sealed class RowCode : SuperBlockRows
    {
        private const int BlockScales = 16;
        private const int SuperScales = 17;
        private const int Three = 18;
        private const int Four = 19;
        private const int UpperBits = 20;
        private const int Spread = 22;

        public override int BlockBytes => Q3_K.BlockBytes;

        public override int SumLength => 16;

        protected override void LoadConstants(int tailBlocks)
        {
            C.vmovdqu32(Zmm(Three), Constants.Vector(static _ => 3));
            C.vmovdqu32(Zmm(Four), Constants.Vector(static _ => 4));
            for (var chunk = 0; chunk < 4; chunk++)
            {
                var first = 4 * chunk;
                C.vmovdqu32(Zmm(Spread + chunk), Constants.Words(i => first + (i / 8)));
            }
        }

        protected override void BeginGroup(int blocks)
        {
            C.vpxord(Xmm(SuperScales), Xmm(SuperScales), Xmm(SuperScales));
            for (var b = 0; b < blocks; b++)
                C.vpinsrw(Xmm(SuperScales), Xmm(SuperScales), __word_ptr[rdi + (b * Q3_K.BlockBytes) + SuperScale], (byte)b);
            C.vcvtph2ps(Xmm(SuperScales), Xmm(SuperScales));
        }

        protected override void BeginBlock(int block)
        {
            // The last sixteen bytes of a block: two of codes, the twelve with the scales, d. Nothing beyond the block is read.
            const int Skipped = 2;
            C.vmovdqu32(Xmm(BlockScales), __xmmword_ptr[rdi + (block * Q3_K.BlockBytes) + Q3_K.Scales - Skipped]);
            C.vpshufb(Zmm(Temporary), Zmm(BlockScales), Constants.Vector(static i => Skipped + (i % 8)));
            C.vpsrlvq(Zmm(Temporary), Zmm(Temporary), Constants.Vector(static i => i == 8 ? 4 : 0));
            C.vpandd(Zmm(Temporary), Zmm(Temporary), Constants.Vector(static _ => 0x0F));
            C.vpshufb(Zmm(Temporary + 1), Zmm(BlockScales), Constants.Vector(static i => Skipped + 8 + (i % 4)));
            C.vpsrlvd(Zmm(Temporary + 1), Zmm(Temporary + 1), Constants.DoubleWords(static i => 2 * (i % 4)));
            C.vpandd(Zmm(Temporary + 1), Zmm(Temporary + 1), Zmm(Three));
            C.vpslld(Zmm(Temporary + 1), Zmm(Temporary + 1), 4);
            C.vpord(Zmm(Temporary), Zmm(Temporary), Zmm(Temporary + 1));
            C.vpsubb(Zmm(Temporary), Zmm(Temporary), Constants.Vector(static _ => 32));
            C.vpmovsxbw(Ymm(BlockScales), Xmm(Temporary));
            C.vbroadcasti64x4(Zmm(UpperBits), __ymmword_ptr[rdi + (block * Q3_K.BlockBytes)]);
        }

        protected override void Unpack(int block, int chunk) => Unpack(block, chunk, Zmm(UpperBits));

        protected override void Scale(int block, int chunk) => C.vpermw(Zmm(Scales), Zmm(Spread + chunk), Zmm(BlockScales));

        protected override void TakeOffZero(int block, int token, int sums)
        {
            C.vpmaddwd(Ymm(Temporary), Ymm(BlockScales), At(r9, token, block * 32));
            C.vpslld(Ymm(Temporary), Ymm(Temporary), 2);
            C.vpsubd(Zmm(sums), Zmm(sums), Zmm(Temporary));
        }

        protected override void Finish(int token, int sums, int blocks) => AddToChain(token, sums, SuperScales, 0, blocks, negative: false);

        // 32 bytes hold the lower bits of four rows, of which a chunk is two; bit r of the upper bits belongs to row r of eight.
        private void Unpack(int block, int chunk, Iced.Intel.AssemblerRegisterZMM upperBits)
        {
            C.vbroadcasti64x4(Zmm(Codes), __ymmword_ptr[rdi + (block * Q3_K.BlockBytes) + Q3_K.Codes + (chunk / 2 * 32)]);
            C.vpsrlvw(Zmm(Codes), Zmm(Codes), Constants.Words(i => (4 * (chunk % 2)) + (2 * (i / 16))));
            C.vpandd(Zmm(Codes), Zmm(Codes), Zmm(Three));
            C.vptestmb(k3, upperBits, Constants.Vector(i => 1 << ((2 * chunk) + (i / 32))));
            C.vpaddb(Zmm(Codes).k3, Zmm(Codes), Zmm(Four));
        }
    }
}
