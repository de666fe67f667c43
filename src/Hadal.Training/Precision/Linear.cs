using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;
using Hadal.Numerics.Threading;
using Hadal.Training.Model;

namespace Hadal.Training.Precision;

/// <summary>
/// A linear layer y = x W^T, W [N, K], and the one place that decides how its three products are computed: fprop y = x W^T, dgrad dx = dy W and
/// wgrad dW += dy^T x. Operands have the format of <see cref="Operands"/>; sums, master weight and gradient are float32.
/// </summary>
/// <remarks>
/// The weight is rounded and laid out for the products once after each change (<see cref="Refresh"/>), for fprop and for dgrad. Several parameters that lie
/// one behind the other in memory may be one layer (q_a_proj and kv_a_proj_with_mqa; gate_proj and up_proj).
/// </remarks>
internal sealed class Linear
{
    private readonly MatrixView weight_NK;
    private readonly MatrixView gradient_NK;
    private readonly PackedMatrix forward_KN;
    private readonly PackedMatrix backward_NK;

    /// <summary>Finds the weight and takes memory for its two layouts.</summary>
    /// <param name="parameters">Arenas of weights and gradients.</param>
    /// <param name="arena">Where the layouts are kept.</param>
    /// <param name="name">Hugging Face name of the first parameter.</param>
    /// <param name="outputs">N, of all joined parameters.</param>
    /// <param name="inputs">K.</param>
    /// <param name="operands">F32 or BF16.</param>
    public Linear(ParameterMemory parameters, Arena arena, string name, int outputs, int inputs, WeightFormat operands)
    {
        Operands = operands;
        Outputs = outputs;
        Inputs = inputs;
        var start = parameters[name].Start;
        weight_NK = MatrixView.Over(parameters.Weights, start, WeightFormat.F32, outputs, inputs);
        gradient_NK = MatrixView.Over(parameters.Gradients, start, WeightFormat.F32, outputs, inputs);
        forward_KN = arena.Packed(operands, inputs, outputs);
        backward_NK = arena.Packed(operands, outputs, inputs);
    }

    /// <summary>Format of x, dy and the weight as the products read them.</summary>
    public WeightFormat Operands { get; }

    /// <summary>N.</summary>
    public int Outputs { get; }

    /// <summary>K.</summary>
    public int Inputs { get; }

    /// <summary>Independent pieces of a weight gradient, for jobs.</summary>
    public int GradientBlocks => ThreadedGemm.GradientBlocks(gradient_NK);

    /// <summary>Takes the weight as it is now.</summary>
    public void Refresh(KernelThreads threads)
    {
        ThreadedGemm.PackTransposed(forward_KN, weight_NK, threads);
        ThreadedGemm.PackRows(backward_NK, weight_NK, threads);
    }

    /// <summary>y = x W^T, or y += x W^T.</summary>
    /// <param name="x">[T, K] in <see cref="Operands"/>.</param>
    /// <param name="y">F32 [T, N].</param>
    /// <param name="threads">Pool to run on.</param>
    /// <param name="accumulate">Whether to add.</param>
    public void Fprop(MatrixView x, MatrixView y, KernelThreads threads, bool accumulate = false) => ThreadedGemm.Multiply(x, forward_KN, y, threads, accumulate);

    /// <summary>dx = dy W, or dx += dy W.</summary>
    /// <param name="dy">[T, N] in <see cref="Operands"/>.</param>
    /// <param name="dx">F32 [T, K].</param>
    /// <param name="threads">Pool to run on.</param>
    /// <param name="accumulate">Whether to add.</param>
    public void Dgrad(MatrixView dy, MatrixView dx, KernelThreads threads, bool accumulate = false) => ThreadedGemm.Multiply(dy, backward_NK, dx, threads, accumulate);

    /// <summary>dW += dy^T x.</summary>
    /// <param name="dy">[T, N] in <see cref="Operands"/>.</param>
    /// <param name="x">[T, K] in <see cref="Operands"/>.</param>
    /// <param name="threads">Pool to run on.</param>
    public void Wgrad(MatrixView dy, MatrixView x, KernelThreads threads) => ThreadedGemm.AddWeightGradient(dy, x, gradient_NK, threads);

    /// <summary><see cref="Fprop"/> on the calling worker, inside a job.</summary>
    public void FpropBlock(MatrixView x, MatrixView y) => BlockGemm.Multiply(x, forward_KN, y);

    /// <summary><see cref="Dgrad"/> on the calling worker, inside a job.</summary>
    public void DgradBlock(MatrixView dy, MatrixView dx) => BlockGemm.Multiply(dy, backward_NK, dx);

    /// <summary>One of <see cref="GradientBlocks"/> pieces of <see cref="Wgrad"/> over chosen rows, on the calling worker.</summary>
    public void WgradBlock(int block, MatrixView dy, ReadOnlySpan<int> dyRows, MatrixView x, ReadOnlySpan<int> xRows, KernelThreads threads, int worker) =>
        ThreadedGemm.AddWeightGradientBlock(block, dy, dyRows, x, xRows, gradient_NK, threads, worker);
}
