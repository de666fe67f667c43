using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Iced.Intel;
using static Hadal.Numerics.MachineCode.KernelFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Kernels over rows for one token of float32, in the order of <see cref="DotProduct"/>. Values of BF16 and E4M3 are taken out of the 32-bit lanes that they share, and activations
/// lie as that leaves them (<see cref="ArrangedTokens"/>); those of F16 and F32 lie as they are.
/// </summary>
/// <param name="format">F32, F16, BF16 or F8_E4M3.</param>
/// <param name="everyLine">Whether every line is asked for; <see cref="StreamHints"/>.</param>
/// <remarks>zmm0-3: running sums; zmm4-7: values; zmm9: the mask of what belongs to a value; zmm10-13: sums of the second row of two; zmm16-19: their activations.</remarks>
internal sealed class FloatRows(WeightFormat format, bool everyLine) : RowStream(format, everyLine)
{
    // The first running sum of the second row.
    private const int SecondSums = 10;
    private const int SharedActivations = 16;

    /// <inheritdoc/>
    protected override int ActivationBytes => DotProduct.Lanes * sizeof(float);

    private bool IsNatural => Format is WeightFormat.F32 or WeightFormat.F16;

    /// <inheritdoc/>
    protected override void Begin(ConstantPool constants)
    {
        C.mov(eax, IsByte ? F8_E4M3.FieldsMask : unchecked((int)0xFFFF0000));
        C.vpbroadcastd(zmm9, eax);
    }

    /// <inheritdoc/>
    protected override void ClearSums(int rows)
    {
        for (var i = 0; i < 4 * rows; i++)
            C.vpxord(Sum(i / 4, i % 4), Sum(i / 4, i % 4), Sum(i / 4, i % 4));
    }

    /// <inheritdoc/>
    protected override void Step(int rows)
    {
        for (var i = 0; i < 4 && rows > 1; i++)
            C.vmovups(Zmm(SharedActivations + i), Activations(i));
        for (var row = rows - 1; row >= 0; row--)
        {
            AskAhead(row, rows);
            Values(Weights(row), (i, values) =>
            {
                if (rows > 1)
                    C.vfmadd231ps(Sum(row, i), values, Zmm(SharedActivations + i));
                else
                    C.vfmadd231ps(Sum(row, i), values, Activations(i));
            });
        }
    }

    private static AssemblerRegisterZMM Sum(int row, int i) => Zmm((row * SecondSums) + i);

    // Sixty-four values of a row, sixteen at a time.
    private void Values(AssemblerMemoryOperand row, Action<int, AssemblerRegisterZMM> add)
    {
        if (IsByte)
            Codes(__zmmword_ptr[row], add);
        else if (IsNatural)
            Numbers(row, add);
        else
            Words(row, add);
    }

    private void Numbers(AssemblerMemoryOperand row, Action<int, AssemblerRegisterZMM> add)
    {
        for (var v = 0; v < 4; v++)
        {
            if (Format == WeightFormat.F16)
                C.vcvtph2ps(Zmm(4 + v), __ymmword_ptr[row + (v * Vector / 2)]);
            else
                C.vmovups(Zmm(4 + v), __zmmword_ptr[row + (v * Vector)]);
            add(v, Zmm(4 + v));
        }
    }

    // BF16: the lower and the upper halves of lanes.
    private void Words(AssemblerMemoryOperand row, Action<int, AssemblerRegisterZMM> add)
    {
        for (var v = 0; v < 2; v++)
        {
            var weights = __zmmword_ptr[row + (v * Vector)];
            C.vpslld(zmm4, weights, 16);
            C.vpandd(zmm5, zmm9, weights);
            add(2 * v, zmm4);
            add((2 * v) + 1, zmm5);
        }
    }

    // E4M3: bytes 0 to 3 of lanes, their fields moved to where float32 has them.
    private void Codes(AssemblerMemoryOperand codes, Action<int, AssemblerRegisterZMM> add)
    {
        const int Narrower = 24 - F8_E4M3.FieldsShift;
        C.vpsllw(zmm5, codes, 8);
        C.vpsraw(zmm4, codes, Narrower);
        C.vpsraw(zmm5, zmm5, Narrower);
        C.vpslld(zmm6, zmm4, 16);
        C.vpslld(zmm7, zmm5, 16);
        AssemblerRegisterZMM[] values = [zmm7, zmm6, zmm5, zmm4];
        for (var i = 0; i < values.Length; i++)
        {
            C.vpandd(values[i], values[i], zmm9);
            add(i, values[i]);
        }
    }

    private static AssemblerMemoryOperand Activations(int part) => __zmmword_ptr[rsi + (part * Vector)];

    /// <inheritdoc/>
    protected override void StoreSums(int rows)
    {
        for (var row = 0; row < rows; row++)
            StoreSum(row * SecondSums, __dword_ptr[Result(row)]);
    }

    // The tree of DotProduct: elements 16 and then 32 lanes apart, then 8, 4, 2 and 1, wherever they are.
    private void StoreSum(int first, AssemblerMemoryOperand result)
    {
        var (s0, s1, s2, s3) = (Zmm(first), Zmm(first + 1), Zmm(first + 2), Zmm(first + 3));
        if (IsNatural)
        {
            StoreNaturalSum(first, result);
            return;
        }

        if (IsByte)
        {
            // Sums hold elements 4 lanes apart: quarters of each, twice, leave [0 | 1 | 2 | 3].
            Halves(s0, s1, 0x88, 0xDD);
            Halves(s2, s3, 0x88, 0xDD);
            Halves(s0, s2, 0x88, 0xDD);
        }
        else
        {
            // They hold even and odd elements: halves of both leave [even | odd], and quarters [even | - | odd | -].
            Halves(s0, s1, 0x44, 0xEE);
            Halves(s2, s3, 0x44, 0xEE);
            C.vaddps(s0, s0, s2);
            C.vshuff32x4(s1, s0, s0, 0xB1);
            C.vaddps(s0, s0, s1);
        }

        // What is left of each vector of 128 bits, 2 lanes apart, then 1.
        AddWithinQuarters(s0, s1);
        AddHalves(first, first + 1);
        if (IsByte)
            AddQuarters(first, first + 1);
        C.vmovss(result, Xmm(first));
    }

    // Sums hold elements in their order: halves of 8, 4, 2 and 1.
    private void StoreNaturalSum(int first, AssemblerMemoryOperand result)
    {
        var (s0, s1, s2, s3) = (Zmm(first), Zmm(first + 1), Zmm(first + 2), Zmm(first + 3));
        C.vaddps(s0, s0, s1);
        C.vaddps(s2, s2, s3);
        C.vaddps(s0, s0, s2);
        C.vshuff32x4(s1, s0, s0, 0x4E);
        C.vaddps(s0, s0, s1);
        C.vshuff32x4(s1, s0, s0, 0xB1);
        C.vaddps(s0, s0, s1);
        AddWithinQuarters(s0, s1);
        C.vmovss(result, Xmm(first));
    }

    // a = some quarters of a and b + the others.
    private void Halves(AssemblerRegisterZMM a, AssemblerRegisterZMM b, byte some, byte others)
    {
        C.vshuff32x4(zmm4, a, b, some);
        C.vshuff32x4(zmm5, a, b, others);
        C.vaddps(a, zmm4, zmm5);
    }
}
