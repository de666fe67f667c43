using Hadal.Numerics.MachineCode;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.Formats;

/// <content>Row kernels.</content>
public readonly unsafe partial struct Q2_K
{
    private sealed class RowCode : SuperBlockRows
    {
        private const int BlockScales = 16;
        private const int SuperScales = 17;
        private const int SuperMinima = 18;
        private const int Minima = 19;
        private const int Three = 21;
        private const int Spread = 22;

        public override int BlockBytes => Q2_K.BlockBytes;

        public override int SumLength => 16;

        protected override void LoadConstants(int tailBlocks)
        {
            // The sums of one block.
            LoadMask(k2, 16);
            C.vmovdqu32(Zmm(Three), Constants.Vector(static _ => 3));
            for (var chunk = 0; chunk < 4; chunk++)
            {
                var first = 4 * chunk;
                C.vmovdqu32(Zmm(Spread + chunk), Constants.Words(i => first + (i / 8)));
            }
        }

        protected override void BeginGroup(int blocks)
        {
            C.vpxord(Xmm(SuperScales), Xmm(SuperScales), Xmm(SuperScales));
            C.vpxord(Xmm(SuperMinima), Xmm(SuperMinima), Xmm(SuperMinima));
            for (var b = 0; b < blocks; b++)
            {
                C.vpinsrw(Xmm(SuperScales), Xmm(SuperScales), __word_ptr[rdi + (b * Q2_K.BlockBytes) + SuperScale], (byte)b);
                C.vpinsrw(Xmm(SuperMinima), Xmm(SuperMinima), __word_ptr[rdi + (b * Q2_K.BlockBytes) + SuperMinimum], (byte)b);
            }

            C.vcvtph2ps(Xmm(SuperScales), Xmm(SuperScales));
            C.vcvtph2ps(Xmm(SuperMinima), Xmm(SuperMinima));
        }

        protected override void BeginBlock(int block)
        {
            // Sixteen scales in the low nibbles, sixteen minima in the high ones; the minima of two blocks share a register.
            C.vmovdqu32(Xmm(Temporary), __xmmword_ptr[rdi + (block * Q2_K.BlockBytes)]);
            C.vpsrlw(Xmm(Temporary + 1), Xmm(Temporary), 4);
            C.vpandd(Zmm(Temporary), Zmm(Temporary), Constants.Vector(static _ => 0x0F));
            C.vpandd(Zmm(Temporary + 1), Zmm(Temporary + 1), Constants.Vector(static _ => 0x0F));
            C.vpmovzxbw(Ymm(BlockScales), Xmm(Temporary));
            var minima = Minima + (block / 2);
            if (block % 2 == 0)
            {
                C.vpmovzxbw(Ymm(minima), Xmm(Temporary + 1));
                return;
            }

            C.vpmovzxbw(Ymm(Temporary), Xmm(Temporary + 1));
            C.vinserti64x4(Zmm(minima), Zmm(minima), Ymm(Temporary), 1);
        }

        protected override void Unpack(int block, int chunk)
        {
            // 32 bytes hold four rows of codes; a chunk is two of them.
            C.vbroadcasti64x4(Zmm(Codes), __ymmword_ptr[rdi + (block * Q2_K.BlockBytes) + Q2_K.Codes + (chunk / 2 * 32)]);
            C.vpsrlvw(Zmm(Codes), Zmm(Codes), Constants.Words(i => (4 * (chunk % 2)) + (2 * (i / 16))));
            C.vpandd(Zmm(Codes), Zmm(Codes), Zmm(Three));
        }

        protected override void Scale(int block, int chunk) => C.vpermw(Zmm(Scales), Zmm(Spread + chunk), Zmm(BlockScales));

        protected override void Finish(int token, int sums, int blocks)
        {
            AddToChain(token, sums, SuperScales, 0, blocks, negative: false);
            for (var pair = 0; pair < 2; pair++)
            {
                var product = Zmm(Temporary + pair);
                switch (blocks - (2 * pair))
                {
                    case >= 2:
                        C.vpmaddwd(product, Zmm(Minima + pair), At(r9, token, pair * 64));
                        break;
                    case 1:
                        C.vmovdqu16(product.k2.z, At(r9, token, pair * 64));
                        C.vpmaddwd(product, Zmm(Minima + pair), product);
                        break;
                    default:
                        C.vpxord(product, product, product);
                        continue;
                }

                C.vpshufd(Zmm(26), product, 0b01_00_11_10);
                C.vpaddd(product, product, Zmm(26));
                C.vpshufd(Zmm(26), product, 0b10_11_00_01);
                C.vpaddd(product, product, Zmm(26));
            }

            // Two 128-bit lanes belong to a block.
            C.vmovdqu32(Zmm(26), Constants.DoubleWords(static i => i % 4 * 8));
            C.vmovdqu32(Zmm(27), Constants.DoubleWords(static i => (i % 4 * 8) + 4));
            C.vpermi2d(Zmm(26), Zmm(Temporary), Zmm(Temporary + 1));
            C.vpermi2d(Zmm(27), Zmm(Temporary), Zmm(Temporary + 1));
            C.vpaddd(Xmm(Temporary), Xmm(26), Xmm(27));
            AddToChain(token, Temporary, SuperMinima, 0, blocks, negative: true);
        }
    }
}
