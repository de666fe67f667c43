using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;

namespace Hadal.Training.Model;

/// <summary>
/// One layer: x + attention(norm(x)), then + feed-forward(norm(x)). It keeps the residual stream at its two norms; their outputs are kept as operands, or
/// computed again.
/// </summary>
internal sealed class TransformerLayer
{
    private readonly ModelMemory memory;
    private readonly bool recompute;
    private readonly string name;
    private readonly RmsNormLayer attentionNorm;
    private readonly RmsNormLayer feedForwardNorm;
    private readonly IAttention attention;
    private readonly IFeedForward feedForward;
    private readonly MatrixView input_TD;
    private readonly MatrixView middle_TD;
    private readonly MatrixView normed_TD;
    private readonly MatrixView middleNormed_TD;

    /// <summary>Finds the layer's weights.</summary>
    /// <param name="memory">Of the model.</param>
    /// <param name="layer">Layer; MTP modules follow the main model.</param>
    /// <param name="bias">The router's bias, or null.</param>
    /// <param name="name">What the layer is called for a probe.</param>
    public TransformerLayer(ModelMemory memory, int layer, float[]? bias, string name)
    {
        this.memory = memory;
        this.name = name;
        recompute = memory.Options.Recompute.HasFlag(Recompute.Norms);
        var prefix = $"model.layers.{layer}";
        var d = memory.Config.HiddenSize;
        attentionNorm = memory.Norm($"{prefix}.input_layernorm.weight");
        feedForwardNorm = memory.Norm($"{prefix}.post_attention_layernorm.weight");
        attention = memory.Config.IsLatentAttention ? new LatentAttention(memory, $"{prefix}.self_attn") : new GroupedQueryAttention(memory, $"{prefix}.self_attn");
        feedForward = memory.Config.IsMoeLayer(layer) ? new MixtureOfExperts(memory, $"{prefix}.mlp", bias, name) : new FeedForward(memory, $"{prefix}.mlp");
        Layer = layer;
        input_TD = memory.Kept(WeightFormat.F32, d);
        middle_TD = memory.Kept(WeightFormat.F32, d);
        if (recompute)
            return;
        normed_TD = memory.Kept(memory.Operands, d);
        middleNormed_TD = memory.Kept(memory.Operands, d);
    }

    /// <summary>Its number.</summary>
    public int Layer { get; }

    /// <summary>The router, where the layer has one.</summary>
    public Router? Router => (feedForward as MixtureOfExperts)?.Router;

    /// <summary>Where the residual stream is to be put before <see cref="Forward"/>: F32 [T, D].</summary>
    public MatrixView Input(int rows) => input_TD.SliceRows(0, rows);

    /// <summary>Runs the layer on <see cref="Input"/>.</summary>
    /// <param name="output">F32 [T, D]: the residual stream behind it.</param>
    /// <param name="layout">Sequences and positions.</param>
    public void Forward(MatrixView output, RowLayout layout)
    {
        var t = layout.Rows;
        var middle = middle_TD.SliceRows(0, t);
        var normed = Normed(Slot.Normed, normed_TD, t);
        attentionNorm.Forward(Input(t), normed);
        RowKernels.Copy(Input(t), middle, memory.Threads);
        attention.Forward(normed, middle, layout);
        var middleNormed = Normed(Slot.MiddleNormed, middleNormed_TD, t);
        feedForwardNorm.Forward(middle, middleNormed);
        feedForward.Forward(middleNormed, middle, output, layout);
    }

    /// <summary>Carries the gradient of the residual stream from behind the layer to before it.</summary>
    /// <param name="gradient">F32 [T, D], in place.</param>
    /// <param name="layout">As in the forward pass.</param>
    /// <param name="lossScale">What balance losses are multiplied with.</param>
    public void Backward(MatrixView gradient, RowLayout layout, float lossScale)
    {
        memory.Probe?.Invoke($"{name}.hidden", gradient);
        var t = layout.Rows;
        var middle = middle_TD.SliceRows(0, t);
        var dnormed = memory.Scratch.Take(Slot.NormedGradient, WeightFormat.F32, t, gradient.Cols);
        var middleNormed = Normed(Slot.MiddleNormed, middleNormed_TD, t);
        if (recompute)
            feedForwardNorm.Forward(middle, middleNormed);
        feedForward.Backward(Operand(gradient), middleNormed, dnormed, layout, lossScale);
        feedForwardNorm.Backward(dnormed, middle, gradient, accumulate: true);

        var normed = Normed(Slot.Normed, normed_TD, t);
        if (recompute)
            attentionNorm.Forward(Input(t), normed);
        attention.Backward(Operand(gradient), normed, dnormed, layout);
        attentionNorm.Backward(dnormed, Input(t), gradient, accumulate: true);
    }

    private MatrixView Normed(Slot slot, MatrixView kept, int rows) =>
        recompute ? memory.Scratch.Take(slot, memory.Operands, rows, memory.Config.HiddenSize) : kept.SliceRows(0, rows);

    // The gradient is read as an operand before anything is added to it.
    private MatrixView Operand(MatrixView gradient)
    {
        if (memory.Operands == WeightFormat.F32)
            return gradient;
        var operand = memory.Scratch.Take(Slot.OutputOperand, memory.Operands, gradient.Rows, gradient.Cols);
        RowKernels.Copy(gradient, operand, memory.Threads);
        return operand;
    }
}
