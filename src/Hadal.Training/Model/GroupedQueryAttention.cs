using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;
using Hadal.Training.Precision;

namespace Hadal.Training.Model;

/// <summary>
/// Attention of the dense DeepSeek LLM (Llama), forward and backward: H query heads share G key/value heads of width A. DeepSeek LLM report section 2.2;
/// grouped-query attention, arXiv 2305.13245.
/// </summary>
/// <remarks>Queries, keys and values are one product: [q (H A) | k (G A) | v (G A)].</remarks>
internal sealed class GroupedQueryAttention : IAttention
{
    private readonly ModelMemory memory;
    private readonly int h;
    private readonly int g;
    private readonly int a;
    private readonly Linear input;
    private readonly Linear output;
    private readonly MatrixView projected_TX;
    private readonly MatrixView heads_THA;
    private readonly MatrixView logSums_TH;

    public GroupedQueryAttention(ModelMemory memory, string prefix)
    {
        this.memory = memory;
        var config = memory.Config;
        (h, g, a) = (config.NumAttentionHeads, config.NumKeyValueHeads, config.HeadDim);
        input = memory.Linear($"{prefix}.q_proj.weight", (h + (2 * g)) * a, config.HiddenSize);
        output = memory.Linear($"{prefix}.o_proj.weight", config.HiddenSize, h * a);
        projected_TX = memory.Kept(WeightFormat.F32, input.Outputs);
        heads_THA = memory.Kept(memory.Operands, h * a);
        logSums_TH = memory.Kept(WeightFormat.F32, h);
    }

    /// <inheritdoc/>
    public void Forward(MatrixView x, MatrixView residual, RowLayout layout)
    {
        var t = layout.Rows;
        var projected = projected_TX.SliceRows(0, t);
        input.Fprop(x, projected, memory.Threads);
        RowKernels.Rotate(projected.SliceColumns(0, (h + g) * a), a, memory.Rotary, layout.Cos, layout.Sin, backward: false, memory.Threads);
        CausalAttention.Forward(
            Shape(layout), Query(projected), Key(projected), default, Value(projected), layout.Starts, heads_THA.SliceRows(0, t), logSums_TH.SliceRows(0, t), memory.Threads);
        output.Fprop(heads_THA.SliceRows(0, t), residual, memory.Threads, accumulate: true);
    }

    /// <inheritdoc/>
    public void Backward(MatrixView doutput, MatrixView x, MatrixView dx, RowLayout layout)
    {
        var t = layout.Rows;
        var (scratch, threads) = (memory.Scratch, memory.Threads);
        var projected = projected_TX.SliceRows(0, t);
        var dheads_THA = scratch.Take(Slot.AttentionGradient, WeightFormat.F32, t, h * a);
        output.Wgrad(doutput, heads_THA.SliceRows(0, t), threads);
        output.Dgrad(doutput, dheads_THA, threads);
        var dprojected = scratch.Take(Slot.QueryGradient, WeightFormat.F32, t, input.Outputs);
        CausalAttention.Backward(
            Shape(layout), Query(projected), Key(projected), default, Value(projected), layout.Starts, logSums_TH.SliceRows(0, t), dheads_THA,
            Query(dprojected), Key(dprojected), default, Value(dprojected), threads);
        RowKernels.Rotate(dprojected.SliceColumns(0, (h + g) * a), a, memory.Rotary, layout.Cos, layout.Sin, backward: true, threads);
        var operand = dprojected;
        if (memory.Operands != WeightFormat.F32)
        {
            operand = scratch.Take(Slot.QueryOperand, memory.Operands, t, input.Outputs);
            RowKernels.Copy(dprojected, operand, threads);
        }

        input.Wgrad(operand, x, threads);
        input.Dgrad(operand, dx, threads);
    }

    private MatrixView Query(MatrixView projected) => projected.SliceColumns(0, h * a);

    private MatrixView Key(MatrixView projected) => projected.SliceColumns(h * a, g * a);

    private MatrixView Value(MatrixView projected) => projected.SliceColumns((h + g) * a, g * a);

    private AttentionLayout Shape(RowLayout layout) => new()
    {
        Sequences = layout.Sequences, Length = layout.Length, Heads = h, KeyHeads = g, KeyWidth = a, SharedWidth = 0, ValueWidth = a, KeyStride = a, ValueStride = a,
        Scale = Positions.SoftmaxScale(memory.Config), Operands = memory.Operands,
    };
}
