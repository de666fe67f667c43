using System.Collections.Concurrent;
using System.ComponentModel;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembled row kernels by format, tokens and blocks beyond the last full group. A kernel is handed out only after it has given the bits of plain loops on
/// this processor; where there are none, the reasons are those of <see cref="InterleavedKernels"/>.
/// </summary>
internal static unsafe class RowKernels
{
    private const int MaxGroupBlocks = 8;

    /// <summary>The kernel, or null.</summary>
    /// <param name="tokens">1 to <see cref="RowAssembly.MaxTokens"/>.</param>
    /// <param name="blocks">Blocks of a row.</param>
    public static delegate* unmanaged<byte*, byte*, float*, RowArguments*, void> Find<TFormat>(int tokens, int blocks)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        KernelVariant.Vnni ? (delegate* unmanaged<byte*, byte*, float*, RowArguments*, void>)Cache<TFormat>.Find(tokens, blocks % Cache<TFormat>.GroupBlocks) : null;

    /// <summary>What a kernel of this format is called with.</summary>
    public static RowArguments Arguments<TFormat>(int rows, int cols, long tokenStride, long resultStride)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var row = new IntegerRow(null, cols);
        return new RowArguments
        {
            Rows = rows,
            Groups = cols / TFormat.BlockLength / Cache<TFormat>.GroupBlocks,
            TokenStride = tokenStride,
            ResultStride = resultStride * sizeof(float),
            Sums = (long)(Cache<TFormat>.SumLength == 16 ? row.Sums16 : row.Sums32),
            Scales = (long)row.Scales,
        };
    }

    private static class Cache<TFormat>
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        public static readonly int GroupBlocks = TFormat.Rows.GroupBlocks;
        public static readonly int SumLength = TFormat.Rows.SumLength;
        private static readonly Lazy<nint>[] Kernels = [.. Enumerable.Range(0, RowAssembly.MaxTokens * MaxGroupBlocks).Select(
            static i => new Lazy<nint>(() => Make(
                () => TFormat.Rows.Assemble((i / MaxGroupBlocks) + 1, i % MaxGroupBlocks), kernel => PassesRowTest((i / MaxGroupBlocks) + 1, i % MaxGroupBlocks, kernel))))];

        public static nint Find(int tokens, int tail) => Kernels[((tokens - 1) * MaxGroupBlocks) + tail].Value;

        private static nint Make(Func<nint> assemble, Func<nint, bool> passes)
        {
            try
            {
                var kernel = assemble();
                return passes(kernel) ? kernel : 0;
            }
            catch (Win32Exception)
            {
                return 0;
            }
        }

        // Two rows with one full group and the tail, and, with a tail, of the tail alone.
        private static bool PassesRowTest(int tokens, int tail, nint kernel)
        {
            const int Seed = 6, Rows = 2;
            var random = new Random(Seed);
            var passes = true;
            foreach (var blocks in tail == 0 ? [2 * GroupBlocks] : (int[])[GroupBlocks + tail, tail])
            {
                var cols = blocks * TFormat.BlockLength;
                var rowBytes = blocks * TFormat.BlockBytes;
                var stride = IntegerActivations.RowBytes(cols, TFormat.BlockLength);
                var weights = new byte[Rows * rowBytes];
                var x = new byte[tokens * stride];
                var y = new float[tokens * Rows];
                fixed (byte* w = weights, px = x)
                fixed (float* py = y)
                {
                    SelfTestData.FillBlocks<TFormat>(random, weights);
                    SelfTestData.FillTokens<TFormat>(random, x, cols);
                    var arguments = Arguments<TFormat>(Rows, cols, stride, Rows);
                    ((delegate* unmanaged<byte*, byte*, float*, RowArguments*, void>)kernel)(w, px, py, &arguments);
                    for (var t = 0; t < tokens; t++)
                    {
                        for (var m = 0; m < Rows; m++)
                        {
                            var expected = IntegerDot.DotReference<TFormat>(w + (m * rowBytes), new IntegerRow(px + (t * stride), cols), blocks);
                            passes &= BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(y[(t * Rows) + m]);
                        }
                    }
                }
            }

            return passes;
        }
    }
}
