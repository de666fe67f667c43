using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Config;

/// <summary>The rotary part of a config.json: <c>rope_theta</c> and <c>rope_scaling</c>, or both in <c>rope_parameters</c> as transformers 5 writes them.</summary>
/// <param name="Theta">Base of the angles.</param>
/// <param name="LinearFactor">Divisor of positions, or 1.</param>
/// <param name="Yarn">YaRN scaling, or null.</param>
internal sealed record ConfigRope(double Theta, double LinearFactor, YarnScaling? Yarn)
{
    /// <summary>Reads it.</summary>
    /// <param name="fields">The configuration.</param>
    /// <param name="yarnAllowed">Whether this family is computed with YaRN.</param>
    /// <param name="linearAllowed">Whether this family is computed with linear scaling.</param>
    public static ConfigRope Read(JsonFields fields, bool yarnAllowed, bool linearAllowed)
    {
        var parameters = fields.Object("rope_parameters");
        var scaling = parameters ?? fields.Object("rope_scaling");

        // The base must exceed 1: YaRN divides by its logarithm.
        var theta = (parameters is not null && parameters.Has("rope_theta") ? parameters : fields).Number("rope_theta", 1.000001, ConfigLimits.Factor, 10000);
        if (scaling is null)
            return new ConfigRope(theta, 1, null);
        switch (Type(scaling))
        {
            case "default":
                return new ConfigRope(theta, 1, null);
            case "linear" when linearAllowed:
                return new ConfigRope(theta, scaling.Number("factor", 1, ConfigLimits.Factor), null);
            case "yarn" when yarnAllowed:
                return new ConfigRope(theta, 1, ReadYarn(scaling));
            case var other:
                throw scaling.Wrong(scaling.Has("rope_type") ? "rope_type" : "type", yarnAllowed ? "yarn or default" : "linear or default", other);
        }
    }

    /// <summary>The kind of scaling; newer files spell the field rope_type, older ones type, some carry both.</summary>
    private static string Type(JsonFields scaling)
    {
        var old = scaling.Text("type");
        var type = scaling.Text("rope_type") ?? old ?? "default";
        return old is null || old == type ? type : throw scaling.Wrong("type", $"the same as rope_type, {type}", old);
    }

    /// <summary>Defaults of DeepseekV2YarnRotaryEmbedding in modeling_deepseek.py.</summary>
    private static YarnScaling ReadYarn(JsonFields scaling) => new()
    {
        Factor = scaling.Number("factor", 1, ConfigLimits.Factor),
        BetaFast = scaling.Number("beta_fast", 1e-6, ConfigLimits.Factor, 32),
        BetaSlow = scaling.Number("beta_slow", 1e-6, ConfigLimits.Factor, 1),
        Mscale = scaling.Number("mscale", 0, ConfigLimits.Factor, 1),
        MscaleAllDim = scaling.Number("mscale_all_dim", 0, ConfigLimits.Factor, 0),
        OriginalMaxPositionEmbeddings = scaling.Int32("original_max_position_embeddings", 1, ConfigLimits.Positions, 4096),
    };
}
