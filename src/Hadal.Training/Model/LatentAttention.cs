using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;
using Hadal.Training.Precision;

namespace Hadal.Training.Model;

/// <summary>
/// Multi-head latent attention (MLA), forward and backward, in the naive form: keys and values are expanded from their latent. DeepSeek-V2 report section 2.1;
/// DeepSeek-V3 report equations 1-11.
/// </summary>
/// <remarks>
/// T tokens, D hidden, H heads, Q q_lora_rank, C kv_lora_rank, N qk_nope, R qk_rope, U v_head_dim. The down-projections of queries, of the latent and of the
/// rotary key are one product: down = [q (Q, or H(N+R) without q_lora) | c_kv (C) | k_rope (R)].
/// </remarks>
internal sealed class LatentAttention : IAttention
{
    private readonly ModelMemory memory;
    private readonly int h;
    private readonly int n;
    private readonly int r;
    private readonly int c;
    private readonly int u;
    private readonly int queryDown;
    private readonly bool recompute;
    private readonly Linear down;
    private readonly RmsNormLayer? queryNorm;
    private readonly Linear? queryUp;
    private readonly RmsNormLayer latentNorm;
    private readonly Linear latentUp;
    private readonly Linear output;
    private readonly MatrixView keptDown_TX;
    private readonly MatrixView queryLatent_TQ;
    private readonly MatrixView latent_TC;
    private readonly MatrixView query_THNR;
    private readonly MatrixView keyValue_THNU;
    private readonly MatrixView heads_THU;
    private readonly MatrixView logSums_TH;

    public LatentAttention(ModelMemory memory, string prefix)
    {
        this.memory = memory;
        var config = memory.Config;
        (h, n, r, c, u) = (config.NumAttentionHeads, config.QkNopeHeadDim, config.QkRopeHeadDim, config.KvLoraRank, config.VHeadDim);
        queryDown = config.QLoraRank ?? h * (n + r);
        recompute = memory.Options.Recompute.HasFlag(Recompute.UpProjections);
        down = memory.Linear($"{prefix}.{(config.QLoraRank is null ? "q_proj" : "q_a_proj")}.weight", queryDown + c + r, config.HiddenSize);
        keptDown_TX = memory.Kept(WeightFormat.F32, down.Outputs);
        if (config.QLoraRank is { } q)
        {
            queryNorm = memory.Norm($"{prefix}.q_a_layernorm.weight");
            queryUp = memory.Linear($"{prefix}.q_b_proj.weight", h * (n + r), q);
            queryLatent_TQ = memory.Kept(memory.Operands, q);
            query_THNR = recompute ? default : memory.Kept(WeightFormat.F32, h * (n + r));
        }

        latentNorm = memory.Norm($"{prefix}.kv_a_layernorm.weight");
        latentUp = memory.Linear($"{prefix}.kv_b_proj.weight", h * (n + u), c);
        latent_TC = memory.Kept(memory.Operands, c);
        keyValue_THNU = recompute ? default : memory.Kept(WeightFormat.F32, h * (n + u));
        output = memory.Linear($"{prefix}.o_proj.weight", config.HiddenSize, h * u);
        heads_THU = memory.Kept(memory.Operands, h * u);
        logSums_TH = memory.Kept(WeightFormat.F32, h);
    }

    /// <inheritdoc/>
    public void Forward(MatrixView x, MatrixView residual, RowLayout layout)
    {
        var t = layout.Rows;
        var down_TX = keptDown_TX.SliceRows(0, t);
        down.Fprop(x, down_TX, memory.Threads);
        queryNorm?.Forward(down_TX.SliceColumns(0, queryDown), queryLatent_TQ.SliceRows(0, t));
        latentNorm.Forward(down_TX.SliceColumns(queryDown, c), latent_TC.SliceRows(0, t));
        RowKernels.Rotate(down_TX.SliceColumns(queryDown + c, r), r, memory.Rotary, layout.Cos, layout.Sin, backward: false, memory.Threads);
        if (queryUp is null)
            RowKernels.Rotate(down_TX.SliceColumns(0, queryDown), n + r, memory.Rotary, layout.Cos, layout.Sin, backward: false, memory.Threads);
        var (query, keyValue) = Expand(layout);
        CausalAttention.Forward(
            Shape(layout), query, keyValue, down_TX.SliceColumns(queryDown + c, r), Values(keyValue), layout.Starts, heads_THU.SliceRows(0, t), logSums_TH.SliceRows(0, t), memory.Threads);
        output.Fprop(heads_THU.SliceRows(0, t), residual, memory.Threads, accumulate: true);
    }

    /// <inheritdoc/>
    public void Backward(MatrixView doutput, MatrixView x, MatrixView dx, RowLayout layout)
    {
        var t = layout.Rows;
        var (scratch, threads) = (memory.Scratch, memory.Threads);
        var down_TX = keptDown_TX.SliceRows(0, t);
        var dheads_THU = scratch.Take(Slot.AttentionGradient, WeightFormat.F32, t, h * u);
        output.Wgrad(doutput, heads_THU.SliceRows(0, t), threads);
        output.Dgrad(doutput, dheads_THU, threads);

        var (query, keyValue) = recompute ? Expand(layout) : (Query(t), KeyValue(t));
        var dquery_THNR = scratch.Take(Slot.QueryGradient, WeightFormat.F32, t, h * (n + r));
        var dkeyValue_THNU = scratch.Take(Slot.KeyValueGradient, WeightFormat.F32, t, h * (n + u));
        var dshared_THR = scratch.Take(Slot.SharedKeyGradient, WeightFormat.F32, t, h * r);
        CausalAttention.Backward(
            Shape(layout), query, keyValue, down_TX.SliceColumns(queryDown + c, r), Values(keyValue), layout.Starts, logSums_TH.SliceRows(0, t), dheads_THU,
            dquery_THNR, dkeyValue_THNU, dshared_THR, Values(dkeyValue_THNU), threads);

        var ddown_TX = scratch.Take(Slot.DownGradient, memory.Operands, t, down.Outputs);
        RowKernels.Rotate(dquery_THNR, n + r, memory.Rotary, layout.Cos, layout.Sin, backward: true, threads);
        if (queryUp is null || queryNorm is null)
        {
            RowKernels.Copy(dquery_THNR, ddown_TX.SliceColumns(0, queryDown), threads);
        }
        else
        {
            var operand = Operand(Slot.QueryOperand, dquery_THNR);
            var dlatent_TQ = scratch.Take(Slot.QueryLatentGradient, WeightFormat.F32, t, queryDown);
            queryUp.Wgrad(operand, queryLatent_TQ.SliceRows(0, t), threads);
            queryUp.Dgrad(operand, dlatent_TQ, threads);
            queryNorm.Backward(dlatent_TQ, down_TX.SliceColumns(0, queryDown), ddown_TX.SliceColumns(0, queryDown), accumulate: false);
        }

        var dkeyValue = Operand(Slot.KeyValueOperand, dkeyValue_THNU);
        var dlatent_TC = scratch.Take(Slot.KeyLatentGradient, WeightFormat.F32, t, c);
        latentUp.Wgrad(dkeyValue, latent_TC.SliceRows(0, t), threads);
        latentUp.Dgrad(dkeyValue, dlatent_TC, threads);
        latentNorm.Backward(dlatent_TC, down_TX.SliceColumns(queryDown, c), ddown_TX.SliceColumns(queryDown, c), accumulate: false);

        var dshared_TR = scratch.Take(Slot.KeyGradient, WeightFormat.F32, t, r);
        RowKernels.SumGroups(dshared_THR, dshared_TR, threads);
        RowKernels.Rotate(dshared_TR, r, memory.Rotary, layout.Cos, layout.Sin, backward: true, threads);
        RowKernels.Copy(dshared_TR, ddown_TX.SliceColumns(queryDown + c, r), threads);

        down.Wgrad(ddown_TX, x, threads);
        down.Dgrad(ddown_TX, dx, threads);
    }

    // Queries (rotated), keys and values from their latents.
    private (MatrixView Query, MatrixView KeyValue) Expand(RowLayout layout)
    {
        var t = layout.Rows;
        var (query, keyValue) = (Query(t), KeyValue(t));
        if (queryUp is not null)
        {
            queryUp.Fprop(queryLatent_TQ.SliceRows(0, t), query, memory.Threads);
            RowKernels.Rotate(query, n + r, memory.Rotary, layout.Cos, layout.Sin, backward: false, memory.Threads);
        }

        latentUp.Fprop(latent_TC.SliceRows(0, t), keyValue, memory.Threads);
        return (query, keyValue);
    }

    private MatrixView Query(int t) => queryUp is null ? keptDown_TX.SliceRows(0, t).SliceColumns(0, queryDown)
        : recompute ? memory.Scratch.Take(Slot.Query, WeightFormat.F32, t, h * (n + r))
        : query_THNR.SliceRows(0, t);

    private MatrixView KeyValue(int t) => recompute ? memory.Scratch.Take(Slot.KeyValue, WeightFormat.F32, t, h * (n + u)) : keyValue_THNU.SliceRows(0, t);

    private MatrixView Values(MatrixView keyValue) => keyValue.SliceColumns(n, (h * (n + u)) - n);

    private MatrixView Operand(Slot slot, MatrixView source)
    {
        if (memory.Operands == WeightFormat.F32)
            return source;
        var operand = memory.Scratch.Take(slot, memory.Operands, source.Rows, source.Cols);
        RowKernels.Copy(source, operand, memory.Threads);
        return operand;
    }

    private AttentionLayout Shape(RowLayout layout) => new()
    {
        Sequences = layout.Sequences, Length = layout.Length, Heads = h, KeyHeads = h, KeyWidth = n, SharedWidth = r, ValueWidth = u, KeyStride = n + u, ValueStride = n + u,
        Scale = Positions.SoftmaxScale(memory.Config), Operands = memory.Operands,
    };
}
