using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Training.Model;

/// <summary>The arenas of all parameters: weights, gradients and two moments, laid out alike, allocated once.</summary>
internal sealed class ParameterMemory : IDisposable
{
    // A tensor that does not join the one before begins on a cache line.
    private const int Alignment = 16;

    private readonly Dictionary<string, Parameter> byName;

    public ParameterMemory(ModelConfig config, bool bf16Moments)
    {
        MomentFormat = bf16Moments ? WeightFormat.BF16 : WeightFormat.F32;
        MomentBytes = bf16Moments ? 2 : 4;
        var all = new List<Parameter>();
        var end = 0L;
        foreach (var shape in ParameterList.Of(config))
        {
            if (!shape.JoinsPrevious)
                end = (end + Alignment - 1) / Alignment * Alignment;
            all.Add(new Parameter(shape, this, end));
            end += shape.Count;
        }

        All = all;
        byName = all.ToDictionary(p => p.Name, StringComparer.Ordinal);
        Weights = new NativeBuffer(end * sizeof(float));
        Gradients = new NativeBuffer(end * sizeof(float));
        FirstMoments = new NativeBuffer(end * MomentBytes);
        SecondMoments = new NativeBuffer(end * MomentBytes);
    }

    public IReadOnlyList<Parameter> All { get; }

    public NativeBuffer Weights { get; }

    public NativeBuffer Gradients { get; }

    public NativeBuffer FirstMoments { get; }

    public NativeBuffer SecondMoments { get; }

    public WeightFormat MomentFormat { get; }

    public int MomentBytes { get; }

    public Parameter this[string name] => byName[name];

    public void Dispose()
    {
        Weights.Dispose();
        Gradients.Dispose();
        FirstMoments.Dispose();
        SecondMoments.Dispose();
    }
}
