using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;
using Hadal.Tests;
using Hadal.Training.Data;
using Hadal.Training.Model;
using Hadal.Training.Precision;

namespace Hadal.Training.Tests.Kernels;

/// <summary>
/// One operator of the recorded ones: inputs, outputs, upstream gradients (d + output) and gradients (d + input), in double precision by PyTorch's autograd.
/// Skips the running test where they are not on the machine.
/// </summary>
internal sealed class RecordedOperator : IDisposable
{
    // Float32 against float64; the largest seen is a third of it.
    private const double Tolerance = 3e-6;

    private readonly string name;
    private readonly SafetensorsFile file = SafetensorsFile.Open(SharedFiles.Path("fixtures", "training", "kernels-grad", "kernels_grad.safetensors"));
    private readonly List<NativeBuffer> buffers = [];
    private ModelMemory? memory;

    public RecordedOperator(string name) => this.name = name;

    public KernelThreads Threads { get; } = new(2);

    public double[] Doubles(string tensor) => file.ReadDoubles($"{name}.{tensor}");

    public double Scalar(string tensor) => Doubles(tensor).Single();

    public int[] Integers(string tensor) => file.ReadInt32($"{name}.{tensor}");

    public int[] Shape(string tensor) => [.. file.Find($"{name}.{tensor}").Shape.Select(d => (int)d)];

    /// <summary>A tensor as rows of its last <paramref name="inner"/> dimensions.</summary>
    public MatrixView Rows(string tensor, int inner = 1)
    {
        var shape = Shape(tensor);
        var values = Doubles(tensor);
        var cols = shape[^inner..].Aggregate(1, (product, d) => product * d);
        var view = Empty(values.Length / cols, cols);
        for (var i = 0; i < values.Length; i++)
            view.Row(i / cols)[i % cols] = (float)values[i];
        return view;
    }

    /// <summary>Rows of zeros.</summary>
    public MatrixView Empty(int rows, int cols)
    {
        buffers.Add(new NativeBuffer(Math.Max(1, (long)rows * cols) * sizeof(float)));
        return MatrixView.Over(buffers[^1], 0, WeightFormat.F32, rows, cols);
    }

    /// <summary>Memory of a model in which modules find weights.</summary>
    public ModelMemory Memory(ModelConfig config, TrainingOptions? options = null) =>
        memory = new ModelMemory(config, options ?? new TrainingOptions { Precision = TrainingPrecision.Fp32, MaxTokens = 64, SequenceAlpha = 0 }, Threads);

    /// <summary>Gives a parameter its recorded values, of one expert where it has one.</summary>
    public void Weight(string tensor, string parameter, int? expert = null)
    {
        var target = memory!.Parameters[parameter].Weight;
        var values = Doubles(tensor);
        for (var i = 0; i < target.Length; i++)
            target[i] = (float)values[((expert ?? 0) * target.Length) + i];
    }

    /// <summary>Compares a parameter's gradient with the recorded one.</summary>
    public void Gradient(string tensor, string parameter, int? expert = null)
    {
        var found = memory!.Parameters[parameter].Gradient;
        var expected = Doubles(tensor);
        Close(tensor, found, expert is { } e ? expected.AsSpan(e * found.Length, found.Length) : expected);
    }

    /// <summary>Compares rows with a recorded tensor, by the relative Frobenius norm of the difference.</summary>
    public void Close(string tensor, MatrixView found)
    {
        var values = new float[found.Rows * found.Cols];
        for (var row = 0; row < found.Rows; row++)
            found.Row(row).CopyTo(values.AsSpan(row * found.Cols));
        Close(tensor, values, Doubles(tensor));
    }

    /// <summary>Compares values with a recorded tensor.</summary>
    public void Close(string tensor, ReadOnlySpan<float> found) => Close(tensor, found, Doubles(tensor));

    /// <summary>Sequences of 7 tokens each, in documents and at positions where they are given.</summary>
    public static RowLayout Layout(ModelMemory memory, int sequences, int length)
    {
        var rows = sequences * length;
        var layout = new RowLayout(memory);
        layout.SetMain(new PackedBatch
        {
            Sequences = sequences, SequenceLength = length, Tokens = new int[rows], Targets = new int[rows], DocumentStarts = new int[rows], DocumentIds = new int[rows],
            Positions = [.. Enumerable.Range(0, rows).Select(row => row % length)],
        });
        return layout;
    }

    public void Dispose()
    {
        memory?.Dispose();
        Threads.Dispose();
        file.Dispose();
        buffers.ForEach(buffer => buffer.Dispose());
    }

    private void Close(string tensor, ReadOnlySpan<float> found, ReadOnlySpan<double> expected)
    {
        Assert.Equal(expected.Length, found.Length);
        double difference = 0, norm = 0;
        for (var i = 0; i < found.Length; i++)
        {
            difference += (found[i] - expected[i]) * (found[i] - expected[i]);
            norm += expected[i] * expected[i];
        }

        var error = norm == 0 ? Math.Sqrt(difference) : Math.Sqrt(difference / norm);
        Assert.True(error <= Tolerance, $"{name}.{tensor}: relative error {error:g3}");
    }
}
