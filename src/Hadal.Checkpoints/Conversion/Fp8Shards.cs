using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Conversion;

/// <summary>One file of an FP8 folder: its tensors, each followed by its scales.</summary>
/// <param name="Tensors">The source's tensors that go into it.</param>
/// <param name="Entries">What the file will hold.</param>
internal sealed record Fp8Shard(IReadOnlyList<TensorEntry> Tensors, IReadOnlyList<SafetensorsEntry> Entries)
{
    /// <summary>Bytes of all tensors.</summary>
    public long ByteLength => Entries.Sum(entry => entry.ByteLength);
}

/// <summary>Distributes the tensors of a model over files.</summary>
internal static class Fp8Shards
{
    /// <summary>Fills files one after another up to <paramref name="shardBytes"/>; weight and scales stay together.</summary>
    public static IReadOnlyList<Fp8Shard> Plan(IReadOnlyList<TensorEntry> tensors, long shardBytes, Func<string, bool> isQuantized)
    {
        var shards = new List<Fp8Shard>();
        var current = (Tensors: new List<TensorEntry>(), Entries: new List<SafetensorsEntry>());
        var bytes = 0L;
        foreach (var tensor in tensors)
        {
            SafetensorsEntry[] entries = isQuantized(tensor.Name) ? Quantized(tensor) : [new SafetensorsEntry(tensor.Name, Dtype(tensor.Format), tensor.Shape)];
            var added = entries.Sum(entry => entry.ByteLength);
            if (bytes > 0 && bytes + added > shardBytes)
            {
                shards.Add(new Fp8Shard(current.Tensors, current.Entries));
                current = ([], []);
                bytes = 0;
            }

            current.Tensors.Add(tensor);
            current.Entries.AddRange(entries);
            bytes += added;
        }

        shards.Add(new Fp8Shard(current.Tensors, current.Entries));
        return shards;
    }

    /// <summary>The name of a file, as Hugging Face counts them.</summary>
    public static string NameOf(int index, int count) => count == 1 ? SafetensorsCheckpoint.SingleName : $"model-{index + 1:D5}-of-{count:D6}.safetensors";

    private static SafetensorsEntry[] Quantized(TensorEntry tensor) =>
    [
        new SafetensorsEntry(tensor.Name, SafetensorsDtype.F8_E4M3, tensor.Shape),
        new SafetensorsEntry(
            tensor.Name + SafetensorsCheckpoint.ScaleSuffix,
            SafetensorsDtype.F32,
            [Fp8Blocks.Count(checked((int)tensor.Shape[0])), Fp8Blocks.Count(checked((int)tensor.Shape[1]))]),
    ];

    private static SafetensorsDtype Dtype(WeightFormat format) => format switch
    {
        WeightFormat.F32 => SafetensorsDtype.F32,
        WeightFormat.F16 => SafetensorsDtype.F16,
        WeightFormat.BF16 => SafetensorsDtype.BF16,
        _ => throw new ArgumentOutOfRangeException(nameof(format), format, "not a source of FP8"),
    };
}
