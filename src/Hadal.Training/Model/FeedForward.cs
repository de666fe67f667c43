using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;

namespace Hadal.Training.Model;

/// <summary>A dense gated feed-forward layer: down(silu(gate(x)) * up(x)).</summary>
internal sealed class FeedForward(ModelMemory memory, string prefix) : IFeedForward
{
    private readonly GatedUnits unit = new(memory, [prefix], memory.Config.IntermediateSize, memory.Options.MaxTokens);

    /// <inheritdoc/>
    public void Forward(MatrixView x, MatrixView residual, MatrixView output, RowLayout layout)
    {
        var y_TD = memory.Scratch.Take(Slot.SharedOutput, WeightFormat.F32, layout.Rows, memory.Config.HiddenSize);
        unit.Group([0, layout.Rows]);
        unit.Forward(x, rows: null, weights: null, y_TD);
        RowKernels.Combine(residual, y_TD, default, [], output, memory.Threads);
    }

    /// <inheritdoc/>
    public void Backward(MatrixView doutput, MatrixView x, MatrixView dx, RowLayout layout, float lossScale)
    {
        unit.Group([0, layout.Rows]);
        unit.Backward(doutput, x, rows: null, weights: null, dweights: null, dx);
    }
}
