using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;
using Hadal.Numerics.Kernels.Training;
using Hadal.Numerics.Threading;
using Hadal.Training.Precision;

namespace Hadal.Training.Model;

/// <summary>A run of rows that one unit computes.</summary>
internal readonly record struct RowBlock(int Unit, int Start, int Count);

/// <summary>
/// Gated units of one width, down(silu(gate(x)) * up(x)): the experts of a layer, or one shared expert or dense layer alone. Rows are grouped by unit; the
/// products of a unit on a block of rows follow each other while the block is in the cache.
/// </summary>
/// <remarks>
/// P rows in groups, D hidden, F width. A routed expert's weight w is applied before the down-projection: y = down(w a), so that its gradient is the product
/// of a with the gradient of w a, and outputs need only be added.
/// </remarks>
internal sealed class GatedUnits
{
    private readonly ModelMemory memory;
    private readonly Linear[] gateUp;
    private readonly Linear[] down;
    private readonly int hidden;
    private readonly int width;
    private readonly RowBlock[] blocks;
    private readonly int[] starts;
    private readonly MatrixView kept_P2F;
    private int blockCount;

    /// <summary>Finds the units' weights.</summary>
    /// <param name="memory">Of the model.</param>
    /// <param name="prefixes">Names of the units up to <c>.gate_proj.weight</c>.</param>
    /// <param name="width">F.</param>
    /// <param name="maxRows">Most rows of all units together.</param>
    public GatedUnits(ModelMemory memory, IReadOnlyList<string> prefixes, int width, int maxRows)
    {
        this.memory = memory;
        this.width = width;
        hidden = memory.Config.HiddenSize;
        gateUp = [.. prefixes.Select(prefix => memory.Linear($"{prefix}.gate_proj.weight", 2 * width, hidden))];
        down = [.. prefixes.Select(prefix => memory.Linear($"{prefix}.down_proj.weight", hidden, width))];
        blocks = new RowBlock[(maxRows / ThreadedGemm.RowBlock) + prefixes.Count + 1];
        starts = new int[prefixes.Count + 1];
        kept_P2F = memory.Kept(memory.Operands, 2 * width, maxRows);
    }

    /// <summary>Says which rows belong to which unit.</summary>
    /// <param name="boundaries">[units + 1]: unit e has rows [boundaries[e], boundaries[e + 1]).</param>
    public void Group(ReadOnlySpan<int> boundaries)
    {
        boundaries.CopyTo(starts);
        blockCount = 0;
        for (var unit = 0; unit < gateUp.Length; unit++)
        {
            for (var start = starts[unit]; start < starts[unit + 1]; start += ThreadedGemm.RowBlock)
                blocks[blockCount++] = new RowBlock(unit, start, Math.Min(ThreadedGemm.RowBlock, starts[unit + 1] - start));
        }
    }

    /// <summary>y[p] = down(w[p] a(x[rows[p]])).</summary>
    /// <param name="x">[T, D] operand.</param>
    /// <param name="rows">Row of x for each grouped row; null when they are the same.</param>
    /// <param name="weights">Weight of each grouped row; null for 1.</param>
    /// <param name="y">F32 [P, D].</param>
    public void Forward(MatrixView x, int[]? rows, float[]? weights, MatrixView y) => memory.Threads.Run(blockCount, 1, new ForwardJob(this, x, rows, weights, y));

    /// <summary>Gradients of <see cref="Forward"/>; those of the units' weights are added to.</summary>
    /// <param name="dy">[T, D] operand: gradient of the sum that row rows[p] of x takes part in.</param>
    /// <param name="x">As in the forward pass.</param>
    /// <param name="rows">As in the forward pass.</param>
    /// <param name="weights">As in the forward pass.</param>
    /// <param name="dweights">[P], overwritten; null when there are no weights.</param>
    /// <param name="dx">F32 [P, D], overwritten.</param>
    public void Backward(MatrixView dy, MatrixView x, int[]? rows, float[]? weights, float[]? dweights, MatrixView dx)
    {
        var p = starts[^1];
        var dgateUp_P2F = memory.Scratch.Take(Slot.GateUpGradient, memory.Operands, p, 2 * width);
        var activation_PF = memory.Scratch.Take(Slot.Activation, memory.Operands, p, width);
        memory.Threads.Run(blockCount, 1, new BackwardJob(this, dy, rows, weights, dweights, dgateUp_P2F, activation_PF, dx));
        memory.Threads.Run(gateUp.Length * (gateUp[0].GradientBlocks + down[0].GradientBlocks), 1, new WeightJob(this, dy, x, rows, dgateUp_P2F, activation_PF));
    }

    private readonly struct ForwardJob(GatedUnits units, MatrixView x, int[]? rows, float[]? weights, MatrixView y) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (hidden, width, operands) = (units.hidden, units.width, units.memory.Operands);
            for (var i = start; i < end; i++)
            {
                var (unit, first, count) = units.blocks[i];
                var own = new WorkerMemory(
                    units.memory.Threads, worker,
                    WorkerMemory.Bytes(operands, count, hidden) + WorkerMemory.Bytes(WeightFormat.F32, count, 2 * width) + WorkerMemory.Bytes(operands, count, width));
                MatrixView input;
                if (rows is null)
                {
                    input = x.SliceRows(first, count);
                }
                else
                {
                    input = own.View(operands, count, hidden);
                    RowKernels.Gather(x, rows.AsSpan(first, count), input);
                }

                var gateUp = own.View(WeightFormat.F32, count, 2 * width);
                units.gateUp[unit].FpropBlock(input, gateUp);
                var activation = own.View(operands, count, width);
                SwiGluTraining.Forward(gateUp, weights is null ? [] : weights.AsSpan(first, count), units.kept_P2F.SliceRows(first, count), activation);
                units.down[unit].FpropBlock(activation, y.SliceRows(first, count));
            }
        }
    }

    private readonly struct BackwardJob(
        GatedUnits units, MatrixView dy, int[]? rows, float[]? weights, float[]? dweights, MatrixView dgateUp, MatrixView activation, MatrixView dx) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (hidden, width, operands) = (units.hidden, units.width, units.memory.Operands);
            for (var i = start; i < end; i++)
            {
                var (unit, first, count) = units.blocks[i];
                var own = new WorkerMemory(units.memory.Threads, worker, WorkerMemory.Bytes(operands, count, hidden) + WorkerMemory.Bytes(WeightFormat.F32, count, width));
                MatrixView output;
                if (rows is null)
                {
                    output = dy.SliceRows(first, count);
                }
                else
                {
                    output = own.View(operands, count, hidden);
                    RowKernels.Gather(dy, rows.AsSpan(first, count), output);
                }

                var dactivation = own.View(WeightFormat.F32, count, width);
                units.down[unit].DgradBlock(output, dactivation);
                var gradient = dgateUp.SliceRows(first, count);
                SwiGluTraining.Backward(
                    units.kept_P2F.SliceRows(first, count), weights is null ? [] : weights.AsSpan(first, count), dactivation,
                    dweights is null ? [] : dweights.AsSpan(first, count), gradient, activation.SliceRows(first, count));
                units.gateUp[unit].DgradBlock(gradient, dx.SliceRows(first, count));
            }
        }
    }

    private readonly struct WeightJob(GatedUnits units, MatrixView dy, MatrixView x, int[]? rows, MatrixView dgateUp, MatrixView activation) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var ofGateUp = units.gateUp[0].GradientBlocks;
            var each = ofGateUp + units.down[0].GradientBlocks;
            for (var i = start; i < end; i++)
            {
                var (unit, block) = (i / each, i % each);
                var (first, count) = (units.starts[unit], units.starts[unit + 1] - units.starts[unit]);
                if (count == 0)
                    continue;
                var of = rows is null ? [] : rows.AsSpan(first, count);
                var (from, to) = rows is null ? (x.SliceRows(first, count), dy.SliceRows(first, count)) : (x, dy);
                if (block < ofGateUp)
                    units.gateUp[unit].WgradBlock(block, dgateUp.SliceRows(first, count), [], from, of, units.memory.Threads, worker);
                else
                    units.down[unit].WgradBlock(block - ofGateUp, to, of, activation.SliceRows(first, count), [], units.memory.Threads, worker);
            }
        }
    }
}
