using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;
using Hadal.Numerics.Threading;
using Hadal.Training.Losses;
using Hadal.Training.Precision;

namespace Hadal.Training.Model;

/// <summary>
/// One MTP module, forward and backward: from the state at position i and the token k + 1 places on it predicts the token after that one.
/// h' = eh_proj [enorm(Emb(t)) ; hnorm(h)], then a transformer block, shared_head.norm and the shared head. DeepSeek-V3 report equations 21-25, with the
/// embedding first as in the released weights; the state is taken after the norm of the model or module before, as vLLM and SGLang do.
/// </summary>
internal sealed class MultiTokenPrediction
{
    private readonly ModelMemory memory;
    private readonly int module;
    private readonly int hidden;
    private readonly string name;
    private readonly RmsNormLayer embeddingNorm;
    private readonly RmsNormLayer stateNorm;
    private readonly Linear projection;
    private readonly RmsNormLayer headNorm;
    private readonly MatrixView embedded_TD;
    private readonly MatrixView state_TD;
    private readonly MatrixView concatenated_T2D;
    private readonly MatrixView output_TD;
    private readonly MatrixView normed_TD;
    private readonly MatrixView dnormed_TD;

    /// <summary>Finds the module's weights.</summary>
    /// <param name="memory">Of the model.</param>
    /// <param name="module">0-based.</param>
    /// <param name="bias">The router's bias, or null.</param>
    public MultiTokenPrediction(ModelMemory memory, int module, float[]? bias)
    {
        this.memory = memory;
        this.module = module;
        hidden = memory.Config.HiddenSize;
        name = module == 0 ? "mtp" : $"mtp{module}";
        var layer = memory.Config.NumHiddenLayers + module;
        var prefix = $"model.layers.{layer}";
        embeddingNorm = memory.Norm($"{prefix}.enorm.weight");
        stateNorm = memory.Norm($"{prefix}.hnorm.weight");
        projection = memory.Linear($"{prefix}.eh_proj.weight", hidden, 2 * hidden);
        Block = new TransformerLayer(memory, layer, bias, name);
        headNorm = memory.Norm($"{prefix}.shared_head.norm.weight");
        Layout = new RowLayout(memory);
        embedded_TD = memory.Kept(WeightFormat.F32, hidden);
        state_TD = memory.Kept(WeightFormat.F32, hidden);
        concatenated_T2D = memory.Kept(memory.Operands, 2 * hidden);
        output_TD = memory.Kept(WeightFormat.F32, hidden);
        normed_TD = memory.Kept(memory.Operands, hidden);
        dnormed_TD = memory.Kept(WeightFormat.F32, hidden);
        TokenLosses = new float[memory.Options.MaxTokens];
    }

    /// <summary>Its transformer block.</summary>
    public TransformerLayer Block { get; }

    /// <summary>Its rows.</summary>
    public RowLayout Layout { get; }

    /// <summary>Cross-entropy of each row of the last pass.</summary>
    public float[] TokenLosses { get; }

    /// <summary>[T, D] operand: the state after its norm, for the head and the next module.</summary>
    public MatrixView Normed => normed_TD.SliceRows(0, Layout.Rows);

    /// <summary>F32 [T, D]: gradient of <see cref="Normed"/>.</summary>
    public MatrixView NormedGradient => dnormed_TD.SliceRows(0, Layout.Rows);

    /// <summary>Runs the module and its loss; with gradients, <see cref="NormedGradient"/> holds the head's part afterwards.</summary>
    /// <param name="batch">Tokens.</param>
    /// <param name="embedding">F32 [V, D].</param>
    /// <param name="state">[rows of the model or module before, D] operand.</param>
    /// <param name="head">Shared head.</param>
    /// <param name="scale">What the module's mean loss is multiplied with before it is differentiated.</param>
    /// <param name="gradients">Whether a backward pass follows.</param>
    /// <returns>Mean cross-entropy.</returns>
    public double Forward(Data.PackedBatch batch, MatrixView embedding, MatrixView state, OutputHead head, double scale, bool gradients)
    {
        Layout.SetMtp(batch, module);
        var t = Layout.Rows;
        if (t == 0)
            return 0;
        var (embedded, kept, concatenated) = (embedded_TD.SliceRows(0, t), state_TD.SliceRows(0, t), concatenated_T2D.SliceRows(0, t));
        memory.Threads.Run(t, 16, new GatherJob(embedding, Layout.Tokens, embedded));
        memory.Threads.Run(t, 16, new GatherJob(state, Layout.MainRows, kept));
        embeddingNorm.Forward(embedded, concatenated.SliceColumns(0, hidden));
        stateNorm.Forward(kept, concatenated.SliceColumns(hidden, hidden));
        projection.Fprop(concatenated, Block.Input(t), memory.Threads);
        Block.Forward(output_TD.SliceRows(0, t), Layout);
        headNorm.Forward(output_TD.SliceRows(0, t), Normed);
        return head.Apply(Normed, Layout, TokenLosses, scale, gradients ? NormedGradient : default);
    }

    /// <summary>Carries <see cref="NormedGradient"/> back to the embedding and to the state it continued.</summary>
    /// <param name="dembedding">F32 [V, D], added to.</param>
    /// <param name="dstate">F32 [rows of the model or module before, D], added to.</param>
    /// <param name="lossScale">What balance losses are multiplied with.</param>
    public void Backward(MatrixView dembedding, MatrixView dstate, float lossScale)
    {
        var t = Layout.Rows;
        if (t == 0)
            return;
        var (scratch, threads) = (memory.Scratch, memory.Threads);
        memory.Probe?.Invoke($"{name}.normed", NormedGradient);
        var gradient = scratch.Take(Slot.MtpResidualGradient, WeightFormat.F32, t, hidden);
        headNorm.Backward(NormedGradient, output_TD.SliceRows(0, t), gradient, accumulate: false);
        Block.Backward(gradient, Layout, lossScale);
        memory.Probe?.Invoke($"{name}.eh", gradient);
        var operand = gradient;
        if (memory.Operands != WeightFormat.F32)
        {
            operand = scratch.Take(Slot.OutputOperand, memory.Operands, t, hidden);
            RowKernels.Copy(gradient, operand, threads);
        }

        var dconcatenated_T2D = scratch.Take(Slot.Concatenated, WeightFormat.F32, t, 2 * hidden);
        projection.Wgrad(operand, concatenated_T2D.SliceRows(0, t), threads);
        projection.Dgrad(operand, dconcatenated_T2D, threads);
        var dembedded_TD = scratch.Take(Slot.EmbeddingGradient, WeightFormat.F32, t, hidden);
        embeddingNorm.Backward(dconcatenated_T2D.SliceColumns(0, hidden), embedded_TD.SliceRows(0, t), dembedded_TD, accumulate: false);
        memory.Probe?.Invoke($"{name}.embed", dembedded_TD);
        RowKernels.AddByToken(dembedded_TD, Layout.Tokens, dembedding, threads);
        var dkept_TD = scratch.Take(Slot.StateGradient, WeightFormat.F32, t, hidden);
        stateNorm.Backward(dconcatenated_T2D.SliceColumns(hidden, hidden), state_TD.SliceRows(0, t), dkept_TD, accumulate: false);
        RowKernels.ScatterAdd(dkept_TD, Layout.MainRows, dstate, threads);
    }

    internal readonly struct GatherJob(MatrixView source, int[] rows, MatrixView target) : IKernelJob
    {
        public void Invoke(int start, int end, int worker) => RowKernels.Gather(source, rows.AsSpan(start, end - start), target.SliceRows(start, end - start));
    }
}
