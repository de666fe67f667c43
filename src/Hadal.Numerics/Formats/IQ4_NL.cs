using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>
/// Blocks of 32: an F16 scale d, then 16 bytes whose low nibbles are codes 0-15 and whose high nibbles are codes 16-31;
/// value = d * Table[q], a table that is denser around zero. Source: ggml, block_iq4_nl and kvalues_iq4nl.
/// </summary>
public readonly partial struct IQ4_NL : IWeightFormat<IQ4_NL>
{
    private const int Codes = 2;

    /// <inheritdoc/>
    public static WeightFormat Id => WeightFormat.IQ4_NL;

    /// <inheritdoc/>
    public static int BlockLength => 32;

    /// <inheritdoc/>
    public static int BlockBytes => 18;

    /// <summary>What the sixteen codes mean, before the scale.</summary>
    internal static ReadOnlySpan<sbyte> Table => [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

    /// <inheritdoc/>
    public static void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (var b = 0; b < blocks.Length / BlockBytes; b++)
        {
            var block = blocks.Slice(b * BlockBytes, BlockBytes);
            var d = Lanes.Half(block);
            for (var i = 0; i < 16; i++)
            {
                values[b * BlockLength + i] = d * Table[block[Codes + i] & 0x0F];
                values[b * BlockLength + i + 16] = d * Table[block[Codes + i] >> 4];
            }
        }
    }

    /// <inheritdoc/>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        var table = Vector128.Create(Table);
        for (; blocks.Length >= BlockBytes; blocks = blocks[BlockBytes..], values = values[BlockLength..])
        {
            var d = Lanes.Half(blocks);
            var codes = Lanes.Load(blocks, Codes);
            Lanes.Scale(Vector128.Shuffle(table, Lanes.LowNibbles(codes).AsSByte()), d, values);
            Lanes.Scale(Vector128.Shuffle(table, Lanes.HighNibbles(codes).AsSByte()), d, values[16..]);
        }
    }
}
