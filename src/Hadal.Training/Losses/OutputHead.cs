using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;
using Hadal.Training.Model;
using Hadal.Training.Precision;

namespace Hadal.Training.Losses;

/// <summary>
/// The head and its cross-entropy, forward and backward at once, a block of rows at a time: logits exist for one block only and are overwritten by their
/// gradient. Shared by the main model and the MTP modules.
/// </summary>
internal sealed class OutputHead
{
    // Logits of a block: 16 MB, but at least 96 rows.
    private const int BlockValues = 1 << 22;
    private const int LeastRows = 96;

    private readonly ModelMemory memory;
    private readonly Linear head;
    private readonly int blockRows;

    public OutputHead(ModelMemory memory)
    {
        this.memory = memory;
        var config = memory.Config;
        head = memory.Linear(config.TieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight", config.VocabSize, config.HiddenSize);
        blockRows = Math.Max(LeastRows, BlockValues / config.VocabSize / LeastRows * LeastRows);
    }

    /// <summary>The mean cross-entropy of rows with a target and, where asked for, gradients.</summary>
    /// <param name="normed">[T, D] operand.</param>
    /// <param name="layout">Targets.</param>
    /// <param name="tokenLosses">[T] or more: the loss of each row, 0 where there is no target.</param>
    /// <param name="scale">What the mean is multiplied with before it is differentiated.</param>
    /// <param name="dnormed">F32 [T, D], overwritten; empty when no gradient is wanted.</param>
    public double Apply(MatrixView normed, RowLayout layout, float[] tokenLosses, double scale, MatrixView dnormed)
    {
        var sum = 0.0;
        var each = layout.Scored == 0 ? 0 : (float)(scale / layout.Scored);
        for (var start = 0; start < layout.Rows; start += blockRows)
        {
            var rows = Math.Min(blockRows, layout.Rows - start);
            var x = normed.SliceRows(start, rows);
            var logits = memory.Scratch.Take(Slot.Logits, WeightFormat.F32, rows, head.Outputs);
            head.Fprop(x, logits, memory.Threads);
            var gradient = dnormed.IsEmpty ? default
                : memory.Operands == WeightFormat.F32 ? logits
                : memory.Scratch.Take(Slot.LogitGradient, memory.Operands, rows, head.Outputs);
            CrossEntropy.Apply(logits, layout.Targets.AsSpan(start, rows), tokenLosses.AsSpan(start, rows), gradient, each, memory.Threads);
            foreach (var loss in tokenLosses.AsSpan(start, rows))
                sum += loss;
            if (dnormed.IsEmpty)
                continue;
            if (start == 0)
                memory.Probe?.Invoke("logits", gradient);
            head.Wgrad(gradient, x, memory.Threads);
            head.Dgrad(gradient, dnormed.SliceRows(start, rows), memory.Threads);
        }

        return layout.Scored == 0 ? 0 : sum / layout.Scored;
    }
}
