using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Numerics.Threading;
using Hadal.Training.Data;

namespace Hadal.Training.Model;

/// <summary>
/// A model in training: parameters, gradients, moments and the memory of one forward and backward pass, all allocated here, once. For use by one thread at a
/// time; the kernels run on the pool it was given, and results are the same bits on any number of threads.
/// </summary>
public sealed class TrainingModel : IDisposable
{
    private readonly ParameterMemory memory;

    /// <summary>Allocates a model whose weights are zero until <see cref="Initialize"/> or <see cref="Load"/>.</summary>
    /// <param name="config">What the model is.</param>
    /// <param name="options">How it is trained.</param>
    /// <param name="threads">Pool to run on; must outlive the model.</param>
    /// <exception cref="ArgumentException">The options do not fit the model.</exception>
    public TrainingModel(ModelConfig config, TrainingOptions options, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(threads);
        Config = config;
        Options = options;
        Threads = threads;
        memory = new ParameterMemory(config, options.Bf16Moments);
        RouterBiases = [.. ParameterList.RouterBiases(config).Select(bias => new RouterBias(bias.Layer, bias.Shape.Name, new float[bias.Shape.Count]))];
    }

    /// <summary>What the model is.</summary>
    public ModelConfig Config { get; }

    /// <summary>How it is trained.</summary>
    public TrainingOptions Options { get; }

    /// <summary>The pool it runs on.</summary>
    public KernelThreads Threads { get; }

    /// <summary>Every tensor trained by gradient.</summary>
    public IReadOnlyList<Parameter> Parameters => memory.All;

    /// <summary>The routers' biases, one for each mixture-of-experts layer of a V3 model; part of the state to be saved.</summary>
    public IReadOnlyList<RouterBias> RouterBiases { get; }

    /// <summary>Draws new weights: matrices from N(0, <see cref="TrainingOptions.InitializerRange"/>), norms 1, router biases 0. Each tensor has a generator of its own, seeded by its name.</summary>
    /// <param name="seed">Seed of the whole model.</param>
    public void Initialize(int seed) => throw new NotSupportedException("not computed yet");

    /// <summary>Reads weights and router biases from a checkpoint of the same shape.</summary>
    /// <exception cref="InvalidDataException">A tensor is missing or has another shape; file, tensor, expected and found are named.</exception>
    public void Load(Checkpoint checkpoint) => throw new NotSupportedException("not computed yet");

    /// <summary>Says that weights were written from outside (after a resume, say), so that what was derived from them is made anew.</summary>
    public void WeightsChanged() => throw new NotSupportedException("not computed yet");

    /// <summary>Sets every gradient to zero, as each step begins.</summary>
    public void ClearGradients() => throw new NotSupportedException("not computed yet");

    /// <summary>
    /// One forward and backward pass: adds <paramref name="lossScale"/> times the gradient of the total loss to the gradients.
    /// </summary>
    /// <param name="batch">At most <see cref="TrainingOptions.MaxTokens"/> tokens; ids are checked.</param>
    /// <param name="lossScale">1 for a step of one batch, 1/n for each of n accumulated ones.</param>
    /// <returns>Unscaled losses, and what each expert was given.</returns>
    /// <exception cref="ArgumentException">The batch is too large, or an id or position outside its range.</exception>
    public StepStatistics ForwardBackward(PackedBatch batch, float lossScale = 1) => throw new NotSupportedException("not computed yet");

    /// <summary>The losses of a batch without gradients.</summary>
    /// <exception cref="ArgumentException">The batch is too large, or an id or position outside its range.</exception>
    public LossReport Evaluate(PackedBatch batch) => throw new NotSupportedException("not computed yet");

    /// <summary>The name of the first tensor whose gradient (or weight, when every gradient is finite) holds a value that is no number; null when there is none.</summary>
    public string? FirstNonFinite() => throw new NotSupportedException("not computed yet");

    /// <inheritdoc/>
    public void Dispose() => memory.Dispose();
}
