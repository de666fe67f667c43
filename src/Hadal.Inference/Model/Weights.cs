using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Inference.Model;

/// <summary>Reads the weights of one module, named below a common prefix.</summary>
internal readonly struct Weights(Checkpoint checkpoint, string prefix, RepackedWeights? repacked = null)
{
    public ModelConfig Config => checkpoint.Config;

    public Weights Below(string name) => new(checkpoint, $"{prefix}{name}.", repacked);

    public bool Contains(string name) => checkpoint.Contains($"{prefix}{name}.weight");

    public ScaleKind ActivationScales => Config.Ue8m0ActivationScales ? ScaleKind.PowerOfTwo : ScaleKind.Float32;

    public WeightMatrix Matrix(string name, int rows, int cols) => checkpoint.Matrix($"{prefix}{name}.weight", rows, cols);

    public Linear Linear(string name, int outputs, int inputs) => new(Factor(name, outputs, inputs), ActivationScales);

    /// <summary>A matrix that is used for nothing but products with activations.</summary>
    public WeightMatrix Factor(string name, int outputs, int inputs)
    {
        var matrix = Matrix(name, outputs, inputs);
        return repacked?.Repack(matrix) ?? matrix;
    }

    public float[] Norm(string name, int length) => checkpoint.Vector($"{prefix}{name}.weight", length);

    public float[] Vector(string name, int length) => checkpoint.Vector(prefix + name, length);
}
