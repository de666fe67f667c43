using System.ComponentModel;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembled kernels over interleaved rows by format and tokens. One is handed out only after it has given the bits of plain loops on this processor; where
/// <see cref="KernelVariant"/> has none, or the system refuses executable memory, there is none.
/// </summary>
internal static unsafe class InterleavedKernels
{
    private static readonly int Sources = Enum.GetValues<PanelSource>().Length;

    /// <summary>Most tokens of a kernel.</summary>
    public static readonly int MaxTokens = KernelVariant.Vnni ? InterleavedVnniTile.MaxTokens : InterleavedAvx2Tile.MaxTokens;

    /// <summary>The kernel, or null.</summary>
    /// <param name="tokens">1 to <see cref="MaxTokens"/>.</param>
    /// <param name="source">Where its panels are.</param>
    public static delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void> Find<TFormat>(int tokens, PanelSource source)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        KernelVariant.Avx2 ? (delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void>)Cache<TFormat>.Kernels[(Sources * (tokens - 1)) + (int)source].Value : null;

    /// <summary>What expands a panel for <see cref="PanelSource.Expanded"/>, or null; it passes over the third argument.</summary>
    /// <param name="isCopy">Whether the panel is <see cref="InterleavedPanel.Copied"/>.</param>
    public static delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void> FindExpansion<TFormat>(bool isCopy)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        KernelVariant.Avx2 ? (delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void>)(isCopy ? Cache<TFormat>.CopyExpansion : Cache<TFormat>.RowsExpansion).Value : null;

    /// <summary>Whether a kernel that asks ahead in a certain way gives the right bits, be it the way of this processor or not.</summary>
    /// <param name="tokens">1 to <see cref="MaxTokens"/>.</param>
    /// <param name="source">Where its panels are.</param>
    /// <param name="everyLine">The way; <see cref="StreamHints"/>.</param>
    internal static bool PassesSelfTest<TFormat>(int tokens, PanelSource source, bool everyLine)
        where TFormat : struct, IIntegerFormat<TFormat> => Cache<TFormat>.Make(tokens, source, everyLine) != 0;

    private static class Cache<TFormat>
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        public static readonly Lazy<nint> RowsExpansion = new(static () => Assembled(static () => Tile(0, PanelSource.Rows, StreamHints.EveryLine).AssembleExpansion()));

        public static readonly Lazy<nint> CopyExpansion = new(static () => Assembled(static () => Tile(0, PanelSource.Copy, StreamHints.EveryLine).AssembleExpansion()));

        public static readonly Lazy<nint>[] Kernels =
            [.. Enumerable.Range(0, Sources * MaxTokens).Select(static i => new Lazy<nint>(() => Make((i / Sources) + 1, (PanelSource)(i % Sources), StreamHints.EveryLine)))];

        public static nint Make(int tokens, PanelSource source, bool everyLine)
        {
            if (source == PanelSource.Expanded && (RowsExpansion.Value == 0 || CopyExpansion.Value == 0))
                return 0;
            var kernel = Assembled(() => Tile(tokens, source, everyLine).AssembleKernel());
            return kernel != 0 && PassesSelfTest(tokens, kernel, source) ? kernel : 0;
        }

        private static InterleavedTile Tile(int tokens, PanelSource source, bool everyLine) => KernelVariant.Vnni
            ? new InterleavedVnniTile(InterleavedPanel.Of<TFormat>(), tokens, source, everyLine)
            : new InterleavedAvx2Tile(InterleavedPanel.Of<TFormat>(), tokens, source);

        private static nint Assembled(Func<nint> assemble)
        {
            try
            {
                return assemble();
            }
            catch (Win32Exception)
            {
                return 0;
            }
        }

        // All rows of two panels but one, of six blocks: chains take turns, and the last turn is not full.
        private static bool PassesSelfTest(int tokens, nint kernel, PanelSource source)
        {
            const int Seed = 8, Panels = 2, Blocks = 6;
            var rows = (Panels * InterleavedPanel.Rows) - 1;
            var random = new Random(Seed);
            var panel = InterleavedPanel.Of<TFormat>();
            var cols = Blocks * TFormat.BlockLength;
            var rowBytes = Blocks * TFormat.BlockBytes;
            var stride = IntegerActivations.RowBytes(cols, TFormat.BlockLength);
            var weights = new byte[rows * rowBytes];
            var packed = new byte[Panels * Blocks * panel.Bytes];
            var expanded = new byte[Panels * Blocks * panel.Expanded.Bytes];
            var expandedCopy = new byte[expanded.Length];
            var x = new byte[tokens * stride];
            var y = new float[tokens * Panels * InterleavedPanel.Rows];
            var passes = true;
            fixed (byte* w = weights, p = packed, e = expanded, f = expandedCopy, px = x)
            fixed (float* py = y)
            {
                SelfTestData.FillBlocks<TFormat>(random, weights);
                SelfTestData.FillTokens<TFormat>(random, x, cols);
                InterleavedPanel.Pack<TFormat>(w, rowBytes, InterleavedPanel.Rows, Blocks, p);
                InterleavedPanel.Pack<TFormat>(w + (InterleavedPanel.Rows * rowBytes), rowBytes, rows - InterleavedPanel.Rows, Blocks, p + (Blocks * panel.Bytes));
                var arguments = InterleavedTiles.Arguments<TFormat>(Panels, cols, stride, Panels * InterleavedPanel.Rows);
                if (source == PanelSource.Expanded)
                    Expand(RowsExpansion.Value, p, e);
                if (source is not (PanelSource.Rows or PanelSource.CachedRows))
                    panel.MoveCodes(p, Panels * Blocks);
                if (source == PanelSource.Expanded)
                    Expand(CopyExpansion.Value, p, f);
                passes &= expanded.AsSpan().SequenceEqual(expandedCopy);
                ((delegate* unmanaged<byte*, byte*, float*, InterleavedArguments*, void>)kernel)(source == PanelSource.Expanded ? e : p, px, py, &arguments);
                for (var t = 0; t < tokens; t++)
                {
                    for (var m = 0; m < rows; m++)
                    {
                        var expected = IntegerDot.DotReference<TFormat>(w + (m * rowBytes), new IntegerRow(px + (t * stride), cols), Blocks);
                        passes &= BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(y[(t * Panels * InterleavedPanel.Rows) + m]);
                    }
                }
            }

            return passes;

            void Expand(nint expansion, byte* from, byte* to)
            {
                var arguments = InterleavedTiles.Arguments<TFormat>(1, cols, stride, InterleavedPanel.Rows);
                for (var i = 0; i < Panels; i++)
                    ((delegate* unmanaged<byte*, byte*, float*, InterleavedArguments*, void>)expansion)(from + (i * Blocks * panel.Bytes), to + (i * Blocks * panel.Expanded.Bytes), null, &arguments);
            }
        }
    }
}
