using System.ComponentModel;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembled kernels over interleaved rows by format and tokens, for processors with AVX2 that <see cref="TileKernels"/> has nothing for. One is handed out only
/// after it has given the bits of plain loops on this processor; where there are none, the reasons are those of <see cref="TileKernels"/>.
/// </summary>
internal static unsafe class InterleavedKernels
{
    public static readonly bool Enabled =
        InterleavedTile.IsSupported && !VnniTile.IsSupported && Environment.GetEnvironmentVariable("HADAL_KERNEL") != "portable";

    /// <summary>The kernel, or null.</summary>
    /// <param name="tokens">1 to <see cref="InterleavedTile.MaxTokens"/>.</param>
    /// <param name="fromMemory">Whether panels are streamed from memory rather than read from a cache.</param>
    public static delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void> Find<TFormat>(int tokens, bool fromMemory)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        Enabled ? (delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void>)Cache<TFormat>.Find(tokens, fromMemory) : null;

    private static class Cache<TFormat>
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        private static readonly Lazy<nint>[] Kernels =
            [.. Enumerable.Range(0, 2 * InterleavedTile.MaxTokens).Select(static i => new Lazy<nint>(() => Make((i / 2) + 1, i % 2 == 1)))];

        public static nint Find(int tokens, bool fromMemory) => Kernels[(2 * (tokens - 1)) + (fromMemory ? 1 : 0)].Value;

        private static nint Make(int tokens, bool fromMemory)
        {
            try
            {
                var kernel = InterleavedTile.Assemble(InterleavedPanel.Of<TFormat>(), tokens, fromMemory);
                return PassesSelfTest(tokens, kernel) ? kernel : 0;
            }
            catch (Win32Exception)
            {
                return 0;
            }
        }

        // Fifteen rows, so that one of two panels is missing, of six blocks: chains take turns, and the last turn is not full.
        private static bool PassesSelfTest(int tokens, nint kernel)
        {
            const int Seed = 8, Rows = 15, Panels = 2, Blocks = 6;
            var random = new Random(Seed);
            var panel = InterleavedPanel.Of<TFormat>();
            var cols = Blocks * TFormat.BlockLength;
            var rowBytes = Blocks * TFormat.BlockBytes;
            var stride = IntegerActivations.RowBytes(cols, TFormat.BlockLength);
            var weights = new byte[Rows * rowBytes];
            var packed = new byte[Panels * Blocks * panel.Bytes];
            var x = new byte[tokens * stride];
            var y = new float[tokens * Panels * InterleavedPanel.Rows];
            var passes = true;
            fixed (byte* w = weights, p = packed, px = x)
            fixed (float* py = y)
            {
                SelfTestData.FillBlocks<TFormat>(random, weights);
                SelfTestData.FillTokens<TFormat>(random, x, cols);
                InterleavedPanel.Pack<TFormat>(w, rowBytes, InterleavedPanel.Rows, Blocks, p);
                InterleavedPanel.Pack<TFormat>(w + (InterleavedPanel.Rows * rowBytes), rowBytes, Rows - InterleavedPanel.Rows, Blocks, p + (Blocks * panel.Bytes));
                var arguments = InterleavedTiles.Arguments<TFormat>(Panels, cols, stride, Panels * InterleavedPanel.Rows);
                ((delegate* unmanaged<byte*, byte*, float*, InterleavedArguments*, void>)kernel)(p, px, py, &arguments);
                for (var t = 0; t < tokens; t++)
                {
                    for (var m = 0; m < Rows; m++)
                    {
                        var expected = IntegerDot.DotReference<TFormat>(w + (m * rowBytes), new IntegerRow(px + (t * stride), cols), Blocks);
                        passes &= BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(y[(t * Panels * InterleavedPanel.Rows) + m]);
                    }
                }
            }

            return passes;
        }
    }
}
