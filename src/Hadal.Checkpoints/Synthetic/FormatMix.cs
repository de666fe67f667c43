using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Synthetic;

/// <summary>
/// Which format each tensor of a model gets under one name, as files in circulation have it: <c>q4_k_m</c> and <c>q5_k_m</c> give the output and the
/// down-projections of every other stretch of layers more bits; rows that are no multiple of 256 fall back to the next format in blocks of 32.
/// Source: the mixes of llama.cpp's quantize.
/// </summary>
public sealed class FormatMix
{
    private readonly WeightFormat bulk;
    private readonly WeightFormat better;

    private FormatMix(string name, WeightFormat bulk, WeightFormat better)
    {
        Name = name;
        this.bulk = bulk;
        this.better = better;
    }

    /// <summary>As it was asked for.</summary>
    public string Name { get; }

    /// <summary>Names that <see cref="Parse"/> knows.</summary>
    public static IEnumerable<string> Names => Enum.GetNames<WeightFormat>().Select(static n => n.ToLowerInvariant()).Append("fp8").Append("q4_k_m").Append("q5_k_m");

    /// <summary>A mix by name: <c>q4_k_m</c>, <c>q5_k_m</c>, <c>fp8</c>, or one format for every large matrix.</summary>
    /// <exception cref="ArgumentException">No mix of that name.</exception>
    public static FormatMix Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        var lower = name.ToLowerInvariant();
        return lower switch
        {
            "q4_k_m" => new FormatMix(lower, WeightFormat.Q4_K, WeightFormat.Q6_K),
            "q5_k_m" => new FormatMix(lower, WeightFormat.Q5_K, WeightFormat.Q6_K),
            "fp8" => new FormatMix(lower, WeightFormat.F8_E4M3, WeightFormat.F8_E4M3),
            _ when Enum.TryParse<WeightFormat>(name, ignoreCase: true, out var format) && Enum.IsDefined(format) => new FormatMix(lower, format, format),
            _ => throw new ArgumentException($"no format is called {name}; known: {string.Join(", ", Names)}"),
        };
    }

    /// <summary>The format of a matrix.</summary>
    /// <param name="name">Hugging Face name.</param>
    /// <param name="cols">Its columns.</param>
    /// <param name="layer">Its layer, or -1.</param>
    /// <param name="layers">Layers of the model.</param>
    public WeightFormat FormatOf(string name, int cols, int layer, int layers)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (name.EndsWith("mlp.gate.weight", StringComparison.Ordinal))
            return WeightFormat.F32;
        if (bulk == WeightFormat.F8_E4M3)
            return layer < 0 || name.Contains("eh_proj", StringComparison.Ordinal) || name.Contains("shared_head", StringComparison.Ordinal) ? WeightFormat.BF16 : bulk;
        var eighth = layers / 8;
        var moreBits = name.StartsWith("lm_head", StringComparison.Ordinal)
            || (name.Contains("down_proj", StringComparison.Ordinal) && (layer < eighth || layer >= 7 * eighth || (layer - eighth) % 3 == 2));
        return Fit(moreBits ? better : bulk, cols);
    }

    /// <summary>The format, or the one that stands in for it where <paramref name="cols"/> is no multiple of its block length.</summary>
    public static WeightFormat Fit(WeightFormat format, int cols)
    {
        if (cols % WeightFormats.BlockLength(format) == 0)
            return format;
        var fallback = format switch
        {
            WeightFormat.Q2_K or WeightFormat.Q3_K or WeightFormat.IQ4_XS => WeightFormat.IQ4_NL,
            WeightFormat.Q4_K => WeightFormat.Q5_0,
            WeightFormat.Q5_K => WeightFormat.Q5_1,
            WeightFormat.Q6_K => WeightFormat.Q8_0,
            _ => WeightFormat.F16,
        };
        return cols % WeightFormats.BlockLength(fallback) == 0 ? fallback : WeightFormat.F16;
    }
}
