using Hadal.Training.Model;

namespace Hadal.Training.Optimization;

/// <summary>Settings of one AdamW step (arXiv 1711.05101); the defaults are DeepSeek's.</summary>
public sealed record AdamWSettings
{
    /// <summary>Number of this step, from 1: corrects the moments' bias.</summary>
    public required int Step { get; init; }

    /// <summary>Learning rate of this step.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Decay of the mean of gradients.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the mean of squared gradients.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the second moment.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled decay, on matrices only.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Largest norm of the whole gradient; larger ones are scaled down to it.</summary>
    public double MaxGradientNorm { get; init; } = 1;
}

/// <summary>What a step did.</summary>
/// <param name="GradientNorm">Euclidean norm over all parameters, before clipping.</param>
/// <param name="ClipCoefficient">What the gradient was multiplied with: min(1, max norm / (norm + 1e-6)).</param>
/// <param name="Applied">False when the norm is no finite number: nothing was changed then.</param>
public readonly record struct AdamWResult(double GradientNorm, double ClipCoefficient, bool Applied);

/// <summary>
/// AdamW with clipping by the global norm: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2,
/// w = w (1 - lr wd) - lr (m / (1 - b1^s)) / (sqrt(v / (1 - b2^s)) + eps).
/// </summary>
public static class AdamW
{
    /// <summary>One step on every parameter of a model. Experts that had no token have gradient 0 and still decay.</summary>
    public static AdamWResult Step(TrainingModel model, AdamWSettings settings) => throw new NotSupportedException("not computed yet");
}
