using Hadal.Training.Model;

namespace Hadal.Training.Runs;

/// <summary>Something that a run tells whoever watches.</summary>
public abstract record RunEvent;

/// <summary>The run begins.</summary>
/// <param name="Parameters">Parameters, MTP modules included.</param>
/// <param name="Activated">Those of the main model that one token meets.</param>
/// <param name="TotalTokens">Tokens of the whole run.</param>
/// <param name="DataTokens">Tokens of the data, once through.</param>
/// <param name="FlopsPerToken">Operations that one token of training takes.</param>
/// <param name="Resumed">The checkpoint it goes on from, or null.</param>
/// <param name="Step">Steps done before.</param>
public sealed record RunBegun(long Parameters, long Activated, long TotalTokens, long DataTokens, double FlopsPerToken, string? Resumed, int Step) : RunEvent;

/// <summary>A checkpoint that could not be used.</summary>
/// <param name="Path">Where it is.</param>
/// <param name="Reason">What is wrong with it.</param>
public sealed record CheckpointRefused(string Path, string Reason) : RunEvent;

/// <summary>A step is done.</summary>
public sealed record StepDone : RunEvent
{
    /// <summary>Number of the step, from 1.</summary>
    public required int Step { get; init; }

    /// <summary>Tokens consumed so far.</summary>
    public required long Tokens { get; init; }

    /// <summary>Tokens of the whole run.</summary>
    public required long TotalTokens { get; init; }

    /// <summary>Each term of the loss, over the whole step.</summary>
    public required LossReport Losses { get; init; }

    /// <summary>Main loss in bits for each byte of text that was scored.</summary>
    public required double BitsPerByte { get; init; }

    /// <summary>Main loss, smoothed over about 20 steps.</summary>
    public required double SmoothLoss { get; init; }

    /// <summary>Learning rate used.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Norm of the gradient before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>The heaviest expert's load relative to the mean, over all layers; 0 without experts.</summary>
    public required double WorstLoad { get; init; }

    /// <summary>Speed of late.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Model operations a second, relative to the machine's float32 peak.</summary>
    public required double Utilisation { get; init; }

    /// <summary>How often the data has been gone through.</summary>
    public required double Epochs { get; init; }

    /// <summary>Seconds that the rest will take.</summary>
    public double SecondsLeft => TokensPerSecond > 0 ? Math.Max(0, TotalTokens - Tokens) / TokensPerSecond : 0;
}

/// <summary>A validation is done.</summary>
/// <param name="Step">After this step.</param>
/// <param name="Main">Mean cross-entropy of the next token, in nats.</param>
/// <param name="Mtp">Of each MTP module.</param>
/// <param name="BitsPerByte">Main loss in bits for each byte of text.</param>
/// <param name="ScoredTokens">Tokens that it is the mean of.</param>
public sealed record ValidationDone(int Step, double Main, IReadOnlyList<double> Mtp, double BitsPerByte, long ScoredTokens) : RunEvent;

/// <summary>How a run ended.</summary>
/// <param name="Step">Steps done.</param>
/// <param name="Tokens">Tokens consumed.</param>
/// <param name="Finished">Whether that is all of it; otherwise it was interrupted, and the same command goes on.</param>
/// <param name="Folder">The run's folder.</param>
/// <param name="Validation">The last validation, if there was one.</param>
/// <param name="Scores">The last evaluation's, if there was one.</param>
public sealed record RunResult(int Step, long Tokens, bool Finished, RunFolder Folder, ValidationDone? Validation, IReadOnlyList<TaskScore>? Scores);

/// <summary>A step gave a number that is none; the model is lost, but not its checkpoints.</summary>
public sealed class TrainingDivergedException : Exception
{
    /// <summary>Names step and tensor.</summary>
    public TrainingDivergedException(int step, string what, string? checkpoint)
        : base($"step {step}: {what} holds what is no number; {(checkpoint is null ? "there is no checkpoint yet" : $"the last good checkpoint is {checkpoint}")}")
    {
    }
}

/// <summary>The folder of a run belongs to another recipe.</summary>
public sealed class RecipeMismatchException : Exception
{
    /// <summary>Names the folder and the key that differs.</summary>
    public RecipeMismatchException(string message)
        : base(message)
    {
    }
}
