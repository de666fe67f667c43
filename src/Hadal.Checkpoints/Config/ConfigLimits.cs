namespace Hadal.Checkpoints.Config;

/// <summary>
/// The largest dimensions taken from a file. Each is far above any published model, and small enough that products of two or three of them fit the
/// integers they are computed in.
/// </summary>
internal static class ConfigLimits
{
    /// <summary>Vocabulary rows.</summary>
    public const int Vocab = 1 << 24;

    /// <summary>Widths of layers, ranks, experts.</summary>
    public const int Width = 1 << 20;

    /// <summary>Layers.</summary>
    public const int Layers = 1 << 12;

    /// <summary>Attention heads.</summary>
    public const int Heads = 1 << 12;

    /// <summary>Width of one head.</summary>
    public const int HeadDim = 1 << 13;

    /// <summary>Routed experts.</summary>
    public const int Experts = 1 << 16;

    /// <summary>Positions.</summary>
    public const int Positions = 1 << 30;

    /// <summary>Factors such as rope_theta or routed_scaling_factor.</summary>
    public const double Factor = 1e12;
}
