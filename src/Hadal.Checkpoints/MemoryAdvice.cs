using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Synthetic;
using Hadal.Numerics.Kernels;

namespace Hadal.Checkpoints;

/// <summary>What a model would take in one format, and how long a context then fits.</summary>
/// <param name="Format">Name of the weights' format.</param>
/// <param name="WeightBytes">Bytes of the weights.</param>
/// <param name="Contexts">For each way to store the cache, the most tokens that fit beside the weights, at most the model's context; 0 where the weights alone do not fit.</param>
public sealed record MemoryAdvice(string Format, long WeightBytes, IReadOnlyDictionary<CacheFormat, int> Contexts)
{
    /// <summary>What a process needs beside weights and cache: the runtime, working memory of a step.</summary>
    public const long ProcessBytes = 300L << 20;

    private static readonly string[] Advised = ["bf16", "fp8", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k", "q2_k"];

    /// <summary>Advice for a checkpoint as it is.</summary>
    /// <param name="checkpoint">The model.</param>
    /// <param name="availableBytes">Memory to reckon with; null for what this machine can give.</param>
    public static MemoryAdvice For(Checkpoint checkpoint, long? availableBytes = null)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        return Of("as it is", checkpoint.Config, checkpoint.Tensors.Sum(t => t.ByteLength), availableBytes ?? SystemMemory.Available());
    }

    /// <summary>Advice for a shape in the usual formats.</summary>
    /// <param name="config">The shape.</param>
    /// <param name="availableBytes">Memory to reckon with; null for what this machine can give.</param>
    public static IReadOnlyList<MemoryAdvice> For(ModelConfig config, long? availableBytes = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        var available = availableBytes ?? SystemMemory.Available();
        return [.. Advised.Select(name => Of(name, config, SyntheticPlan.Of(config, FormatMix.Parse(name)).Bytes, available))];
    }

    private static MemoryAdvice Of(string format, ModelConfig config, long weightBytes, long availableBytes)
    {
        var left = Math.Max(0, availableBytes - weightBytes - ProcessBytes);
        return new MemoryAdvice(format, weightBytes, Enum.GetValues<CacheFormat>().ToDictionary(
            cache => cache, cache => (int)Math.Min(config.MaxPositionEmbeddings, left / MemoryPlan.CacheBytesOfToken(config, cache))));
    }
}
