using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Kernels.Integer;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembles the integer tile kernels for AVX512-VNNI, which .NET does not expose: blocks of 32 weight rows times blocks of N tokens, by vpdpbusd,
/// added to four chains of float32 sums. The order of everything is that of <see cref="IntegerDot"/>.
/// </summary>
/// <remarks>
/// <c>void tile(byte* weights, byte* tokens, float* chains, long* blocks)</c> with the layouts of <see cref="IntegerPanel"/>; chains [4][N][32].
/// zmm0-11: sums over the block, two registers of rows for each token; zmm12-23: sums over one integer scale, or the chain; zmm24-25: weights or scales;
/// zmm26-31: broadcast codes and float work.
/// </remarks>
internal sealed class VnniTile
{
    private const int Sums = 0;
    private const int Partial = 12;
    private const int Chain = 12;
    private const int Weights = 24;
    private const int Work = 26;
    private const int Vector = 64;

    private readonly Assembler c = new(64) { PreferVex = false };
    private readonly IntegerPanel panel;
    private readonly int tokens;

    private VnniTile(IntegerPanel panel, int tokens)
    {
        this.panel = panel;
        this.tokens = tokens;
    }

    /// <summary>Whether this processor runs the kernels.</summary>
    public static bool IsSupported => Avx512BW.IsSupported && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>Assembles a kernel and makes it callable.</summary>
    /// <param name="panel">Layout of the format.</param>
    /// <param name="tokens">N, at most 6.</param>
    public static nint Assemble(IntegerPanel panel, int tokens)
    {
        var tile = new VnniTile(panel, tokens);
        Enter(tile.c);
        tile.c.mov(rcx, __qword_ptr[rcx]);
        if (panel.Scales == 0)
            tile.Chains();
        else
            tile.SuperBlocks();
        Leave(tile.c);
        return Publish(tile.c);
    }

    private int Plane => tokens * IntegerPanel.Rows * sizeof(float);

    // Block after block, the chains in memory taking turns.
    private void SuperBlocks()
    {
        var block = c.CreateLabel();
        c.lea(r8, __[rdx + (4 * Plane)]);
        c.mov(r9, rdx);
        c.Label(ref block);
        ScaledCodes();
        AddToChains(panel.WeightSuperScale, negative: false);
        if (panel.HasMinimum)
        {
            MinimumSums();
            AddToChains(panel.WeightSuperMinimum, negative: true);
        }

        c.add(rdi, panel.WeightBytes);
        c.add(rsi, panel.TokenBytes(tokens));
        c.add(r9, Plane);
        c.cmp(r9, r8);
        c.cmove(r9, rdx);
        c.dec(rcx);
        c.jnz(block);
    }

    // One chain after the other in registers: blocks 0, 4, 8 ..., then 1, 5, 9 ...
    private void Chains()
    {
        for (var chain = 0; chain < 4; chain++)
        {
            var block = c.CreateLabel();
            var done = c.CreateLabel();

            // Blocks of this chain: (blocks - chain + 3) / 4.
            c.lea(rax, __[rcx + 3 - chain]);
            c.sar(rax, 2);
            c.jz(done);
            ForEach((t, v) => c.vmovups(Zmm(Chain + (2 * t) + v), __zmmword_ptr[rdx + (chain * Plane) + (((2 * t) + v) * Vector)]));
            c.lea(r8, __[rdi + (chain * panel.WeightBytes)]);
            c.lea(r9, __[rsi + (chain * panel.TokenBytes(tokens))]);
            c.Label(ref block);
            Codes(r8, r9, __dword_ptr[r9 + panel.TokenStarts(tokens)], Sums);
            AddToRegisters(panel.WeightSuperScale, sumsOfActivations: false);
            if (panel.HasMinimum)
                AddToRegisters(panel.WeightSuperMinimum, sumsOfActivations: true);
            c.add(r8, 4 * panel.WeightBytes);
            c.add(r9, 4 * panel.TokenBytes(tokens));
            c.dec(rax);
            c.jnz(block);
            ForEach((t, v) => c.vmovups(__zmmword_ptr[rdx + (chain * Plane) + (((2 * t) + v) * Vector)], Zmm(Chain + (2 * t) + v)));
            c.Label(ref done);
            c.nop();
        }
    }

    private void ForEach(Action<int, int> body)
    {
        for (var t = 0; t < tokens; t++)
        {
            body(t, 0);
            body(t, 1);
        }
    }

    // Registers first.. = start values + sum of codes times codes over the values that share a start value.
    private void Codes(AssemblerRegister64 w, AssemblerRegister64 x, AssemblerMemoryOperand starts, int first)
    {
        for (var t = 0; t < tokens; t++)
        {
            var (lower, upper) = (Zmm(first + (2 * t)), Zmm(first + (2 * t) + 1));
            if (panel.ZeroPoint != 0)
            {
                c.vpbroadcastd(lower, starts + (t * 4));
                c.vmovdqa64(upper, lower);
            }
            else
            {
                c.vpxord(lower, lower, lower);
                c.vpxord(upper, upper, upper);
            }
        }

        for (var k = 0; k < panel.SumLength / 4; k++)
        {
            c.vmovdqu32(Zmm(Weights), __zmmword_ptr[w + (k * IntegerPanel.ColumnBytes)]);
            c.vmovdqu32(Zmm(Weights + 1), __zmmword_ptr[w + (k * IntegerPanel.ColumnBytes) + Vector]);
            for (var t = 0; t < tokens; t++)
            {
                var codes = Zmm(Work + t);
                c.vpbroadcastd(codes, __dword_ptr[x + (((k * tokens) + t) * 4)]);
                c.vpdpbusd(Zmm(first + (2 * t)), Zmm(Weights), codes);
                c.vpdpbusd(Zmm(first + (2 * t) + 1), Zmm(Weights + 1), codes);
            }
        }
    }

    // A loop over the integer scales rather than straight code, which would not fit the processor's cache of decoded instructions.
    private void ScaledCodes()
    {
        var part = c.CreateLabel();
        ForEach((t, v) => c.vpxord(Zmm(Sums + (2 * t) + v), Zmm(Sums + (2 * t) + v), Zmm(Sums + (2 * t) + v)));
        c.mov(r10, rdi);
        c.mov(r11, rsi);
        c.lea(rax, __[rsi + panel.TokenStarts(tokens)]);
        c.lea(rbx, __[rdi + panel.WeightScales]);
        c.mov(ebp, panel.Scales);
        c.Label(ref part);
        Codes(r10, r11, __dword_ptr[rax], Partial);
        LoadColumn(rbx, 0);
        ForEach((t, v) =>
        {
            var product = Zmm(Partial + (2 * t) + v);
            c.vpmulld(product, product, Zmm(Weights + v));
            c.vpaddd(Zmm(Sums + (2 * t) + v), Zmm(Sums + (2 * t) + v), product);
        });
        c.add(r10, panel.SumLength / 4 * IntegerPanel.ColumnBytes);
        c.add(r11, panel.SumLength * tokens);
        c.add(rax, tokens * 4);
        c.add(rbx, IntegerPanel.ColumnBytes);
        c.dec(ebp);
        c.jnz(part);
    }

    // Sums = minima times sums of codes, two 16-bit pairs at a time.
    private void MinimumSums()
    {
        var sums = panel.TokenSums(tokens);
        ForEach((t, v) => c.vpxord(Zmm(Sums + (2 * t) + v), Zmm(Sums + (2 * t) + v), Zmm(Sums + (2 * t) + v)));
        for (var pair = 0; pair < panel.Scales / 2; pair++)
        {
            LoadColumn(rdi, panel.WeightMinima + (pair * IntegerPanel.ColumnBytes));
            for (var t = 0; t < tokens; t++)
            {
                c.vpbroadcastd(Zmm(Work + t), __dword_ptr[rsi + sums + (((pair * tokens) + t) * 4)]);
                c.vpdpwssd(Zmm(Sums + (2 * t)), Zmm(Weights), Zmm(Work + t));
                c.vpdpwssd(Zmm(Sums + (2 * t) + 1), Zmm(Weights + 1), Zmm(Work + t));
            }
        }
    }

    // chain[t] = fma(+-float(sum), scale * activation scale[t], chain[t]), the chain at r9.
    private void AddToChains(int scales, bool negative)
    {
        LoadColumn(rdi, scales);
        ForEach((t, v) =>
        {
            var sum = Zmm(Sums + (2 * t) + v);
            var at = __zmmword_ptr[r9 + (((2 * t) + v) * Vector)];
            c.vcvtdq2ps(sum, sum);
            c.vmulps(Zmm(Work + v), Zmm(Weights + v), __dword_bcst[rsi + panel.TokenScales(tokens) + (t * 4)]);
            c.vmovups(Zmm(Work + 2 + v), at);
            if (negative)
                c.vfnmadd231ps(Zmm(Work + 2 + v), sum, Zmm(Work + v));
            else
                c.vfmadd231ps(Zmm(Work + 2 + v), sum, Zmm(Work + v));
            c.vmovups(at, Zmm(Work + 2 + v));
        });
    }

    // The same with chains in registers and blocks at r8 and r9; the one minimum of a block multiplies the sum of its activations.
    private void AddToRegisters(int scales, bool sumsOfActivations)
    {
        LoadColumn(r8, scales);
        for (var t = 0; t < tokens; t++)
        {
            if (sumsOfActivations)
            {
                c.vpbroadcastd(Zmm(Sums + (2 * t)), __dword_ptr[r9 + panel.TokenSums(tokens) + (t * 4)]);
                c.vcvtdq2ps(Zmm(Sums + (2 * t)), Zmm(Sums + (2 * t)));
                c.vmovdqa64(Zmm(Sums + (2 * t) + 1), Zmm(Sums + (2 * t)));
            }

            c.vbroadcastss(Zmm(Work + 2), __dword_ptr[r9 + panel.TokenScales(tokens) + (t * 4)]);
            for (var v = 0; v < 2; v++)
            {
                var sum = Zmm(Sums + (2 * t) + v);
                if (!sumsOfActivations)
                    c.vcvtdq2ps(sum, sum);
                c.vmulps(Zmm(Work + v), Zmm(Weights + v), Zmm(Work + 2));
                if (sumsOfActivations)
                    c.vfnmadd231ps(Zmm(Chain + (2 * t) + v), sum, Zmm(Work + v));
                else
                    c.vfmadd231ps(Zmm(Chain + (2 * t) + v), sum, Zmm(Work + v));
            }
        }
    }

    private void LoadColumn(AssemblerRegister64 w, int offset)
    {
        c.vmovdqu32(Zmm(Weights), __zmmword_ptr[w + offset]);
        c.vmovdqu32(Zmm(Weights + 1), __zmmword_ptr[w + offset + Vector]);
    }
}
