using System.ComponentModel;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembled kernels over rows of floating-point numbers. One is handed out only after it has given the bits of plain loops on this processor; where
/// <see cref="KernelVariant"/> has none, or the system refuses executable memory, there is none.
/// </summary>
internal static unsafe class FloatRowKernels
{
    private static readonly nint F32Rows = Make(WeightFormat.F32, StreamHints.EveryLine);
    private static readonly nint F16Rows = Make(WeightFormat.F16, StreamHints.EveryLine);
    private static readonly nint BF16Rows = Make(WeightFormat.BF16, StreamHints.EveryLine);
    private static readonly nint E4M3Rows = Make(WeightFormat.F8_E4M3, StreamHints.EveryLine);

    /// <summary>The kernel, or null.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<byte*, float*, float*, RowStreamArguments*, void> Find(WeightFormat format) =>
        (delegate* unmanaged[SuppressGCTransition]<byte*, float*, float*, RowStreamArguments*, void>)(format switch
        {
            WeightFormat.F32 => F32Rows,
            WeightFormat.F16 => F16Rows,
            WeightFormat.BF16 => BF16Rows,
            WeightFormat.F8_E4M3 => E4M3Rows,
            _ => 0,
        });

    /// <summary>Whether a kernel that asks ahead in a certain way gives the right bits, be it the way of this processor or not.</summary>
    /// <param name="format">F32, F16, BF16 or F8_E4M3.</param>
    /// <param name="everyLine">The way; <see cref="StreamHints"/>.</param>
    internal static bool PassesSelfTest(WeightFormat format, bool everyLine) => Make(format, everyLine) != 0;

    private static nint Make(WeightFormat format, bool everyLine)
    {
        if (!KernelVariant.Avx512)
            return 0;
        try
        {
            var kernel = new FloatRows(format, everyLine).Assemble();
            return PassesSelfTest(format, kernel) ? kernel : 0;
        }
        catch (Win32Exception)
        {
            return 0;
        }
    }

    private static bool PassesSelfTest(WeightFormat format, nint kernel)
    {
        const int Seed = 9, Rows = 3, Cols = 3 * DotProduct.Lanes;
        var random = new Random(Seed);
        var values = new float[Rows * Cols];
        var x = new float[Cols];
        foreach (ref var v in values.AsSpan())
            v = random.NextSingle() - 0.5f;
        foreach (ref var v in x.AsSpan())
            v = random.NextSingle() - 0.5f;
        var rows = new byte[WeightFormats.RowBytes(format, values.Length)];
        WeightFormats.Encode(format, values, rows);
        WeightFormats.Decode(format, rows, values);
        var arranged = new float[Cols];
        var y = new float[Rows];
        fixed (byte* w = rows)
        fixed (float* px = x, to = arranged, py = y)
        {
            if (format == WeightFormat.BF16)
                ArrangedTokens.ForPairs(px, Cols, to);
            else if (format == WeightFormat.F8_E4M3)
                _ = ArrangedTokens.TryForFours(px, Cols, [1, 1], to);
            else
                x.CopyTo(arranged, 0);
            var arguments = new RowStreamArguments { Rows = Rows, RowStride = WeightFormats.RowBytes(format, Cols), Steps = Cols / DotProduct.Lanes };
            ((delegate* unmanaged<byte*, float*, float*, RowStreamArguments*, void>)kernel)(w, to, py, &arguments);
        }

        for (var m = 0; m < Rows; m++)
        {
            if (BitConverter.SingleToInt32Bits(y[m]) != BitConverter.SingleToInt32Bits(DotProduct.DotReference(x, values.AsSpan(m * Cols, Cols))))
                return false;
        }

        return true;
    }
}
