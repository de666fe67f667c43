using System.ComponentModel;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembled kernels for activations rounded to bfloat16, made when they are first asked for. One is handed out only after it has given the bits of plain loops on this processor;
/// where <see cref="KernelVariant"/> has none, or the system refuses executable memory, there is none.
/// </summary>
internal static unsafe class BfloatKernels
{
    private static readonly Lazy<nint>[] BF16Rows = Rows(WeightFormat.BF16);
    private static readonly Lazy<nint>[] E4M3Rows = Rows(WeightFormat.F8_E4M3);
    private static readonly Lazy<nint>[] Tiles =
        [.. Enumerable.Range(0, 2 * BfloatTile.MaxTokens).Select(static i => new Lazy<nint>(() => MakeTile((i / 2) + 1, asks: i % 2 != 0)))];

    private static readonly Lazy<nint> Round = new(MakeRounding);

    /// <summary>Whether there are kernels for weights in a format.</summary>
    public static bool Exist(WeightFormat format) => format is (WeightFormat.BF16 or WeightFormat.F8_E4M3) && Rows(format, 1) != null && Tile(1, asks: false) != null && Rounding() != null;

    /// <summary>A kernel of <see cref="BfloatRows"/>, or null.</summary>
    /// <param name="format">BF16 or F8_E4M3.</param>
    /// <param name="tokens">1 to <see cref="BfloatRows.MaxTokens"/>.</param>
    public static delegate* unmanaged[SuppressGCTransition]<byte*, ushort*, float*, RowStreamArguments*, void> Rows(WeightFormat format, int tokens) =>
        (delegate* unmanaged[SuppressGCTransition]<byte*, ushort*, float*, RowStreamArguments*, void>)(format == WeightFormat.BF16 ? BF16Rows : E4M3Rows)[tokens - 1].Value;

    /// <summary>A kernel of <see cref="BfloatTile"/>, or null.</summary>
    /// <inheritdoc cref="BfloatTile(int, bool)"/>
    public static delegate* unmanaged[SuppressGCTransition]<BfloatTileArguments*, void> Tile(int tokens, bool asks) =>
        (delegate* unmanaged[SuppressGCTransition]<BfloatTileArguments*, void>)Tiles[(2 * (tokens - 1)) + (asks ? 1 : 0)].Value;

    /// <summary>The kernel of <see cref="BfloatRounding"/>, or null.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<float*, float*, ushort*, nint, void> Rounding() =>
        (delegate* unmanaged[SuppressGCTransition]<float*, float*, ushort*, nint, void>)Round.Value;

    /// <summary>Whether this processor runs kernels for weights in a format.</summary>
    internal static bool Runs(WeightFormat format) => KernelVariant.Bf16 && (format != WeightFormat.F8_E4M3 || KernelVariant.Vbmi);

    /// <summary>Whether a kernel over rows that asks ahead in a certain way gives the right bits, be it the way of this processor or not.</summary>
    /// <inheritdoc cref="BfloatRows(WeightFormat, int, bool)"/>
    internal static bool PassesSelfTest(WeightFormat format, int tokens, bool everyLine) => MakeRows(format, tokens, everyLine) != 0;

    private static Lazy<nint>[] Rows(WeightFormat format) =>
        [.. Enumerable.Range(1, BfloatRows.MaxTokens(format)).Select(tokens => new Lazy<nint>(() => MakeRows(format, tokens, StreamHints.EveryLine)))];

    private static nint MakeRows(WeightFormat format, int tokens, bool everyLine)
    {
        // An odd number, more than two; all columns at once, then each step as a piece of its own.
        const int Rows = 5;
        return Make(format, tokens, Rows, () => new BfloatRows(format, tokens, everyLine).Assemble(), (kernel, w, x, y, steps) =>
        {
            var run = (delegate* unmanaged<byte*, ushort*, float*, RowStreamArguments*, void>)kernel;
            var sums = stackalloc byte[Rows * BfloatRows.SumBytes(tokens)];
            var stepBytes = WeightFormats.RowBytes(format, BfloatDot.Step);
            var arguments = new RowStreamArguments
            {
                Rows = Rows, RowStride = steps * stepBytes, Steps = steps, TokenStride = (long)steps * BfloatDot.Step * sizeof(ushort), ResultStride = Rows * sizeof(float), Sums = (float*)sums,
            };
            run((byte*)w, (ushort*)x, (float*)y, &arguments);
            arguments.Steps = 1;
            for (var step = 0; step < steps && tokens > 1; step++)
            {
                arguments.Continues = step > 0 ? 1 : 0;
                arguments.Waits = step < steps - 1 ? 1 : 0;
                run((byte*)w + (step * stepBytes), (ushort*)x + (step * BfloatDot.Step), (float*)y + (tokens * Rows), &arguments);
            }

            return tokens > 1 ? 2 : 1;
        });
    }

    private static nint MakeTile(int tokens, bool asks) => Make(WeightFormat.BF16, tokens, BfloatTile.Rows, () => new BfloatTile(tokens, asks).Assemble(), (kernel, w, x, y, steps) =>
    {
        var arguments = new BfloatTileArguments { Weights = (byte*)w, Tokens = (byte*)x, Results = (float*)y, ResultStride = BfloatTile.Rows * sizeof(float), Steps = steps, Ahead = (byte*)w };
        ((delegate* unmanaged<BfloatTileArguments*, void>)kernel)(&arguments);
        return 1;
    });

    private static nint MakeRounding()
    {
        const int Seed = 11, Steps = 3, Cols = Steps * BfloatDot.Step;
        if (!KernelVariant.Bf16)
            return 0;
        try
        {
            var kernel = BfloatRounding.Assemble();
            var random = new Random(Seed);
            var x = new float[Cols];
            foreach (ref var v in x.AsSpan())
                v = random.NextSingle() - 0.5f;
            float[] scales = [0.3f, 7];
            ushort[] actual = new ushort[Cols], expected = new ushort[Cols];
            fixed (float* px = x, ps = scales)
            fixed (ushort* pa = actual, pe = expected)
            {
                ((delegate* unmanaged<float*, float*, ushort*, nint, void>)kernel)(px, ps, pa, Steps);
                BfloatDot.RoundReference(px, 0, Cols, scales, pe);
            }

            return actual.AsSpan().SequenceEqual(expected) ? kernel : 0;
        }
        catch (Win32Exception)
        {
            return 0;
        }
    }

    // run: kernel, weights, activations, room for twice the results, steps; how often it wrote all results.
    private static nint Make(WeightFormat format, int tokens, int rows, Func<nint> assemble, Func<nint, nint, nint, nint, int, int> run)
    {
        if (!Runs(format))
            return 0;
        try
        {
            var kernel = assemble();
            return PassesSelfTest(format, tokens, rows, (w, x, y, steps) => run(kernel, w, x, y, steps)) ? kernel : 0;
        }
        catch (Win32Exception)
        {
            return 0;
        }
    }

    private static bool PassesSelfTest(WeightFormat format, int tokens, int rows, Func<nint, nint, nint, int, int> run)
    {
        const int Seed = 10, Steps = 3, Cols = Steps * BfloatDot.Step;
        var random = new Random(Seed);
        float[] weights = new float[rows * Cols], x = new float[tokens * Cols], y = new float[2 * tokens * rows];
        var ways = 0;
        foreach (ref var v in weights.AsSpan())
            v = random.NextSingle() - 0.5f;
        foreach (ref var v in x.AsSpan())
            v = random.NextSingle() - 0.5f;
        var codes = new byte[WeightFormats.RowBytes(format, weights.Length)];
        WeightFormats.Encode(format, weights, codes);
        WeightFormats.Decode(format, codes, weights);
        var rounded = new ushort[x.Length];
        fixed (byte* w = codes)
        fixed (ushort* to = rounded)
        fixed (float* px = x, py = y)
        {
            for (var t = 0; t < tokens; t++)
                BfloatDot.Round(px + (t * Cols), Cols, format == WeightFormat.F8_E4M3 ? [1, 1] : [], to + (t * Cols));
            ways = run((nint)w, (nint)to, (nint)py, Steps);
        }

        for (var i = 0; i < ways * tokens * rows; i++)
        {
            var expected = BfloatDot.Reference(x.AsSpan(i / rows % tokens * Cols, Cols), weights.AsSpan(i % rows * Cols, Cols), format);
            if (BitConverter.SingleToInt32Bits(expected) != BitConverter.SingleToInt32Bits(y[i]))
                return false;
        }

        return true;
    }
}
