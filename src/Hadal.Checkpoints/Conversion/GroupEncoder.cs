using System.Numerics.Tensors;
using Hadal.Checkpoints.Files;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Conversion;

/// <summary>
/// Encodes a <see cref="RowSource"/> with all threads of a pool, a few megabytes at a time: bytes come out in order, the same for any number of threads.
/// </summary>
internal sealed class GroupEncoder(KernelThreads threads)
{
    /// <summary>Encoded bytes held at a time, unless one group takes more.</summary>
    private const long ChunkBytes = 8 << 20;

    private byte[] encoded = [];
    private RoundingError[] errors = [];

    /// <summary>Encodes all rows.</summary>
    /// <param name="source">The values.</param>
    /// <param name="format">How to store them; not E4M3.</param>
    /// <param name="name">Name and file of the tensor, for messages.</param>
    /// <param name="write">Receives the bytes, piece by piece.</param>
    /// <param name="cancellation">Asked between pieces.</param>
    /// <exception cref="InvalidDataException">A value is not finite, or becomes infinite in the new format.</exception>
    public RoundingError Encode(RowSource source, WeightFormat format, (string File, string Tensor) name, SpanAction write, CancellationToken cancellation)
    {
        var groupBytes = checked((int)(source.GroupRows * WeightFormats.RowBytes(format, source.Cols)));
        var groupsAtOnce = (int)Math.Clamp(ChunkBytes / groupBytes, 1, source.Groups);
        if (encoded.Length < (long)groupBytes * groupsAtOnce)
            encoded = new byte[groupBytes * groupsAtOnce];
        if (errors.Length < groupsAtOnce)
            errors = new RoundingError[groupsAtOnce];
        var total = default(RoundingError);
        for (var first = 0; first < source.Groups; first += groupsAtOnce)
        {
            cancellation.ThrowIfCancellationRequested();
            var count = Math.Min(groupsAtOnce, source.Groups - first);
            Array.Clear(errors, 0, count);
            threads.Run(count, 1, new Job(threads, source, format, name, first, groupBytes, encoded, errors));
            for (var i = 0; i < count; i++)
                total.Add(errors[i]);
            write(encoded.AsSpan(0, groupBytes * count));
        }

        return total;
    }

    /// <summary>Throws when one of the values is no number.</summary>
    public static void RefuseNonFinite(ReadOnlySpan<float> values, (string File, string Tensor) name)
    {
        if (!TensorPrimitives.IsFiniteAll(values))
            throw BadFile.Tensor(name.File, name.Tensor, "expected finite weights, found NaN or an infinity");
    }

    /// <summary>Takes a piece of encoded bytes.</summary>
    public delegate void SpanAction(ReadOnlySpan<byte> bytes);

    private readonly unsafe struct Job(
        KernelThreads threads,
        RowSource source,
        WeightFormat format,
        (string File, string Tensor) name,
        int first,
        int groupBytes,
        byte[] encoded,
        RoundingError[] errors) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var count = source.GroupRows * source.Cols;
            var memory = new Span<float>(threads.Scratch(worker, ((2L * count) + source.Scratch) * sizeof(float)), (2 * count) + source.Scratch);
            var values = memory[..count];
            var decoded = memory.Slice(count, count);
            for (var i = start; i < end; i++)
            {
                source.Read(first + i, values, memory[(2 * count)..]);
                RefuseNonFinite(values, name);
                var bytes = encoded.AsSpan(i * groupBytes, groupBytes);
                WeightFormats.Encode(format, values, bytes);
                WeightFormats.Decode(format, bytes, decoded);
                if (!TensorPrimitives.IsFiniteAll((ReadOnlySpan<float>)decoded))
                    throw BadFile.Tensor(name.File, name.Tensor, $"expected values that {format} can hold, found one of magnitude {Math.Abs(TensorPrimitives.MaxMagnitude((ReadOnlySpan<float>)values))}; use BF16 or F32");
                errors[i].Add(values, decoded);
            }
        }
    }
}
