using Hadal.Numerics.Formats;

namespace Hadal.Training.Model;

/// <summary>A trained tensor: weight, gradient and AdamW's moments, views of the model's arenas (valid as long as it is not disposed).</summary>
public sealed class Parameter
{
    private readonly ParameterMemory memory;
    private readonly long start;

    internal Parameter(ParameterShape shape, ParameterMemory memory, long start)
    {
        Shape = shape;
        this.memory = memory;
        this.start = start;
        Count = checked((int)shape.Count);
    }

    /// <summary>Hugging Face name.</summary>
    public string Name => Shape.Name;

    /// <summary>Name and dimensions.</summary>
    public ParameterShape Shape { get; }

    /// <summary>Values in it.</summary>
    public int Count { get; }

    /// <summary>Whether weight decay applies: to matrices, not to norms.</summary>
    public bool Decays => Shape.IsMatrix;

    /// <summary>Master weight, float32, row-major. Who writes it calls <see cref="TrainingModel.WeightsChanged"/> afterwards.</summary>
    public Span<float> Weight => memory.Weights.Span<float>(start, Count);

    /// <summary>Gradient, float32; passes add to it.</summary>
    public Span<float> Gradient => memory.Gradients.Span<float>(start, Count);

    /// <summary>How the moments are stored: F32 or BF16.</summary>
    public WeightFormat MomentFormat => memory.MomentFormat;

    /// <summary>AdamW's running mean of gradients, in <see cref="MomentFormat"/>.</summary>
    public Span<byte> FirstMoment => memory.FirstMoments.Span<byte>(start * memory.MomentBytes, Count * memory.MomentBytes);

    /// <summary>AdamW's running mean of squared gradients, in <see cref="MomentFormat"/>.</summary>
    public Span<byte> SecondMoment => memory.SecondMoments.Span<byte>(start * memory.MomentBytes, Count * memory.MomentBytes);

    /// <summary>Where it begins in the arenas, in values.</summary>
    internal long Start => start;
}

/// <summary>Bias of a router: added to affinities for selection only, moved by <see cref="Optimization.RouterBiasUpdate"/>.</summary>
/// <param name="Layer">Layer; MTP modules follow the main model.</param>
/// <param name="Name">Hugging Face name.</param>
/// <param name="Values">[E], the memory that the router reads.</param>
public sealed record RouterBias(int Layer, string Name, float[] Values);
