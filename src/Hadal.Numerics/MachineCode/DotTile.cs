using System.Runtime.InteropServices;
using Hadal.Numerics.Kernels.Gemm;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembles the bfloat16 tile for AVX512-BF16, which .NET does not expose: up to twelve rows by one or two vectors of sums, by vdpbf16ps.
/// </summary>
/// <remarks>
/// <c>void tile(GemmTile*)</c>. zmm0-11 (or 0-23): sums, row by row; zmm24-25: a step of B; zmm26-31: pairs of A, broadcast. Rows of A are reached from
/// four base registers, three rows each.
/// </remarks>
internal static class DotTile
{
    /// <summary>Assembles the kernel and makes it callable.</summary>
    /// <param name="rows">Rows, at most twelve.</param>
    /// <param name="vectors">Vectors of 16 columns: 1 or 2.</param>
    public static nint Assemble(int rows, int vectors)
    {
        var c = new Assembler(64);
        Enter(c);
        Body(c, rows, vectors);
        Leave(c);
        return Publish(c);
    }

    // rdi: the tile; rsi, r8, r9, r10: rows 0, 3, 6, 9 of A; rdx: bytes of a row of A, rcx: of a step; rax: B, later C; r11: steps left;
    // rbx: what is asked for ahead (A where that is nothing), rbp: bytes of it for each step.
    private static void Body(Assembler c, int rows, int vectors)
    {
        var bases = new[] { rsi, r8, r9, r10 }.AsSpan(0, (rows + 2) / 3);
        c.mov(rsi, Field(nameof(GemmTile.A)));
        c.mov(rdx, Field(nameof(GemmTile.ARow)));
        c.mov(rcx, Field(nameof(GemmTile.AStep)));
        c.mov(r11, Field(nameof(GemmTile.CRow)));
        c.mov(rax, Field(nameof(GemmTile.C)));
        for (var i = 0; i < rows; i++)
        {
            for (var v = 0; v < vectors; v++)
            {
                c.prefetchw(__byte_ptr[rax + (v * 64)]);
                c.vpxord(Zmm((i * vectors) + v), Zmm((i * vectors) + v), Zmm((i * vectors) + v));
            }

            c.add(rax, r11);
        }

        c.lea(rax, __[rdx + (rdx * 2)]);
        c.lea(r8, __[rsi + rax]);
        c.lea(r9, __[r8 + rax]);
        c.lea(r10, __[r9 + rax]);
        c.mov(rbx, Field(nameof(GemmTile.Ahead)));
        c.mov(rbp, Field(nameof(GemmTile.AheadStep)));
        c.test(rbx, rbx);
        c.cmove(rbx, rsi);
        c.mov(rax, Field(nameof(GemmTile.B)));
        c.mov(r11, Field(nameof(GemmTile.Steps)));
        var loop = c.CreateLabel();
        var done = c.CreateLabel();
        c.test(r11, r11);
        c.jz(done);
        c.Label(ref loop);
        for (var v = 0; v < vectors; v++)
            c.vmovdqu32(Zmm(24 + v), __zmmword_ptr[rax + (v * 64)]);
        for (var i = 0; i < rows; i++)
        {
            var pair = Zmm(26 + (i % 6));
            var row = bases[i / 3];
            c.vpbroadcastd(pair, (i % 3) switch { 0 => __dword_ptr[row], 1 => __dword_ptr[row + rdx], _ => __dword_ptr[row + (rdx * 2)] });
            for (var v = 0; v < vectors; v++)
                c.vdpbf16ps(Zmm((i * vectors) + v), Zmm(24 + v), pair);
        }

        c.prefetcht1(__byte_ptr[rbx]);
        c.add(rbx, rbp);
        foreach (var row in bases)
            c.add(row, rcx);
        c.add(rax, PackedMatrix.StepBytes);
        c.dec(r11);
        c.jnz(loop);
        c.Label(ref done);

        c.mov(rax, Field(nameof(GemmTile.C)));
        c.mov(r11, Field(nameof(GemmTile.CRow)));
        var store = c.CreateLabel();
        c.cmp(Field(nameof(GemmTile.Accumulate)), 0);
        c.je(store);
        c.mov(rcx, rax);
        for (var i = 0; i < rows; i++)
        {
            for (var v = 0; v < vectors; v++)
                c.vaddps(Zmm((i * vectors) + v), Zmm((i * vectors) + v), __zmmword_ptr[rcx + (v * 64)]);
            c.add(rcx, r11);
        }

        c.Label(ref store);
        for (var i = 0; i < rows; i++)
        {
            for (var v = 0; v < vectors; v++)
                c.vmovups(__zmmword_ptr[rax + (v * 64)], Zmm((i * vectors) + v));
            c.add(rax, r11);
        }
    }

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rdi + Marshal.OffsetOf<GemmTile>(name).ToInt32()];
}
