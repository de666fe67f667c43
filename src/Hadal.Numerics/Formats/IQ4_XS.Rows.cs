using Hadal.Numerics.MachineCode;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.Formats;

/// <content>Row kernels.</content>
public readonly unsafe partial struct IQ4_XS
{
    private sealed class RowCode : SuperBlockRows
    {
        private const int BlockScales = 16;
        private const int ScaleWords = 17;
        private const int SuperScales = 18;
        private const int Table = 19;
        private const int Shifts = 20;
        private const int Nibble = 21;
        private const int Spread = 22;

        public override int BlockBytes => IQ4_XS.BlockBytes;

        public override int SumLength => 32;

        protected override void LoadConstants(int tailBlocks)
        {
            C.vmovdqu32(Zmm(Table), Constants.Vector(static i => IQ4_NL.Table[i % 16] + Zero));
            C.vmovdqu32(Zmm(Shifts), Constants.Words(static i => i / 8 % 2 * 4));
            C.vmovdqu32(Zmm(Nibble), Constants.Vector(static _ => 0x0F));
            for (var chunk = 0; chunk < 4; chunk++)
            {
                var first = 2 * chunk;
                C.vmovdqu32(Zmm(Spread + chunk), Constants.DoubleWords(i => first + (i / 8)));
            }
        }

        protected override void BeginGroup(int blocks)
        {
            C.vpxord(Xmm(SuperScales), Xmm(SuperScales), Xmm(SuperScales));
            for (var b = 0; b < blocks; b++)
                C.vpinsrw(Xmm(SuperScales), Xmm(SuperScales), __word_ptr[rdi + (b * IQ4_XS.BlockBytes)], (byte)b);
            C.vcvtph2ps(Xmm(SuperScales), Xmm(SuperScales));
        }

        protected override void BeginBlock(int block)
        {
            // Eight scales as words: nibbles of the last four of eight bytes, two bits each of the third and fourth, 32 taken off.
            C.vmovq(Xmm(Temporary), __qword_ptr[rdi + (block * IQ4_XS.BlockBytes)]);
            C.vpshufb(Zmm(ScaleWords), Zmm(Temporary), Constants.Vector(static i => i < 16 && i % 2 == 0 ? ScalesLow + (i / 4) : 0x80));
            C.vpsrlvw(Zmm(ScaleWords), Zmm(ScaleWords), Constants.Words(static i => i % 2 * 4));
            C.vpandd(Zmm(ScaleWords), Zmm(ScaleWords), Zmm(Nibble));
            C.vpshufb(Zmm(Temporary), Zmm(Temporary), Constants.Vector(static i => i < 16 ? ScalesHigh + (i % 2) : 0x80));
            C.vpsrlvw(Zmm(Temporary), Zmm(Temporary), Constants.Words(static i => i % 8 * 2));
            C.vpandd(Zmm(Temporary), Zmm(Temporary), Constants.Words(static _ => 3));
            C.vpsllw(Zmm(Temporary), Zmm(Temporary), 4);
            C.vpord(Zmm(ScaleWords), Zmm(ScaleWords), Zmm(Temporary));
            C.vpsubw(Zmm(ScaleWords), Zmm(ScaleWords), Constants.Words(static _ => 32));
            C.vpmovsxwd(Ymm(BlockScales), Xmm(ScaleWords));
        }

        protected override void Unpack(int block, int chunk)
        {
            // Two sub-blocks of sixteen bytes, low nibbles before high ones, looked up in the table.
            C.vbroadcasti64x4(Zmm(Codes), __ymmword_ptr[rdi + (block * IQ4_XS.BlockBytes) + IQ4_XS.Codes + (32 * chunk)]);
            C.vshufi32x4(Zmm(Codes), Zmm(Codes), Zmm(Codes), 0b01_01_00_00);
            C.vpsrlvw(Zmm(Codes), Zmm(Codes), Zmm(Shifts));
            C.vpandd(Zmm(Codes), Zmm(Codes), Zmm(Nibble));
            C.vpshufb(Zmm(Codes), Zmm(Table), Zmm(Codes));
        }

        protected override void Scale(int block, int chunk) => C.vpermd(Zmm(Scales), Zmm(Spread + chunk), Zmm(BlockScales));

        // Codes up to 241 times activations: pairs would not fit 16 bits.
        protected override void Multiply(int token, int at, int sums, bool first)
        {
            var product = Zmm(Temporary + (token % 2));
            C.vpxord(product, product, product);
            C.vpdpbusd(product, Zmm(Codes), At(r8, token, at));
            if (first)
            {
                C.vpmulld(Zmm(sums), product, Zmm(Scales));
                return;
            }

            C.vpmulld(product, product, Zmm(Scales));
            C.vpaddd(Zmm(sums), Zmm(sums), product);
        }

        protected override void TakeOffZero(int block, int token, int sums)
        {
            C.vpmaddwd(Xmm(Temporary), Xmm(ScaleWords), At(r9, token, block * 16));
            C.vpslld(Xmm(Temporary), Xmm(Temporary), 7);
            C.vpsubd(Zmm(sums), Zmm(sums), Zmm(Temporary));
        }

        protected override void Finish(int token, int sums, int blocks) => AddToChain(token, sums, SuperScales, 0, blocks, negative: false);
    }
}
