using Hadal.Numerics;

namespace Hadal.Training.Model;

/// <summary>The attention of one layer, forward and backward.</summary>
internal interface IAttention
{
    /// <summary>Adds attention(x) to the residual stream and keeps what the backward pass needs.</summary>
    /// <param name="x">[T, D] operand: the normed residual stream.</param>
    /// <param name="residual">F32 [T, D], added to.</param>
    /// <param name="layout">Sequences and positions.</param>
    void Forward(MatrixView x, MatrixView residual, RowLayout layout);

    /// <summary>The gradient of the input, and of the module's weights.</summary>
    /// <param name="doutput">[T, D] operand: gradient of the residual stream behind the module.</param>
    /// <param name="x">As in the forward pass.</param>
    /// <param name="dx">F32 [T, D], overwritten.</param>
    /// <param name="layout">As in the forward pass.</param>
    void Backward(MatrixView doutput, MatrixView x, MatrixView dx, RowLayout layout);
}
