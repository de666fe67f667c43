using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Tests.Formats;

/// <summary>The generic members of a format, called for a format known at run time.</summary>
internal static class FormatActions
{
    /// <summary>The formats that GGUF files bring: all but the plain floats and E4M3.</summary>
    public static readonly WeightFormat[] Blocked = [.. Enum.GetValues<WeightFormat>().Where(f => WeightFormats.BlockLength(f) > 1)];

    /// <summary>Where a block of a GGUF format keeps its F16 scales.</summary>
    public static int[] HalfOffsets(WeightFormat format) => format switch
    {
        WeightFormat.Q2_K => [80, 82],
        WeightFormat.Q3_K => [108],
        WeightFormat.Q6_K => [208],
        WeightFormat.Q4_1 or WeightFormat.Q5_1 or WeightFormat.Q4_K or WeightFormat.Q5_K => [0, 2],
        _ => [0],
    };

    public static float[] DecodeReference(WeightFormat format, ReadOnlySpan<byte> blocks)
    {
        var values = new float[blocks.Length / WeightFormats.BlockBytes(format) * WeightFormats.BlockLength(format)];
        var action = new ReferenceAction { Blocks = blocks, Values = values };
        WeightFormats.Dispatch(format, ref action);
        return values;
    }

    public static float[] Decode(WeightFormat format, ReadOnlySpan<byte> blocks)
    {
        var values = new float[blocks.Length / WeightFormats.BlockBytes(format) * WeightFormats.BlockLength(format)];
        WeightFormats.Decode(format, blocks, values);
        return values;
    }

    /// <summary>FNV-1a, 64 bits.</summary>
    public static ulong Hash(ReadOnlySpan<byte> bytes)
    {
        var hash = 14695981039346656037;
        foreach (var b in bytes)
            hash = unchecked((hash ^ b) * 1099511628211);
        return hash;
    }

    private ref struct ReferenceAction : IFormatAction
    {
        public ReadOnlySpan<byte> Blocks;
        public Span<float> Values;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat> => TFormat.DecodeReference(Blocks, Values);
    }
}
