using Hadal.Checkpoints.Config;
using Hadal.Numerics.Kernels;

namespace Hadal.Checkpoints;

/// <summary>
/// What memory a model will take, known before anything is allocated: its weights (mapped, so that they come from the file as they are touched) and a
/// cache of some tokens.
/// </summary>
/// <param name="WeightBytes">Bytes of all weights.</param>
/// <param name="CacheBytesPerToken">Bytes of the cache for one token: all layers, MTP modules included.</param>
/// <param name="CacheTokens">Tokens that the cache is to hold.</param>
/// <param name="AvailableBytes">What the machine can give, within the limits set for this process.</param>
public sealed record MemoryPlan(long WeightBytes, long CacheBytesPerToken, long CacheTokens, long AvailableBytes)
{
    /// <summary>Bytes of the whole cache.</summary>
    public long CacheBytes => checked(CacheBytesPerToken * CacheTokens);

    /// <summary>Bytes of weights and cache.</summary>
    public long RequiredBytes => checked(WeightBytes + CacheBytes);

    /// <summary>Plans for a checkpoint on this machine.</summary>
    /// <param name="checkpoint">The model.</param>
    /// <param name="cacheTokens">Tokens of all sequences together.</param>
    /// <param name="cache">How the cache is stored.</param>
    public static MemoryPlan For(Checkpoint checkpoint, long cacheTokens, CacheFormat cache = CacheFormat.F32)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentOutOfRangeException.ThrowIfNegative(cacheTokens);
        return new MemoryPlan(checkpoint.Tensors.Sum(tensor => tensor.ByteLength), CacheBytesOfToken(checkpoint.Config, cache), cacheTokens, SystemMemory.Available());
    }

    /// <summary>
    /// Bytes of the cache for one token: the latent and the rotated key, C + R values, rounded up to whole vectors, in each layer (DeepSeek-V2 report section 2.1.2),
    /// or the keys and values of all key/value heads.
    /// </summary>
    public static long CacheBytesOfToken(ModelConfig config, CacheFormat cache = CacheFormat.F32)
    {
        ArgumentNullException.ThrowIfNull(config);
        return (long)CacheLayoutOf(config, cache).RowBytes * (config.NumHiddenLayers + config.NumNextnPredictLayers);
    }

    /// <summary>How one token is cached in a layer.</summary>
    public static CacheLayout CacheLayoutOf(ModelConfig config, CacheFormat cache = CacheFormat.F32)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config.IsLatentAttention
            ? CacheLayout.Latent(cache, config.KvLoraRank, config.QkRopeHeadDim)
            : CacheLayout.KeysAndValues(cache, config.NumKeyValueHeads, config.HeadDim);
    }

    /// <summary>Refuses what does not fit.</summary>
    /// <exception cref="InsufficientMemoryException">Weights and cache together exceed what is available; the message says all three.</exception>
    public void Check()
    {
        if (RequiredBytes > AvailableBytes)
        {
#pragma warning disable MA0012 // The runtime defines it for exactly this: a check, before an operation, that there is enough memory.
            throw new InsufficientMemoryException(
#pragma warning restore MA0012
                $"weights of {Show(WeightBytes)} and a cache of {Show(CacheBytes)} for {CacheTokens} tokens need {Show(RequiredBytes)}, but {Show(AvailableBytes)} are available");
        }
    }

    private static string Show(long bytes) => bytes < 1 << 30 ? $"{bytes / (double)(1 << 20):F1} MiB" : $"{bytes / (double)(1 << 30):F1} GiB";
}
