namespace Hadal.Training.Precision;

/// <summary>What the matrix products of a training step read. Master weights, gradients, the residual stream and all sums are float32 in each of them.</summary>
public enum TrainingPrecision
{
    /// <summary>Operands are float32.</summary>
    Fp32,

    /// <summary>Operands of linear layers and of attention, and the activations kept for the backward pass, are bfloat16; the router, norms and softmax stay float32.</summary>
    Bf16,
}
