using Hadal.Numerics.Kernels.Training;
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
    /// <param name="model">Holds the gradients of the step.</param>
    /// <param name="settings">Of this step.</param>
    public static AdamWResult Step(TrainingModel model, AdamWSettings settings)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(settings.Step, nameof(settings));
        var norm = GradientNorm(model);
        if (!double.IsFinite(norm))
            return new AdamWResult(norm, 0, Applied: false);
        var clip = Math.Min(1, settings.MaxGradientNorm / (norm + 1e-6));
        foreach (var parameter in model.Parameters)
        {
            var factors = Factors(settings, clip, parameter.Decays);
            AdamWKernel.Step(parameter.Weight, parameter.Gradient, parameter.FirstMoment, parameter.SecondMoment, parameter.MomentFormat, factors, model.Threads);
        }

        model.WeightsChanged();
        return new AdamWResult(norm, clip, Applied: true);
    }

    /// <summary>Euclidean norm of the whole gradient.</summary>
    public static double GradientNorm(TrainingModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var pieces = new double[(model.Parameters.Max(parameter => parameter.Count) / 16384) + 1];
        var sum = 0.0;
        foreach (var parameter in model.Parameters)
            sum += AdamWKernel.SumOfSquares(parameter.Gradient, pieces, model.Threads);
        return Math.Sqrt(sum);
    }

    internal static AdamWFactors Factors(AdamWSettings settings, double clip, bool decays) => new(
        (float)clip,
        (float)settings.Beta1,
        (float)settings.Beta2,
        (float)(1 - (decays ? settings.LearningRate * settings.WeightDecay : 0)),
        (float)(settings.LearningRate / (1 - Math.Pow(settings.Beta1, settings.Step))),
        (float)(1 / Math.Sqrt(1 - Math.Pow(settings.Beta2, settings.Step))),
        (float)settings.Epsilon);
}
