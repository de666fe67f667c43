using System.Text.RegularExpressions;

namespace Hadal.Checkpoints;

/// <summary>
/// Parameters of a checkpoint, counted as DeepSeek counts them (README_WEIGHTS of deepseek-ai/DeepSeek-V3): embedding and head included, a tied head once,
/// FP8 block scales not at all.
/// </summary>
/// <param name="Total">Parameters of the main model.</param>
/// <param name="Activated">Of them, those that one token meets: routed experts count by num_experts_per_tok of n_routed_experts.</param>
/// <param name="Mtp">Parameters stored for the MTP modules, their copies of embedding and head included.</param>
public sealed partial record ParameterCount(long Total, long Activated, long Mtp)
{
    /// <summary>Counts the tensors of a checkpoint.</summary>
    public static ParameterCount Of(Checkpoint checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        var config = checkpoint.Config;
        long shared = 0, routed = 0, mtp = 0;
        foreach (var tensor in checkpoint.Tensors)
        {
            var count = tensor.Shape.Aggregate(1L, static (product, dimension) => checked(product * dimension));
            if (Layer().Match(tensor.Name) is { Success: true } layer && int.Parse(layer.Groups[1].ValueSpan) >= config.NumHiddenLayers)
                mtp += count;
            else if (tensor.Name.Contains(".mlp.experts.", StringComparison.Ordinal))
                routed += count;
            else
                shared += count;
        }

        var activated = routed == 0 ? 0 : (long)((Int128)routed * config.NumExpertsPerTok / config.NRoutedExperts);
        return new ParameterCount(shared + routed, shared + activated, mtp);
    }

    [GeneratedRegex(@"^model\.layers\.(\d{1,9})\.")]
    private static partial Regex Layer();
}
