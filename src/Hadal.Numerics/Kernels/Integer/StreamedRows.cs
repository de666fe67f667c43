using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// The product of a matrix interleaved at load with the tokens of one kernel, made ready before the job: a call reads two cache lines of this and no tables. Products stream so
/// much memory through a core's caches that what a call needs besides has left them by the next one, its code too; docs/LOG.md.
/// </summary>
internal unsafe struct StreamedRows
{
    private static readonly Kernel[] Kernels = new Kernel[((int)Enum.GetValues<WeightFormat>().Max() + 1) * (InterleavedKernels.MaxTokens + 1)];

    private readonly delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void> kernel;
    private readonly byte* panels;
    private readonly long panelBytes;
    private readonly byte* x;
    private readonly InterleavedArguments arguments;

    /// <summary>Makes it ready, where there is a kernel for that.</summary>
    /// <param name="weight">W [M, K], in a format with integer products.</param>
    /// <param name="x">Quantised rows.</param>
    /// <param name="tokens">T, how many.</param>
    public StreamedRows(in WeightMatrix weight, TokenRows x, int tokens)
    {
        if (weight.Interleaved == null || tokens > InterleavedKernels.MaxTokens)
            return;
        ref var found = ref Kernels[((int)weight.Format * (InterleavedKernels.MaxTokens + 1)) + tokens];
        if (!Volatile.Read(ref found.IsKnown))
        {
            var find = new FindAction { Tokens = tokens };
            WeightFormats.TryDispatchInteger(weight.Format, ref find);
            (found.Pointer, found.BlockLength, found.SumLength) = (find.Pointer, find.BlockLength, find.SumLength);
            Volatile.Write(ref found.IsKnown, true);
        }

        kernel = (delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, InterleavedArguments*, void>)found.Pointer;
        panels = weight.Interleaved;
        panelBytes = weight.InterleavedBytes;
        this.x = (byte*)x.First;
        arguments = InterleavedTiles.Arguments(found.BlockLength, found.SumLength, weight.Cols, x.Stride);
    }

    /// <summary>Whether it can be done.</summary>
    public readonly bool AreReady => kernel != null;

    /// <summary>y[t, m] for rows [start, end), if it is ready and these are whole panels.</summary>
    /// <param name="start">First row, a multiple of a panel's.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="y">[T, M] from the first of these rows on.</param>
    /// <param name="yStride">Values from one token's results to the next.</param>
    /// <returns>Whether it has been done.</returns>
    public readonly bool TryMultiply(int start, int end, float* y, long yStride)
    {
        if (kernel == null || (end - start) % InterleavedPanel.Rows != 0)
            return false;
        var these = arguments;
        these.Panels = (end - start) / InterleavedPanel.Rows;
        these.ResultStride = yStride * sizeof(float);
        kernel(panels + (start / InterleavedPanel.Rows * panelBytes), x, y, &these);
        return true;
    }

    private struct Kernel
    {
        public nint Pointer;
        public int BlockLength;
        public int SumLength;
        public bool IsKnown;
    }

    private struct FindAction : IIntegerAction
    {
        public int Tokens;
        public nint Pointer;
        public int BlockLength;
        public int SumLength;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> =>
            (Pointer, BlockLength, SumLength) = ((nint)InterleavedKernels.Find<TFormat>(Tokens, PanelSource.Copy), TFormat.BlockLength, TFormat.Panel.SumLength);
    }
}
