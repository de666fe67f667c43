using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics;

/// <summary>
/// Copies of weights that lie eight or sixteen rows side by side, for processors with AVX2: products with 8-bit activations are bound by the unpacking of rows and by sums
/// across lanes, of which such copies need half and none. The results have the same bits.
/// </summary>
public static unsafe class WeightInterleaving
{
    /// <summary>Whether products with weights of this format are faster with a copy on this processor.</summary>
    /// <param name="format">The format.</param>
    public static bool Pays(WeightFormat format)
    {
        var action = new PanelAction();
        return KernelVariant.Avx2 && WeightFormats.TryDispatchInteger(format, ref action) && action.HasKernels;
    }

    /// <summary>Bytes of the copy of a matrix.</summary>
    /// <param name="weight">The matrix.</param>
    /// <exception cref="ArgumentException">The format has no integer products.</exception>
    public static long Bytes(WeightMatrix weight)
    {
        var action = new PanelAction();
        if (!WeightFormats.TryDispatchInteger(weight.Format, ref action))
            throw new ArgumentException($"{weight.Format} has no integer products");
        return (long)Panels(weight) * (weight.Cols / action.Panel!.BlockLength) * action.Panel.Bytes;
    }

    /// <summary>Makes a copy and a view that has it beside the weights as they are.</summary>
    /// <param name="weight">The matrix.</param>
    /// <param name="target">At least <see cref="Bytes"/>; has to outlive the view.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The format has no integer products, or the memory is too small.</exception>
    public static WeightMatrix Interleave(WeightMatrix weight, Span<byte> target, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (target.Length < Bytes(weight))
            throw new ArgumentException($"the copy of {weight.Format} [{weight.Rows}, {weight.Cols}] has {Bytes(weight)} bytes, but there is room for {target.Length}");
        fixed (byte* p = target)
        {
            threads.Run(Panels(weight), 4, new PackJob(weight, p));
            return weight with { Interleaved = p, InterleavedBytes = Bytes(weight) / Panels(weight) };
        }
    }

    private static int Panels(WeightMatrix weight) => (weight.Rows + InterleavedPanel.Rows - 1) / InterleavedPanel.Rows;

    private struct PanelAction : IIntegerAction
    {
        public InterleavedPanel? Panel;
        public bool HasKernels;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            Panel = InterleavedPanel.Of<TFormat>();
            HasKernels = InterleavedKernels.Find<TFormat>(1, PanelSource.Copy) != null;
        }
    }

    private readonly struct PackJob(WeightMatrix weight, byte* target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var action = new PackAction { Weight = weight, Target = target, Start = start, End = end };
            WeightFormats.TryDispatchInteger(weight.Format, ref action);
        }
    }

    private struct PackAction : IIntegerAction
    {
        public WeightMatrix Weight;
        public byte* Target;
        public int Start;
        public int End;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            var panel = InterleavedPanel.Of<TFormat>();
            var blocks = Weight.Cols / TFormat.BlockLength;
            for (var p = Start; p < End; p++)
            {
                var row = p * InterleavedPanel.Rows;
                var target = Target + ((long)p * blocks * panel.Bytes);
                InterleavedPanel.Pack<TFormat>(Weight.Data + (row * Weight.RowBytes), Weight.RowBytes, Math.Min(InterleavedPanel.Rows, Weight.Rows - row), blocks, target);
                panel.MoveCodes(target, blocks);
            }
        }
    }
}
