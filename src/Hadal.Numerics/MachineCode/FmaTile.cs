using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Gemm;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembles the bfloat16 tile for processors with AVX2 and FMA but without vdpbf16ps. The halves of a pair are float32 numbers once the other half is
/// cleared; the control register makes the processor treat subnormal numbers as zero meanwhile, which .NET does not let one ask for. A sum within 2^-150 below
/// the smallest normal number 2^-126 counts as subnormal here, where <see cref="GemmTile.Reference"/> may round it up to a normal one first.
/// </summary>
/// <remarks>
/// <c>void tile(GemmTile*)</c>, six rows by sixteen columns at a time. ymm0-11: sums, two for each row; ymm12-13: halves of a step of B; ymm14: half of a
/// pair of A, broadcast; ymm15: the mask of upper halves. rdi: the tile; rsi and r8: rows 0 and 3 of A; rdx: bytes of a row of A, rcx: of a step; rax: B, later C;
/// r11: steps left.
/// </remarks>
internal static class FmaTile
{
    private const int RowsAtOnce = 6;
    private const int Column = 64;
    private const int Half = 32;

    // Bits 6 and 15 of the control register: subnormal operands and results are zero.
    private const int SubnormalsAreZero = 0x8040;

    /// <summary>Assembles the kernel and makes it callable.</summary>
    /// <param name="vectors">Sixteens of columns: 1 or 2.</param>
    public static nint Assemble(int vectors)
    {
        var c = new Assembler(64);
        Enter(c);
        c.sub(rsp, 16);
        c.vstmxcsr(__dword_ptr[rsp]);
        c.mov(eax, __dword_ptr[rsp]);
        c.or(eax, SubnormalsAreZero);
        c.mov(__dword_ptr[rsp + 4], eax);
        c.mov(eax, unchecked((int)0xFFFF0000));
        c.vmovd(xmm15, eax);
        c.vpbroadcastd(ymm15, xmm15);
        for (var column = 0; column < vectors; column++)
        {
            for (var row = 0; row < GemmTile.Rows; row += RowsAtOnce)
                Block(c, row, column * Column);
        }

        c.add(rsp, 16);
        Leave(c);
        return Publish(c);
    }

    private static void Block(Assembler c, int row, int column)
    {
        c.vldmxcsr(__dword_ptr[rsp + 4]);
        for (var i = 0; i < 2 * RowsAtOnce; i++)
            c.vxorps(Ymm(i), Ymm(i), Ymm(i));
        c.mov(rdx, Field(nameof(GemmTile.ARow)));
        c.mov(rcx, Field(nameof(GemmTile.AStep)));
        c.imul(rsi, rdx, row);
        c.add(rsi, Field(nameof(GemmTile.A)));
        c.lea(r8, __[rdx + (rdx * 2)]);
        c.add(r8, rsi);
        c.mov(rax, Field(nameof(GemmTile.B)));
        c.mov(r11, Field(nameof(GemmTile.Steps)));
        var loop = c.CreateLabel();
        var done = c.CreateLabel();
        c.test(r11, r11);
        c.jz(done);
        c.Label(ref loop);
        Halves(c, column, upper: true);
        Halves(c, column, upper: false);
        c.add(rsi, rcx);
        c.add(r8, rcx);
        c.add(rax, PackedMatrix.StepBytes);
        c.dec(r11);
        c.jnz(loop);
        c.Label(ref done);

        c.vldmxcsr(__dword_ptr[rsp]);
        c.mov(r11, Field(nameof(GemmTile.CRow)));
        c.imul(rax, r11, row);
        c.add(rax, Field(nameof(GemmTile.C)));
        var store = c.CreateLabel();
        c.cmp(Field(nameof(GemmTile.Accumulate)), 0);
        c.je(store);
        c.mov(rcx, rax);
        for (var i = 0; i < RowsAtOnce; i++)
        {
            c.vaddps(Ymm(2 * i), Ymm(2 * i), __ymmword_ptr[rcx + column]);
            c.vaddps(Ymm((2 * i) + 1), Ymm((2 * i) + 1), __ymmword_ptr[rcx + column + Half]);
            c.add(rcx, r11);
        }

        c.Label(ref store);
        for (var i = 0; i < RowsAtOnce; i++)
        {
            c.vmovups(__ymmword_ptr[rax + column], Ymm(2 * i));
            c.vmovups(__ymmword_ptr[rax + column + Half], Ymm((2 * i) + 1));
            c.add(rax, r11);
        }
    }

    // sums += the upper, or the lower, halves of a step of A times those of B.
    private static void Halves(Assembler c, int column, bool upper)
    {
        for (var v = 0; v < 2; v++)
        {
            if (upper)
            {
                c.vandps(Ymm(12 + v), ymm15, __ymmword_ptr[rax + column + (v * Half)]);
            }
            else
            {
                c.vmovdqu(Ymm(12 + v), __ymmword_ptr[rax + column + (v * Half)]);
                c.vpslld(Ymm(12 + v), Ymm(12 + v), 16);
            }
        }

        for (var i = 0; i < RowsAtOnce; i++)
        {
            var row = i < 3 ? rsi : r8;
            c.vbroadcastss(ymm14, (i % 3) switch { 0 => __dword_ptr[row], 1 => __dword_ptr[row + rdx], _ => __dword_ptr[row + (rdx * 2)] });
            if (upper)
                c.vandps(ymm14, ymm14, ymm15);
            else
                c.vpslld(ymm14, ymm14, 16);
            c.vfmadd231ps(Ymm(2 * i), ymm14, ymm12);
            c.vfmadd231ps(Ymm((2 * i) + 1), ymm14, ymm13);
        }
    }

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rdi + Marshal.OffsetOf<GemmTile>(name).ToInt32()];
}
