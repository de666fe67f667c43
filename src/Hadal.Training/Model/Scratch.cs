using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Training.Model;

/// <summary>What the memory of a <see cref="Scratch"/> is for; two uses that live at the same time have different names.</summary>
internal enum Slot
{
    Normed,
    MiddleNormed,
    Query,
    KeyValue,
    ResidualGradient,
    OutputOperand,
    AttentionGradient,
    QueryGradient,
    KeyValueGradient,
    SharedKeyGradient,
    KeyGradient,
    QueryOperand,
    KeyValueOperand,
    QueryLatentGradient,
    KeyLatentGradient,
    DownGradient,
    NormedGradient,
    NormPartial,
    ExpertOutput,
    SharedOutput,
    ExpertInputGradient,
    SharedInputGradient,
    GateUpGradient,
    Activation,
    RouterInput,
    RouterGradient,
    Logits,
    LogitGradient,
    Concatenated,
    MtpResidualGradient,
    StateGradient,
    EmbeddingGradient,
}

/// <summary>Memory that every layer uses in turn. It grows to the largest use and stays there: after the first step nothing is allocated.</summary>
internal sealed class Scratch : IDisposable
{
    private readonly NativeBuffer?[] buffers = new NativeBuffer?[Enum.GetValues<Slot>().Length];

    /// <summary>Bytes taken from the system.</summary>
    public long ByteLength => buffers.Sum(buffer => buffer?.ByteLength ?? 0);

    /// <summary>Rows with undefined contents, valid until the slot is taken again. BF16 rows of odd width have room for one more value.</summary>
    public MatrixView Take(Slot slot, WeightFormat format, int rows, int cols)
    {
        var stride = format == WeightFormat.BF16 && cols % 2 != 0 ? cols + 1 : cols;
        var bytes = (long)rows * stride * (format == WeightFormat.F32 ? 4 : 2);
        ref var buffer = ref buffers[(int)slot];
        if (buffer is null || buffer.ByteLength < bytes)
        {
            buffer?.Dispose();
            buffer = null;
            buffer = new NativeBuffer(bytes);
        }

        return MatrixView.Over(buffer, 0, format, rows, stride).SliceColumns(0, cols);
    }

    public void Dispose()
    {
        foreach (var buffer in buffers)
            buffer?.Dispose();
    }
}
