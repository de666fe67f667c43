using System.Globalization;
using Hadal.Checkpoints;
using Hadal.Inference.Model;

namespace Hadal.Inference.Benchmarks;

/// <summary>
/// Counts, as a probe of forward passes, the bytes of distinct weights they read: what every token passes (without the embedding, of which a token reads
/// one row), and of the routed experts those that were chosen. Allocates nothing while it counts.
/// </summary>
internal sealed class WeightTraffic : IForwardProbe
{
    private readonly double always;
    private readonly double[] expertBytes;
    private readonly bool[] chosen;
    private double expertsRead;

    public WeightTraffic(Checkpoint checkpoint)
    {
        var config = checkpoint.Config;
        expertBytes = new double[config.NumHiddenLayers];
        chosen = new bool[Math.Max(1, config.NRoutedExperts)];
        foreach (var tensor in checkpoint.Tensors)
        {
            var parts = tensor.Name.Split('.');
            var layer = parts.Length > 2 && parts[1] == "layers" ? int.Parse(parts[2], CultureInfo.InvariantCulture) : -1;
            if (layer >= config.NumHiddenLayers || (tensor.Name == "model.embed_tokens.weight" && !config.TieWordEmbeddings))
                continue;
            if (parts.Length > 4 && parts[4] == "experts")
                expertBytes[layer] += (double)tensor.ByteLength / config.NRoutedExperts;
            else
                always += tensor.ByteLength;
        }
    }

    /// <inheritdoc/>
    public bool SeesTensors => false;

    /// <summary>Forgets what was counted.</summary>
    public void Restart() => expertsRead = 0;

    /// <summary>Bytes a pass, the mean of as many as there were since the last <see cref="Restart"/>.</summary>
    public double BytesPerStep(int passes) => always + (expertsRead / passes);

    /// <inheritdoc/>
    public void Tensor(string name, int layer, ReadOnlySpan<float> values)
    {
    }

    /// <inheritdoc/>
    public void Routing(int layer, ReadOnlySpan<int> ids, ReadOnlySpan<float> weights)
    {
        Array.Clear(chosen);
        foreach (var id in ids)
        {
            expertsRead += chosen[id] ? 0 : expertBytes[layer];
            chosen[id] = true;
        }
    }
}
