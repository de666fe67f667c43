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
    private readonly ModelMemory memory;
    private readonly DeepSeek model;
    private bool stale = true;

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
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.MaxTokens, nameof(options));
        memory = new ModelMemory(config, options, threads);
        RouterBiases = [.. ParameterList.RouterBiases(config).Select(bias => new RouterBias(bias.Layer, bias.Shape.Name, new float[bias.Shape.Count]))];
        model = new DeepSeek(memory, RouterBiases);
    }

    /// <summary>What the model is.</summary>
    public ModelConfig Config { get; }

    /// <summary>How it is trained.</summary>
    public TrainingOptions Options { get; }

    /// <summary>The pool it runs on.</summary>
    public KernelThreads Threads { get; }

    /// <summary>Every tensor trained by gradient.</summary>
    public IReadOnlyList<Parameter> Parameters => memory.Parameters.All;

    /// <summary>The routers' biases, one for each mixture-of-experts layer of a V3 model; part of the state to be saved.</summary>
    public IReadOnlyList<RouterBias> RouterBiases { get; }

    /// <summary>Draws new weights: matrices from N(0, <see cref="TrainingOptions.InitializerRange"/>), norms 1, router biases 0. Each tensor has a generator of its own, seeded by its name.</summary>
    /// <param name="seed">Seed of the whole model.</param>
    public void Initialize(int seed)
    {
        foreach (var parameter in Parameters)
        {
            if (parameter.Shape.IsMatrix)
                Normals(parameter.Weight, new Random(HashCode(parameter.Name, seed)), Options.InitializerRange);
            else
                parameter.Weight.Fill(1);
        }

        foreach (var bias in RouterBiases)
            Array.Clear(bias.Values);
        WeightsChanged();
    }

    /// <summary>Reads weights and router biases from a checkpoint of the same shape.</summary>
    /// <exception cref="InvalidDataException">A tensor is missing or has another shape; file, tensor, expected and found are named.</exception>
    public void Load(Checkpoint checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        foreach (var parameter in Parameters)
        {
            var shape = parameter.Shape.Shape;
            if (shape.Count == 1)
            {
                checkpoint.Vector(parameter.Name, shape[0]).CopyTo(parameter.Weight);
                continue;
            }

            var matrix = checkpoint.Matrix(parameter.Name, shape[0], shape[1]);
            for (var row = 0; row < shape[0]; row++)
                matrix.DecodeRow(row, parameter.Weight.Slice(row * shape[1], shape[1]));
        }

        foreach (var bias in RouterBiases)
            checkpoint.Vector(bias.Name, bias.Values.Length).CopyTo(bias.Values, 0);
        WeightsChanged();
    }

    /// <summary>Says that weights were written from outside (after a resume, say), so that what was derived from them is made anew.</summary>
    public void WeightsChanged() => stale = true;

    /// <summary>Sets every gradient to zero, as each step begins.</summary>
    public void ClearGradients()
    {
        foreach (var parameter in Parameters)
            parameter.Gradient.Clear();
    }

    /// <summary>
    /// One forward and backward pass: adds <paramref name="lossScale"/> times the gradient of the total loss to the gradients.
    /// </summary>
    /// <param name="batch">At most <see cref="TrainingOptions.MaxTokens"/> tokens; ids are checked.</param>
    /// <param name="lossScale">1 for a step of one batch, 1/n for each of n accumulated ones.</param>
    /// <returns>Unscaled losses, and what each expert was given.</returns>
    /// <exception cref="ArgumentException">The batch is too large, or an id or position outside its range.</exception>
    public StepStatistics ForwardBackward(PackedBatch batch, float lossScale = 1)
    {
        Prepare(batch);
        var losses = model.Forward(batch, lossScale);
        model.Backward(lossScale);
        return new StepStatistics(losses, [.. model.Routers.Select(router => new ExpertLoad(router.Layer, [.. router.Router.Counts]))]);
    }

    /// <summary>The losses of a batch without gradients.</summary>
    /// <exception cref="ArgumentException">The batch is too large, or an id or position outside its range.</exception>
    public LossReport Evaluate(PackedBatch batch)
    {
        Prepare(batch);
        return model.Forward(batch, lossScale: null);
    }

    /// <summary>The name of the first tensor whose gradient (or weight, when every gradient is finite) holds a value that is no number; null when there is none.</summary>
    public string? FirstNonFinite() =>
        Parameters.FirstOrDefault(parameter => !AllFinite(parameter.Gradient))?.Name ?? Parameters.FirstOrDefault(parameter => !AllFinite(parameter.Weight))?.Name;

    /// <summary>Bytes of memory for parameters with their gradients and moments, and for everything else.</summary>
    public (long Parameters, long Activations) MemoryBytes =>
        (memory.Parameters.Weights.ByteLength + memory.Parameters.Gradients.ByteLength + memory.Parameters.FirstMoments.ByteLength + memory.Parameters.SecondMoments.ByteLength, memory.ActivationBytes);

    /// <summary>The modules, for tests and verification.</summary>
    internal DeepSeek Modules => model;

    /// <summary>Told of gradients of activations by name.</summary>
    internal Action<string, Numerics.MatrixView>? Probe
    {
        set => memory.Probe = value;
    }

    /// <inheritdoc/>
    public void Dispose() => memory.Dispose();

    // string.GetHashCode differs from run to run; this is FNV-1a.
    private static int HashCode(string name, int seed)
    {
        var hash = 2166136261u ^ (uint)seed;
        foreach (var character in name)
            hash = (hash ^ character) * 16777619u;
        return (int)hash;
    }

    // Box and Muller's transform.
    private static void Normals(Span<float> values, Random random, double deviation)
    {
        for (var i = 0; i < values.Length; i += 2)
        {
            var radius = deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            var (sin, cos) = Math.SinCos(2 * Math.PI * random.NextDouble());
            values[i] = (float)(radius * cos);
            if (i + 1 < values.Length)
                values[i + 1] = (float)(radius * sin);
        }
    }

    private static bool AllFinite(ReadOnlySpan<float> values)
    {
        foreach (var value in values)
        {
            if (!float.IsFinite(value))
                return false;
        }

        return true;
    }

    private void Prepare(PackedBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        var rows = batch.Sequences * (long)batch.SequenceLength;
        if (batch.Sequences <= 0 || batch.SequenceLength <= 0 || rows > Options.MaxTokens)
            throw new ArgumentException($"{batch.Sequences} sequences of {batch.SequenceLength} tokens; the model has memory for {Options.MaxTokens} tokens", nameof(batch));
        if (new[] { batch.Tokens, batch.Targets, batch.Positions, batch.DocumentStarts, batch.DocumentIds }.Any(array => array.Length != rows))
            throw new ArgumentException($"every array of a batch of {batch.Sequences} sequences of {batch.SequenceLength} tokens has {rows} values", nameof(batch));
        for (var row = 0; row < rows; row++)
        {
            var i = row % batch.SequenceLength;
            if ((uint)batch.Tokens[row] >= (uint)Config.VocabSize || batch.Targets[row] >= Config.VocabSize)
                throw new ArgumentException($"row {row}: token {batch.Tokens[row]} and target {batch.Targets[row]} in a vocabulary of {Config.VocabSize}", nameof(batch));
            if ((uint)batch.Positions[row] >= (uint)Config.MaxPositionEmbeddings)
                throw new ArgumentException($"row {row}: position {batch.Positions[row]} of {Config.MaxPositionEmbeddings}", nameof(batch));
            if (batch.DocumentStarts[row] < 0 || batch.DocumentStarts[row] > i || (i > 0 && batch.DocumentStarts[row] < batch.DocumentStarts[row - 1]))
                throw new ArgumentException($"row {row}: document start {batch.DocumentStarts[row]} at index {i} of its sequence", nameof(batch));
        }

        if (!stale)
            return;
        memory.Refresh();
        stale = false;
    }
}
