using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Gguf;

/// <summary>
/// A tensor type of GGUF (<c>ggml_type</c> in docs/gguf.md of ggml-org/ggml): its number, its name, its block, and the <see cref="WeightFormat"/> that
/// computes with it, if there is one. Types without one are known by size only, so that the rest of a file can still be checked and shown.
/// </summary>
public sealed record GgmlType
{
    private static readonly Dictionary<uint, GgmlType> ById = new GgmlType[]
    {
        Of(0, WeightFormat.F32), Of(1, WeightFormat.F16), Of(30, WeightFormat.BF16),
        Of(2, WeightFormat.Q4_0), Of(3, WeightFormat.Q4_1), Of(6, WeightFormat.Q5_0), Of(7, WeightFormat.Q5_1), Of(8, WeightFormat.Q8_0),
        Of(10, WeightFormat.Q2_K), Of(11, WeightFormat.Q3_K), Of(12, WeightFormat.Q4_K), Of(13, WeightFormat.Q5_K), Of(14, WeightFormat.Q6_K),
        Of(20, WeightFormat.IQ4_NL), Of(23, WeightFormat.IQ4_XS),
        Foreign(9, "Q8_1", 32, 36), Foreign(15, "Q8_K", 256, 292),
        Foreign(16, "IQ2_XXS", 256, 66), Foreign(17, "IQ2_XS", 256, 74), Foreign(18, "IQ3_XXS", 256, 98), Foreign(19, "IQ1_S", 256, 50),
        Foreign(21, "IQ3_S", 256, 110), Foreign(22, "IQ2_S", 256, 82), Foreign(29, "IQ1_M", 256, 56),
        Foreign(24, "I8", 1, 1), Foreign(25, "I16", 1, 2), Foreign(26, "I32", 1, 4), Foreign(27, "I64", 1, 8), Foreign(28, "F64", 1, 8),
        Foreign(34, "TQ1_0", 256, 54), Foreign(35, "TQ2_0", 256, 66), Foreign(39, "MXFP4", 32, 17),
    }.ToDictionary(type => type.Id);

    private readonly int foreignBlockLength;
    private readonly int foreignBlockBytes;

    private GgmlType(uint id, string name, WeightFormat? format, int blockLength, int blockBytes)
    {
        Id = id;
        Name = name;
        Format = format;
        foreignBlockLength = blockLength;
        foreignBlockBytes = blockBytes;
    }

    /// <summary>The number in the file.</summary>
    public uint Id { get; }

    /// <summary>The name ggml gives it.</summary>
    public string Name { get; }

    /// <summary>The weight format, or null when Hadal does not compute with it.</summary>
    public WeightFormat? Format { get; }

    /// <summary>Values in one block.</summary>
    public int BlockLength => Format is { } format ? WeightFormats.BlockLength(format) : foreignBlockLength;

    /// <summary>Bytes of one block.</summary>
    public int BlockBytes => Format is { } format ? WeightFormats.BlockBytes(format) : foreignBlockBytes;

    /// <summary>The type with that number, or null when there is none.</summary>
    public static GgmlType? Find(uint id) => ById.GetValueOrDefault(id);

    /// <summary>The type that stores a weight format.</summary>
    /// <exception cref="ArgumentOutOfRangeException">GGUF has none (F8_E4M3).</exception>
    public static GgmlType Of(WeightFormat format) =>
        ById.Values.FirstOrDefault(type => type.Format == format) ?? throw new ArgumentOutOfRangeException(nameof(format), format, "GGUF has no such type");

    private static GgmlType Of(uint id, WeightFormat format) => new(id, format.ToString(), format, 0, 0);

    private static GgmlType Foreign(uint id, string name, int blockLength, int blockBytes) => new(id, name, null, blockLength, blockBytes);
}
