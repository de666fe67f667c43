using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Kernels over rows for one token or a few that are rounded to bfloat16, in the order of <see cref="BfloatDot"/>, for AVX512-BF16; codes of E4M3 are looked up in tables, for
/// AVX512-VBMI. A row is read and unpacked once for all tokens. Wide rows can be taken in pieces, between which sums wait in memory.
/// </summary>
/// <param name="format">BF16 or F8_E4M3.</param>
/// <param name="tokens">1 to <see cref="MaxTokens"/>, the registers being enough for two rows' sums of so many.</param>
/// <param name="everyLine">Whether every line is asked for; <see cref="StreamHints"/>.</param>
/// <remarks>
/// r15, r12 and r13: bytes to the second, fourth and sixth token. zmm0-23 (0-15 with E4M3): sums, by row,
/// token and which of two; zmm24-27: weights; zmm28-29: activations. With E4M3 zmm16-18: work; zmm19: activations; zmm20: the mask of the sign; zmm28-31: tables.
/// </remarks>
internal sealed class BfloatRows(WeightFormat format, int tokens, bool everyLine) : RowStream(format, everyLine)
{
    private const int Halves = BfloatDot.Sums;
    private const int Values = 24;
    private const int Tables = 28;

    // Arguments that are kept on the stack by kernels for several tokens.
    private static readonly string[] Pushed =
        [nameof(RowStreamArguments.ResultStride), nameof(RowStreamArguments.Sums), nameof(RowStreamArguments.Continues), nameof(RowStreamArguments.Waits)];

    /// <inheritdoc/>
    protected override int ActivationBytes => BfloatDot.Step * sizeof(ushort);

    /// <summary>Bytes of a row's sums with some tokens.</summary>
    public static int SumBytes(int tokens) => tokens * Halves * Vector;

    /// <summary>The most tokens of a kernel.</summary>
    public static int MaxTokens(WeightFormat format) => format == WeightFormat.F8_E4M3 ? 4 : 6;

    /// <inheritdoc/>
    protected override void Begin(ConstantPool constants)
    {
        if (tokens > 1)
        {
            C.mov(r15, Argument(nameof(RowStreamArguments.TokenStride)));
            C.lea(r12, __[r15 + (r15 * 2)]);
            C.lea(r13, __[r15 + (r15 * 4)]);
            foreach (var name in Pushed)
                C.push(Argument(name));
        }

        if (!IsByte)
            return;
        C.mov(eax, unchecked((int)0x80808080));
        C.vpbroadcastd(zmm20, eax);
        for (var i = 0; i < 4; i++)
        {
            var (first, shift) = (i % 2 * Vector, i < 2 ? 8 : 0);
            constants.Keep(Zmm(Tables + i), magnitude => BF16.FromSingle(F8_E4M3.ToSingle((byte)(first + magnitude))) >> shift);
        }
    }

    /// <inheritdoc/>
    protected override void End()
    {
        if (tokens > 1)
            C.add(rsp, Pushed.Length * sizeof(long));
    }

    /// <inheritdoc/>
    protected override void ClearSums(int rows)
    {
        var (zero, done) = (C.CreateLabel(), C.CreateLabel());
        if (tokens > 1)
        {
            C.cmp(OnStack(nameof(RowStreamArguments.Continues)), 0);
            C.je(zero);
            C.mov(rax, OnStack(nameof(RowStreamArguments.Sums)));
            for (var i = 0; i < rows * tokens * Halves; i++)
                C.vmovups(Zmm(i), __zmmword_ptr[rax + (i * Vector)]);
            C.jmp(done);
            C.Label(ref zero);
        }

        for (var i = 0; i < rows * tokens * Halves; i++)
            C.vpxord(Zmm(i), Zmm(i), Zmm(i));
        if (tokens > 1)
            C.Label(ref done);
    }

    /// <inheritdoc/>
    protected override void Step(int rows)
    {
        for (var row = rows - 1; row >= 0; row--)
        {
            AskAhead(row, rows);
            if (IsByte)
                Unpack(row);
            for (var half = 0; half < Halves && !IsByte; half++)
                C.vmovdqu64(Value(row, half), __zmmword_ptr[Weights(row) + (half * Vector)]);
        }

        for (var t = 0; t < tokens; t++)
        {
            for (var half = 0; half < Halves; half++)
            {
                var activations = IsByte ? zmm19 : Zmm(28 + half);
                C.vmovdqu64(activations, __zmmword_ptr[Token(t) + (half * Vector)]);
                for (var row = 0; row < rows; row++)
                    C.vdpbf16ps(Sum(row, t, half), activations, Value(row, half));
            }
        }
    }

    /// <inheritdoc/>
    protected override void StoreSums(int rows)
    {
        var (wait, done) = (C.CreateLabel(), C.CreateLabel());
        if (tokens > 1)
        {
            C.cmp(OnStack(nameof(RowStreamArguments.Waits)), 0);
            C.jne(wait);
        }

        for (var row = 0; row < rows; row++)
            StoreResults(row);
        if (tokens == 1)
            return;
        C.jmp(done);
        C.Label(ref wait);
        C.mov(rax, OnStack(nameof(RowStreamArguments.Sums)));
        for (var i = 0; i < rows * tokens * Halves; i++)
            C.vmovups(__zmmword_ptr[rax + (i * Vector)], Zmm(i));
        C.Label(ref done);
        C.add(OnStack(nameof(RowStreamArguments.Sums)), rows * SumBytes(tokens));
    }

    // The tree of BfloatDot: both sums, then halves and quarters of each 128 bits, then those four.
    private void StoreResults(int row)
    {
        C.lea(rax, __[Result(row)]);
        for (var t = 0; t < tokens; t++)
        {
            var number = ((row * tokens) + t) * Halves;
            var (s0, s1) = (Zmm(number), Zmm(number + 1));
            C.vaddps(s0, s0, s1);
            AddWithinQuarters(s0, s1);
            AddHalves(number, number + 1);
            AddQuarters(number, number + 1);
            C.vmovss(__dword_ptr[rax], Xmm(number));
            if (t < tokens - 1)
                C.add(rax, OnStack(nameof(RowStreamArguments.ResultStride)));
        }
    }

    private static AssemblerMemoryOperand OnStack(string name) => __qword_ptr[rsp + ((Pushed.Length - 1 - Array.IndexOf(Pushed, name)) * sizeof(long))];

    private AssemblerRegisterZMM Sum(int row, int token, int half) => Zmm((((row * tokens) + token) * Halves) + half);

    private static AssemblerRegisterZMM Value(int row, int half) => Zmm(Values + (row * Halves) + half);

    private static AssemblerMemoryOperand Token(int token) => token switch
    {
        0 => rsi + 0,
        1 => rsi + r15,
        2 => rsi + (r15 * 2),
        3 => rsi + r12,
        4 => rsi + (r15 * 4),
        _ => rsi + r13,
    };

    // Both bytes of the values of all magnitudes, the sign, and the two brought together, within each 128 bits.
    private void Unpack(int row)
    {
        C.vmovdqu64(zmm16, __zmmword_ptr[Weights(row)]);
        C.vmovdqa64(zmm17, zmm16);
        C.vpandd(zmm18, zmm16, zmm20);
        C.vpermi2b(zmm16, Zmm(Tables), Zmm(Tables + 1));
        C.vpermi2b(zmm17, Zmm(Tables + 2), Zmm(Tables + 3));
        C.vpord(zmm16, zmm16, zmm18);
        C.vpunpcklbw(Value(row, 0), zmm17, zmm16);
        C.vpunpckhbw(Value(row, 1), zmm17, zmm16);
    }
}
