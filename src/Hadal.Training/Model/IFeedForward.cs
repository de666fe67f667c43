using Hadal.Numerics;

namespace Hadal.Training.Model;

/// <summary>The feed-forward part of one layer, forward and backward.</summary>
internal interface IFeedForward
{
    /// <summary>output = residual + f(x); keeps what the backward pass needs.</summary>
    /// <param name="x">[T, D] operand: the normed residual stream.</param>
    /// <param name="residual">F32 [T, D].</param>
    /// <param name="output">F32 [T, D].</param>
    /// <param name="layout">Sequences.</param>
    void Forward(MatrixView x, MatrixView residual, MatrixView output, RowLayout layout);

    /// <summary>The gradient of the input, and of the module's weights.</summary>
    /// <param name="doutput">[T, D] operand: gradient of the residual stream behind the module.</param>
    /// <param name="x">As in the forward pass.</param>
    /// <param name="dx">F32 [T, D], overwritten.</param>
    /// <param name="layout">As in the forward pass.</param>
    /// <param name="lossScale">What losses of the module's own are multiplied with.</param>
    void Backward(MatrixView doutput, MatrixView x, MatrixView dx, RowLayout layout, float lossScale);
}
