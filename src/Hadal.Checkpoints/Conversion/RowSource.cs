using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Conversion;

/// <summary>
/// The values of a tensor to be written, in its row order whatever the order of the source: groups of rows that can be read independently, so that
/// workers share a tensor and no more than a few groups are in memory.
/// </summary>
internal abstract class RowSource
{
    /// <summary>Independent groups.</summary>
    public abstract int Groups { get; }

    /// <summary>Rows in each group.</summary>
    public abstract int GroupRows { get; }

    /// <summary>Values in each row.</summary>
    public abstract int Cols { get; }

    /// <summary>Floats of scratch that <see cref="Read"/> wants.</summary>
    public virtual int Scratch => 0;

    /// <summary>Hands over the rows as they are stored, where that is what is asked for; else does nothing and returns false.</summary>
    /// <param name="format">The format asked for.</param>
    /// <param name="write">Receives the bytes, piece by piece.</param>
    /// <param name="cancellation">Asked between pieces.</param>
    public virtual bool TryCopy(WeightFormat format, GroupEncoder.SpanAction write, CancellationToken cancellation) => false;

    /// <summary>Reads one group.</summary>
    /// <param name="group">Which.</param>
    /// <param name="values">Receives [GroupRows, Cols].</param>
    /// <param name="scratch"><see cref="Scratch"/> floats.</param>
    public abstract void Read(int group, Span<float> values, Span<float> scratch);
}

/// <summary>A vector, as one row.</summary>
internal sealed class VectorRow(float[] vector) : RowSource
{
    public override int Groups => 1;

    public override int GroupRows => 1;

    public override int Cols => vector.Length;

    public override void Read(int group, Span<float> values, Span<float> scratch) => vector.CopyTo(values);
}

/// <summary>Matrices of the same shape, one below the other: a single matrix, or a stack of experts.</summary>
internal sealed class StackedRows(params WeightMatrix[] parts) : RowSource
{
    public override int Groups => checked(parts.Length * parts[0].Rows);

    public override int GroupRows => 1;

    public override int Cols => parts[0].Cols;

    public override bool TryCopy(WeightFormat format, GroupEncoder.SpanAction write, CancellationToken cancellation)
    {
        if (format == WeightFormat.F8_E4M3 || !Array.TrueForAll(parts, part => part.Format == format))
            return false;
        foreach (var part in parts)
        {
            cancellation.ThrowIfCancellationRequested();
            for (var row = 0; row < part.Rows; row++)
                write(part.Row(row));
        }

        return true;
    }

    public override void Read(int group, Span<float> values, Span<float> scratch) => parts[group / parts[0].Rows].DecodeRow(group % parts[0].Rows, values);
}

/// <summary>Rows of a matrix, some or all, in another order.</summary>
/// <param name="matrix">The matrix.</param>
/// <param name="count">How many rows.</param>
/// <param name="rowOf">From a row to be written to the row of the matrix.</param>
internal sealed class SelectedRows(WeightMatrix matrix, int count, Func<int, int> rowOf) : RowSource
{
    public override int Groups => count;

    public override int GroupRows => 1;

    public override int Cols => matrix.Cols;

    public override void Read(int group, Span<float> values, Span<float> scratch) => matrix.DecodeRow(rowOf(group), values);
}

/// <summary>
/// The key half of kv_b_proj, each head transposed: from [H*(N+U), C] to [H*C, N], the layout of attn_k_b. One head is a group.
/// </summary>
internal sealed class TransposedKeyRows(WeightMatrix keyValueUp, int heads, int nope) : RowSource
{
    public override int Groups => heads;

    public override int GroupRows => keyValueUp.Cols;

    public override int Cols => nope;

    public override int Scratch => keyValueUp.Cols;

    public override void Read(int group, Span<float> values, Span<float> scratch)
    {
        var first = group * (keyValueUp.Rows / heads);
        for (var n = 0; n < nope; n++)
        {
            keyValueUp.DecodeRow(first + n, scratch);
            for (var c = 0; c < scratch.Length; c++)
                values[(c * nope) + n] = scratch[c];
        }
    }
}

/// <summary>kv_b_proj [H*(N+U), C] put together again from attn_k_b [H*C, N] and attn_v_b [H*U, C]. One head is a group.</summary>
internal sealed class JoinedKeyValueRows(WeightMatrix key, WeightMatrix value, int heads) : RowSource
{
    public override int Groups => heads;

    public override int GroupRows => key.Cols + (value.Rows / heads);

    public override int Cols => value.Cols;

    public override int Scratch => key.Cols;

    public override void Read(int group, Span<float> values, Span<float> scratch)
    {
        for (var c = 0; c < Cols; c++)
        {
            key.DecodeRow((group * Cols) + c, scratch);
            for (var n = 0; n < scratch.Length; n++)
                values[(n * Cols) + c] = scratch[n];
        }

        var width = value.Rows / heads;
        for (var u = 0; u < width; u++)
            value.DecodeRow((group * width) + u, values.Slice((key.Cols + u) * Cols, Cols));
    }
}
