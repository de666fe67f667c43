using Hadal.Numerics.Kernels;

namespace Hadal.Checkpoints.Config;

/// <summary>Rotary embedding and softmax scale as a configuration asks for them.</summary>
public static class Positions
{
    /// <summary>The rotary embedding of a model.</summary>
    public static RotaryEmbedding Rotary(ModelConfig config)
    {
        var dimension = config.IsLatentAttention ? config.QkRopeHeadDim : config.HeadDim;
        if (config.RopeScaling is { } yarn)
        {
            var frequencies = RotaryEmbedding.YarnFrequencies(dimension, config.RopeTheta, yarn.Factor, yarn.BetaFast, yarn.BetaSlow, yarn.OriginalMaxPositionEmbeddings);
            return new RotaryEmbedding(frequencies, config.RopeInterleaved, YarnMscale(yarn.Factor, yarn.Mscale) / YarnMscale(yarn.Factor, yarn.MscaleAllDim));
        }

        var plain = RotaryEmbedding.PlainFrequencies(dimension, config.RopeTheta);
        for (var i = 0; i < plain.Length; i++)
            plain[i] /= config.RopeLinearFactor;
        return new RotaryEmbedding(plain, config.RopeInterleaved);
    }

    /// <summary>1 / sqrt(width of a query head), times the square of YaRN's m.</summary>
    public static float SoftmaxScale(ModelConfig config)
    {
        if (!config.IsLatentAttention)
            return (float)(1 / Math.Sqrt(config.HeadDim));
        var m = config.RopeScaling is { } yarn ? YarnMscale(yarn.Factor, yarn.MscaleAllDim) : 1;
        return (float)(m * m / Math.Sqrt(config.QkNopeHeadDim + config.QkRopeHeadDim));
    }

    // m = 0.1 mscale ln(s) + 1 (deepseek-ai/DeepSeek-V3 inference/model.py, class MLA).
    private static double YarnMscale(double factor, double mscale) => factor <= 1 ? 1 : (0.1 * mscale * Math.Log(factor)) + 1;
}
