using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;
using Hadal.Training.Precision;

namespace Hadal.Training.Model;

/// <summary>What the modules of a model are made from and share: parameters, memory, threads, and the options that concern all of them.</summary>
internal sealed class ModelMemory(ModelConfig config, TrainingOptions options, KernelThreads threads) : IDisposable
{
    private readonly Arena arena = new();
    private readonly List<Linear> linears = [];

    public ModelConfig Config { get; } = config;

    public TrainingOptions Options { get; } = options;

    public KernelThreads Threads { get; } = threads;

    public ParameterMemory Parameters { get; } = new(config, options.Bf16Moments);

    public Scratch Scratch { get; } = new();

    public RotaryEmbedding Rotary { get; } = Positions.Rotary(config);

    /// <summary>Format of the operands of linear layers, and so of the activations kept for them.</summary>
    public WeightFormat Operands { get; } = options.Precision == TrainingPrecision.Bf16 ? WeightFormat.BF16 : WeightFormat.F32;

    /// <summary>Told of gradients of activations as they are found, by name; for tests and verification.</summary>
    public Action<string, MatrixView>? Probe { get; set; }

    /// <summary>Bytes of everything but parameters.</summary>
    public long ActivationBytes => arena.ByteLength + Scratch.ByteLength;

    /// <summary>A linear layer of the model.</summary>
    public Linear Linear(string name, int outputs, int inputs, WeightFormat? operands = null)
    {
        var linear = new Linear(Parameters, arena, name, outputs, inputs, operands ?? Operands);
        linears.Add(linear);
        return linear;
    }

    /// <summary>A norm of the model.</summary>
    public RmsNormLayer Norm(string name) => new(this, name);

    /// <summary>A parameter as rows: its weight.</summary>
    public MatrixView Weight(string name) => View(Parameters.Weights, name);

    /// <summary>A parameter as rows: its gradient.</summary>
    public MatrixView Gradient(string name) => View(Parameters.Gradients, name);

    /// <summary>An activation kept from the forward to the backward pass: [<see cref="TrainingOptions.MaxTokens"/>, cols] unless rows are given.</summary>
    public MatrixView Kept(WeightFormat format, int cols, int? rows = null) => arena.Rows(format, rows ?? Options.MaxTokens, cols);

    /// <summary>Takes every weight as it is now.</summary>
    public void Refresh()
    {
        foreach (var linear in linears)
            linear.Refresh(Threads);
    }

    public void Dispose()
    {
        Parameters.Dispose();
        arena.Dispose();
        Scratch.Dispose();
    }

    private MatrixView View(NativeBuffer buffer, string name)
    {
        var parameter = Parameters[name];
        var shape = parameter.Shape.Shape;
        return MatrixView.Over(buffer, parameter.Start, WeightFormat.F32, shape.Count == 1 ? 1 : shape[0], shape[^1]);
    }
}
