using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Training.Model;

/// <summary>
/// The rows that a stack of layers runs on: B sequences of as many tokens each. The main model runs on all S tokens of a sequence, MTP module k (from 0) on its
/// first S - 1 - k, since it needs the token k + 1 places on.
/// </summary>
internal sealed class RowLayout
{
    private readonly ModelMemory memory;
    private readonly MatrixView cos_TR;
    private readonly MatrixView sin_TR;

    public RowLayout(ModelMemory memory)
    {
        this.memory = memory;
        var rows = memory.Options.MaxTokens;
        cos_TR = memory.Kept(WeightFormat.F32, memory.Rotary.Dimension / 2);
        sin_TR = memory.Kept(WeightFormat.F32, memory.Rotary.Dimension / 2);
        Starts = new int[rows];
        Tokens = new int[rows];
        Targets = new int[rows];
        MainRows = new int[rows];
    }

    /// <summary>B.</summary>
    public int Sequences { get; private set; }

    /// <summary>Tokens of a sequence.</summary>
    public int Length { get; private set; }

    /// <summary>T.</summary>
    public int Rows => Sequences * Length;

    /// <summary>For each row the first position of its sequence that it attends to.</summary>
    public int[] Starts { get; }

    /// <summary>The token that each row embeds.</summary>
    public int[] Tokens { get; }

    /// <summary>The token that each row is scored on; negative for none.</summary>
    public int[] Targets { get; }

    /// <summary>Rows with a target.</summary>
    public int Scored { get; private set; }

    /// <summary>For each row the row of the state it continues: in a stack whose sequences are one token longer (itself in the main model).</summary>
    public int[] MainRows { get; }

    /// <summary>Cosines of each row's position, [T, R/2].</summary>
    public MatrixView Cos => cos_TR.SliceRows(0, Rows);

    /// <summary>Sines of each row's position, [T, R/2].</summary>
    public MatrixView Sin => sin_TR.SliceRows(0, Rows);

    /// <summary>Takes a batch for the main model.</summary>
    public void SetMain(Data.PackedBatch batch)
    {
        Begin(batch.Sequences, batch.SequenceLength);
        for (var row = 0; row < Rows; row++)
            SetRow(row, batch.Positions[row], batch.DocumentStarts[row], batch.Tokens[row], batch.Targets[row], row);
    }

    /// <summary>
    /// Takes a batch for MTP module <paramref name="module"/>: row i embeds token i + 1 + module and is scored on the one after, where it lies in the document
    /// of i. The token behind the last one of a sequence counts as of that one's document.
    /// </summary>
    public void SetMtp(Data.PackedBatch batch, int module)
    {
        var shift = module + 1;
        Begin(batch.Sequences, Math.Max(0, batch.SequenceLength - shift));
        for (var row = 0; row < Rows; row++)
        {
            var (sequence, i) = (row / Length, row % Length);
            var first = sequence * batch.SequenceLength;
            var next = first + i + shift;
            var document = batch.DocumentIds[first + Math.Min(i + shift + 1, batch.SequenceLength - 1)];
            var target = document == batch.DocumentIds[first + i] ? batch.Targets[next] : -1;
            SetRow(row, batch.Positions[first + i], batch.DocumentStarts[first + i], batch.Tokens[next], target, (sequence * (Length + 1)) + i);
        }
    }

    private void Begin(int sequences, int length)
    {
        Sequences = sequences;
        Length = length;
        Scored = 0;
    }

    private void SetRow(int row, int position, int start, int token, int target, int mainRow)
    {
        memory.Rotary.Angles(position, cos_TR.Row(row), sin_TR.Row(row));
        Starts[row] = start;
        Tokens[row] = token;
        Targets[row] = target;
        MainRows[row] = mainRow;
        Scored += target >= 0 ? 1 : 0;
    }
}
