using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;

namespace Hadal.Training.Model;

/// <summary>
/// DeepSeekMoE, forward and backward: shared experts for every token plus K of E routed ones (DeepSeek-V3 report equation 12). Tokens are grouped by expert;
/// none is dropped.
/// </summary>
internal sealed class MixtureOfExperts : IFeedForward
{
    private readonly ModelMemory memory;
    private readonly string name;
    private readonly GatedUnits experts;
    private readonly GatedUnits? shared;
    private readonly int k;
    private readonly int[] boundaries;
    private readonly int[] tokens_P;
    private readonly int[] places_TK;
    private readonly float[] weights_P;
    private readonly float[] dweights_P;
    private readonly float[] dweights_TK;

    /// <summary>Finds the layer's weights.</summary>
    /// <param name="memory">Of the model.</param>
    /// <param name="prefix">Names up to <c>.gate</c>, <c>.experts</c> and <c>.shared_experts</c>.</param>
    /// <param name="bias">The router's bias, or null.</param>
    /// <param name="name">What the layer is called for a probe.</param>
    public MixtureOfExperts(ModelMemory memory, string prefix, float[]? bias, string name)
    {
        this.memory = memory;
        this.name = name;
        var config = memory.Config;
        k = config.NumExpertsPerTok;
        var pairs = memory.Options.MaxTokens * k;
        Router = new Router(memory, $"{prefix}.gate", bias);
        experts = new GatedUnits(memory, [.. Enumerable.Range(0, config.NRoutedExperts).Select(e => $"{prefix}.experts.{e}")], config.MoeIntermediateSize, pairs);
        if (config.NSharedExperts > 0)
            shared = new GatedUnits(memory, [$"{prefix}.shared_experts"], config.NSharedExperts * config.MoeIntermediateSize, memory.Options.MaxTokens);
        boundaries = new int[config.NRoutedExperts + 1];
        (tokens_P, places_TK, weights_P, dweights_P, dweights_TK) = (new int[pairs], new int[pairs], new float[pairs], new float[pairs], new float[pairs]);
    }

    /// <summary>Choices, counts and balance losses of the last pass.</summary>
    public Router Router { get; }

    /// <inheritdoc/>
    public void Forward(MatrixView x, MatrixView residual, MatrixView output, RowLayout layout)
    {
        var (t, d) = (layout.Rows, memory.Config.HiddenSize);
        Router.Forward(x, layout);
        GroupByExpert(t);
        var routed_PD = memory.Scratch.Take(Slot.ExpertOutput, WeightFormat.F32, t * k, d);
        experts.Group(boundaries);
        experts.Forward(x, tokens_P, weights_P, routed_PD);
        var shared_TD = shared is null ? default : memory.Scratch.Take(Slot.SharedOutput, WeightFormat.F32, t, d);
        shared?.Group([0, t]);
        shared?.Forward(x, rows: null, weights: null, shared_TD);
        RowKernels.Combine(residual, shared_TD, routed_PD, places_TK, output, memory.Threads);
    }

    /// <inheritdoc/>
    public void Backward(MatrixView doutput, MatrixView x, MatrixView dx, RowLayout layout, float lossScale)
    {
        var (t, d) = (layout.Rows, memory.Config.HiddenSize);
        var dinput_PD = memory.Scratch.Take(Slot.ExpertInputGradient, WeightFormat.F32, t * k, d);
        experts.Backward(doutput, x, tokens_P, weights_P, dweights_P, dinput_PD);
        for (var pair = 0; pair < t * k; pair++)
            dweights_TK[pair] = dweights_P[places_TK[pair]];
        memory.Probe?.Invoke($"{name}.routed_weights", Probed(dweights_TK, t));
        var dshared_TD = shared is null ? default : memory.Scratch.Take(Slot.SharedInputGradient, WeightFormat.F32, t, d);
        shared?.Group([0, t]);
        shared?.Backward(doutput, x, rows: null, weights: null, dweights: null, dshared_TD);
        Router.Backward(dweights_TK, x, dx, layout, lossScale, name);
        RowKernels.Combine(dx, dshared_TD, dinput_PD, places_TK, dx, memory.Threads);
    }

    private MatrixView Probed(float[] values, int rows)
    {
        var view = memory.Scratch.Take(Slot.RouterGradient, WeightFormat.F32, rows, k);
        for (var t = 0; t < rows; t++)
            values.AsSpan(t * k, k).CopyTo(view.Row(t));
        return view;
    }

    // A counting sort: expert e has places boundaries[e] to boundaries[e + 1], filled in the order of tokens.
    private void GroupByExpert(int tokens)
    {
        boundaries[0] = 0;
        for (var e = 0; e < Router.Counts.Length; e++)
            boundaries[e + 1] = boundaries[e] + Router.Counts[e];
        for (var pair = 0; pair < tokens * k; pair++)
        {
            var place = boundaries[Router.Ids[pair]]++;
            places_TK[pair] = place;
            tokens_P[place] = pair / k;
            weights_P[place] = Router.Weights[pair];
        }

        for (var e = Router.Counts.Length; e > 0; e--)
            boundaries[e] = boundaries[e - 1];
        boundaries[0] = 0;
    }
}
