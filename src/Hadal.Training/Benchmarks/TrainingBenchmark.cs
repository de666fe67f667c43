using System.Diagnostics;
using Hadal.Checkpoints.Config;
using Hadal.Numerics.Threading;
using Hadal.Training.Data;
using Hadal.Training.Model;
using Hadal.Training.Optimization;
using Hadal.Training.Precision;
using Hadal.Training.Presets;

namespace Hadal.Training.Benchmarks;

/// <summary>What a measurement of training found.</summary>
public sealed record TrainingBenchmarkResult
{
    /// <summary>Tokens a second of whole steps, of the fastest half of them.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>10^9 floating-point operations a second (<see cref="ParameterTotals.TrainingFlopsPerToken"/>).</summary>
    public required double GigaflopsPerSecond { get; init; }

    /// <summary>Seconds of a step: forward and backward pass alone.</summary>
    public required double PassSeconds { get; init; }

    /// <summary>Seconds of AdamW with clipping.</summary>
    public required double OptimizerSeconds { get; init; }

    /// <summary>Peak memory of the process, in bytes.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>Managed bytes allocated for each step.</summary>
    public required long GcBytesPerStep { get; init; }
}

/// <summary>Measures training steps of a model with random weights on random tokens.</summary>
public static class TrainingBenchmark
{
    private const int Seed = 3;

    /// <summary>Runs steps until the time is up.</summary>
    /// <param name="config">What the model is.</param>
    /// <param name="precision">What the products read.</param>
    /// <param name="sequences">Sequences of a step.</param>
    /// <param name="sequenceLength">Tokens of each.</param>
    /// <param name="seconds">How long to measure, after two steps of warming up.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <param name="cancellation">Ends the measurement.</param>
    public static TrainingBenchmarkResult Run(
        ModelConfig config, TrainingPrecision precision, int sequences, int sequenceLength, double seconds, KernelThreads threads, CancellationToken cancellation)
    {
        var tokens = sequences * sequenceLength;
        using var model = new TrainingModel(config, new TrainingOptions { Precision = precision, MaxTokens = tokens }, threads);
        model.Initialize(Seed);
        var batch = Batch(config, sequences, sequenceLength);
        var steps = new List<(double Pass, double Optimizer)>();
        for (var step = 1; step <= 2; step++)
            Step(model, batch, step);
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        var watch = Stopwatch.StartNew();
        while (steps.Count < 3 || watch.Elapsed.TotalSeconds < seconds)
        {
            cancellation.ThrowIfCancellationRequested();
            steps.Add(Step(model, batch, steps.Count + 3));
        }

        var garbage = (GC.GetAllocatedBytesForCurrentThread() - allocated) / steps.Count;
        var fastest = steps.OrderBy(step => step.Pass + step.Optimizer).Take((steps.Count + 1) / 2).ToList();
        var (pass, optimizer) = (fastest.Average(step => step.Pass), fastest.Average(step => step.Optimizer));
        var rate = tokens / (pass + optimizer);
        using var process = Process.GetCurrentProcess();
        return new TrainingBenchmarkResult
        {
            TokensPerSecond = rate, GigaflopsPerSecond = rate * ParameterTotals.TrainingFlopsPerToken(config, sequenceLength) / 1e9, PassSeconds = pass, OptimizerSeconds = optimizer,
            PeakBytes = process.PeakWorkingSet64, GcBytesPerStep = garbage,
        };
    }

    private static (double Pass, double Optimizer) Step(TrainingModel model, PackedBatch batch, int step)
    {
        var start = Stopwatch.GetTimestamp();
        model.ClearGradients();
        var statistics = model.ForwardBackward(batch);
        var pass = Stopwatch.GetElapsedTime(start).TotalSeconds;
        AdamW.Step(model, new AdamWSettings { Step = step, LearningRate = 1e-3 });
        RouterBiasUpdate.Apply(model, statistics.ExpertLoads, 0.02);
        return (pass, Stopwatch.GetElapsedTime(start).TotalSeconds - pass);
    }

    private static PackedBatch Batch(ModelConfig config, int sequences, int length)
    {
        var random = new Random(Seed);
        var rows = sequences * length;
        int[] tokens = new int[rows], positions = new int[rows], targets = new int[rows];
        for (var row = 0; row < rows; row++)
            (tokens[row], targets[row], positions[row]) = (random.Next(config.VocabSize), random.Next(config.VocabSize), row % length);
        return new PackedBatch
        {
            Sequences = sequences, SequenceLength = length, Tokens = tokens, Targets = targets, Positions = positions, DocumentStarts = new int[rows], DocumentIds = new int[rows],
        };
    }
}
