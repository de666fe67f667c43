using Hadal.Inference.Model;

namespace Hadal.Inference.Verification;

/// <summary>Keeps every intermediate result under the names of expected.safetensors: <c>layer3.hidden</c>, <c>layer3.routed_ids</c>, <c>normed</c>.</summary>
internal sealed class RecordingProbe(int mainLayers) : IForwardProbe
{
    public Dictionary<string, float[]> Tensors { get; } = [];

    public Dictionary<string, int[]> Ids { get; } = [];

    public void Tensor(string name, int layer, ReadOnlySpan<float> values) => Tensors[Key(layer) + name] = values.ToArray();

    public void Routing(int layer, ReadOnlySpan<int> ids, ReadOnlySpan<float> weights)
    {
        Ids[Key(layer) + "routed_ids"] = ids.ToArray();
        Tensors[Key(layer) + "routed_weights"] = weights.ToArray();
    }

    private string Key(int layer) => layer < 0 ? string.Empty : layer < mainLayers ? $"layer{layer}." : "mtp.";
}
