using Hadal.Numerics.MachineCode;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.Formats;

/// <content>Row kernels.</content>
public readonly unsafe partial struct Q6_K
{
    private sealed class RowCode : SuperBlockRows
    {
        private const int BlockScales = 16;
        private const int Halves = 17;
        private const int Left = 18;
        private const int Right = 19;
        private const int Nibble = 20;
        private const int Upper = 21;
        private const int Spread = 22;

        public override int BlockBytes => Q6_K.BlockBytes;

        public override int SumLength => 16;

        protected override void LoadConstants(int tailBlocks)
        {
            C.vmovdqu32(Zmm(Left), Constants.Words(static i => i < 16 ? 4 : 2));
            C.vmovdqu32(Zmm(Right), Constants.Words(static i => i < 16 ? 0 : 2));
            C.vmovdqu32(Zmm(Nibble), Constants.Vector(static _ => 0x0F));
            C.vmovdqu32(Zmm(Upper), Constants.Vector(static _ => 0x30));
            for (var chunk = 0; chunk < 4; chunk++)
            {
                var first = 4 * chunk;
                C.vmovdqu32(Zmm(Spread + chunk), Constants.Words(i => first + (i / 8)));
            }
        }

        protected override void BeginGroup(int blocks)
        {
            C.vpxord(Xmm(Halves), Xmm(Halves), Xmm(Halves));
            for (var b = 0; b < blocks; b++)
                C.vpinsrw(Xmm(Halves), Xmm(Halves), __word_ptr[rdi + (b * Q6_K.BlockBytes) + SuperScale], (byte)b);
            C.vcvtph2ps(Xmm(Halves), Xmm(Halves));
        }

        protected override void BeginBlock(int block) => C.vpmovsxbw(Ymm(BlockScales), __xmmword_ptr[rdi + (block * Q6_K.BlockBytes) + Q6_K.Scales]);

        protected override void Unpack(int block, int chunk)
        {
            // 64 bytes: two rows in the low nibbles, two in the high ones; their upper bits are in 32 bytes.
            var at = rdi + (block * Q6_K.BlockBytes);
            C.vmovdqu32(Zmm(Codes), __zmmword_ptr[at + (chunk / 2 * 64)]);
            if (chunk % 2 == 1)
                C.vpsrlw(Zmm(Codes), Zmm(Codes), 4);
            C.vpandd(Zmm(Codes), Zmm(Codes), Zmm(Nibble));
            C.vbroadcasti64x4(Zmm(Temporary), __ymmword_ptr[at + HighBits + (chunk / 2 * 32)]);
            if (chunk % 2 == 0)
                C.vpsllvw(Zmm(Temporary), Zmm(Temporary), Zmm(Left));
            else
                C.vpsrlvw(Zmm(Temporary), Zmm(Temporary), Zmm(Right));
            C.vpternlogd(Zmm(Codes), Zmm(Temporary), Zmm(Upper), 0xF8);
        }

        protected override void Scale(int block, int chunk) => C.vpermw(Zmm(Scales), Zmm(Spread + chunk), Zmm(BlockScales));

        protected override void TakeOffZero(int block, int token, int sums)
        {
            C.vpmaddwd(Ymm(Temporary), Ymm(BlockScales), At(r9, token, block * 32));
            C.vpslld(Ymm(Temporary), Ymm(Temporary), 5);
            C.vpsubd(Zmm(sums), Zmm(sums), Zmm(Temporary));
        }

        protected override void Finish(int token, int sums, int blocks) => AddToChain(token, sums, Halves, 0, blocks, negative: false);
    }
}
