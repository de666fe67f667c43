using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;

namespace Hadal.Training.Model;

/// <summary>An RMSNorm with its weight.</summary>
internal sealed class RmsNormLayer(ModelMemory memory, string name)
{
    private readonly MatrixView weight = memory.Weight(name);
    private readonly MatrixView gradient = memory.Gradient(name);

    /// <summary>y = norm(x).</summary>
    /// <param name="x">F32 [T, D].</param>
    /// <param name="y">[T, D], rounded where it is BF16.</param>
    public void Forward(MatrixView x, MatrixView y) => RmsNormTraining.Forward(x, weight, y, memory.Config.RmsNormEps, memory.Threads);

    /// <summary>dx from dy, the weight's gradient added to.</summary>
    /// <param name="dy">F32 [T, D].</param>
    /// <param name="x">F32 [T, D].</param>
    /// <param name="dx">[T, D], overwritten (and rounded where it is BF16), or added to.</param>
    /// <param name="accumulate">Whether dx is added to.</param>
    public void Backward(MatrixView dy, MatrixView x, MatrixView dx, bool accumulate)
    {
        var partial = memory.Scratch.Take(Slot.NormPartial, WeightFormat.F32, (x.Rows + RmsNormTraining.Piece - 1) / RmsNormTraining.Piece, x.Cols);
        RmsNormTraining.Backward(dy, x, weight, dx, accumulate, gradient, partial, memory.Config.RmsNormEps, memory.Threads);
    }
}
