using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;
using Hadal.Training.Data;
using Hadal.Training.Losses;

namespace Hadal.Training.Model;

/// <summary>
/// The model, forward and backward, in the order of its parts: embedding, layers, final norm, head, MTP modules; then all of it upwards again.
/// </summary>
internal sealed class DeepSeek
{
    private readonly ModelMemory memory;
    private readonly MatrixView embedding_VD;
    private readonly MatrixView dembedding_VD;
    private readonly TransformerLayer[] layers;
    private readonly RmsNormLayer finalNorm;
    private readonly OutputHead head;
    private readonly MultiTokenPrediction[] mtp;
    private readonly RowLayout layout;
    private readonly MatrixView output_TD;
    private readonly MatrixView normed_TD;
    private readonly MatrixView dnormed_TD;

    public DeepSeek(ModelMemory memory, IReadOnlyList<RouterBias> biases)
    {
        this.memory = memory;
        var config = memory.Config;
        float[]? Bias(int layer) => biases.FirstOrDefault(bias => bias.Layer == layer)?.Values;
        embedding_VD = memory.Weight("model.embed_tokens.weight");
        dembedding_VD = memory.Gradient("model.embed_tokens.weight");
        layers = [.. Enumerable.Range(0, config.NumHiddenLayers).Select(layer => new TransformerLayer(memory, layer, Bias(layer), $"layer{layer}"))];
        finalNorm = memory.Norm("model.norm.weight");
        head = new OutputHead(memory);
        mtp = [.. Enumerable.Range(0, config.NumNextnPredictLayers).Select(module => new MultiTokenPrediction(memory, module, Bias(config.NumHiddenLayers + module)))];
        layout = new RowLayout(memory);
        output_TD = memory.Kept(WeightFormat.F32, config.HiddenSize);
        normed_TD = memory.Kept(memory.Operands, config.HiddenSize);
        dnormed_TD = memory.Kept(WeightFormat.F32, config.HiddenSize);
        TokenLosses = new float[memory.Options.MaxTokens];
        Routers = [.. layers.Concat(mtp.Select(module => module.Block)).Where(layer => layer.Router is not null).Select(layer => (layer.Layer, layer.Router!))];
    }

    /// <summary>The routers of all layers that have one, in order.</summary>
    public IReadOnlyList<(int Layer, Router Router)> Routers { get; }

    /// <summary>Cross-entropy of each position of the last pass.</summary>
    public float[] TokenLosses { get; }

    /// <summary>The MTP modules.</summary>
    public IReadOnlyList<MultiTokenPrediction> Mtp => mtp;

    /// <summary>All losses of a batch; with gradients, the heads' part of the backward pass is done with it.</summary>
    /// <param name="batch">Checked tokens.</param>
    /// <param name="lossScale">What the total is multiplied with before it is differentiated; null for a forward pass alone.</param>
    public LossReport Forward(PackedBatch batch, float? lossScale)
    {
        layout.SetMain(batch);
        var t = layout.Rows;
        memory.Threads.Run(t, 16, new MultiTokenPrediction.GatherJob(embedding_VD, layout.Tokens, layers[0].Input(t)));
        for (var i = 0; i < layers.Length; i++)
            layers[i].Forward(i + 1 < layers.Length ? layers[i + 1].Input(t) : output_TD.SliceRows(0, t), layout);
        var normed = normed_TD.SliceRows(0, t);
        finalNorm.Forward(output_TD.SliceRows(0, t), normed);
        var main = head.Apply(normed, layout, TokenLosses, lossScale ?? 0, lossScale is null ? default : dnormed_TD.SliceRows(0, t));

        var weight = mtp.Length == 0 ? 0 : memory.Options.MtpLambda / mtp.Length;
        var mtpLosses = new double[mtp.Length];
        var state = normed;
        for (var k = 0; k < mtp.Length; k++)
        {
            mtpLosses[k] = mtp[k].Forward(batch, embedding_VD, state, head, (lossScale ?? 0) * weight, lossScale is not null);
            state = mtp[k].Normed;
        }

        return new LossReport
        {
            Main = main, ScoredTokens = layout.Scored, Mtp = mtpLosses, MtpWeighted = weight * mtpLosses.Sum(),
            SequenceBalance = Routers.Sum(router => router.Router.Balance.Sequence), BatchBalance = Routers.Sum(router => router.Router.Balance.Batch),
        };
    }

    /// <summary>Everything upwards from the heads, after a <see cref="Forward"/> with the same scale.</summary>
    public void Backward(float lossScale)
    {
        var t = layout.Rows;
        var dnormed = dnormed_TD.SliceRows(0, t);
        for (var k = mtp.Length - 1; k >= 0; k--)
            mtp[k].Backward(dembedding_VD, k == 0 ? dnormed : mtp[k - 1].NormedGradient, lossScale);
        memory.Probe?.Invoke("normed", dnormed);
        var gradient = memory.Scratch.Take(Slot.ResidualGradient, WeightFormat.F32, t, memory.Config.HiddenSize);
        finalNorm.Backward(dnormed, output_TD.SliceRows(0, t), gradient, accumulate: false);
        for (var i = layers.Length - 1; i >= 0; i--)
            layers[i].Backward(gradient, layout, lossScale);
        memory.Probe?.Invoke("embed", gradient);
        RowKernels.AddByToken(gradient, layout.Tokens, dembedding_VD, memory.Threads);
    }
}
