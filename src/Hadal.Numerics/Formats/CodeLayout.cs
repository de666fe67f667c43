using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>Some bits of four codes, or integer scales, that follow each other: in the four bytes of one lane of a vector.</summary>
/// <param name="Vector">The vector.</param>
/// <param name="Shift">The lowest bit in each byte.</param>
/// <param name="Bits">How many bits.</param>
internal readonly record struct BitField(int Vector, int Shift, int Bits);

/// <summary>
/// Where a format keeps its codes, in terms of vectors that hold four bytes of a block of each of eight rows: what <see cref="Kernels.Integer.InterleavedPanel"/> lays
/// out and <see cref="MachineCode.InterleavedTile"/> reads. A round is the shortest run of codes after which everything repeats.
/// </summary>
/// <param name="RoundCodes">Codes of a round.</param>
/// <param name="Pieces">Where runs of 16 bytes begin in a block, in the order of their vectors, four for each.</param>
/// <param name="Code">Where the bits of a step of four codes in a round are, the lowest first; vectors are counted from the start of the round.</param>
internal sealed record CodeLayout(int RoundCodes, int[] Pieces, Func<int, BitField[]> Code)
{
    private const int RunBytes = 32;

    /// <summary>Where four bytes lie of which bit i is the fifth bit of code i, if a block has them: the last vector of its round, see <see cref="SpreadFifthBits"/>.</summary>
    public int? FifthBitsAt { get; init; }

    /// <summary>The values that codes stand for; empty where they are the values.</summary>
    public sbyte[] Table { get; init; } = [];

    /// <summary>Where 16 bytes with all integer scales and minima lie.</summary>
    public int ScalesAt { get; init; }

    /// <summary>How many of the four vectors of those bytes, the last ones, are kept as they are: of formats with minima. Signed scales are laid out a byte each.</summary>
    public int ScaleVectors { get; init; }

    /// <summary>Where scales 4i to 4i + 3 lie in them.</summary>
    public Func<int, BitField[]> Scale { get; init; } = static _ => [];

    /// <summary>Where minima 4i to 4i + 3 lie in them.</summary>
    public Func<int, BitField[]> Minimum { get; init; } = static _ => [];

    /// <summary>Codes that are bytes.</summary>
    /// <param name="at">Where they lie in a block.</param>
    public static CodeLayout OfBytes(int at) => new(32, [at, at + 16], static step => [new(step, 0, 8)]);

    /// <summary>The same with codes that are bytes, four of each row after four of each row.</summary>
    /// <param name="roundCodes">Codes of a round.</param>
    public CodeLayout InSteps(int roundCodes) => new(roundCodes, [], static step => [new(step, 0, 8)]) { ScaleVectors = ScaleVectors, Scale = Scale, Minimum = Minimum };

    /// <summary>
    /// The same with codes where a copy made at load keeps them, so that they take fewer instructions: where their bits lie apart, eight steps lie in as many vectors
    /// as codes have bits, whole codes as far as they fit, the others in the bits that those leave.
    /// </summary>
    public CodeLayout InCopy()
    {
        const int Steps = 8, ByteBits = 8;
        if (Code(0).Length == 1)
            return this;
        var bits = Code(0).Sum(static field => field.Bits);
        var whole = ByteBits / bits;
        var places = new List<BitField>[Steps];
        var (vector, shift) = (0, whole * bits);
        for (var step = 0; step < Steps; step++)
        {
            places[step] = step < whole * bits ? [new(step / whole, step % whole * bits, bits)] : [];
            for (var left = step < whole * bits ? 0 : bits; left > 0;)
            {
                var count = Math.Min(left, ByteBits - shift);
                places[step].Add(new(vector, shift, count));
                left -= count;
                shift += count;
                if (shift == ByteBits)
                    (vector, shift) = (vector + 1, whole * bits);
            }
        }

        return this with { Code = step => [.. places[step % Steps].Select(field => field with { Vector = field.Vector + (step / Steps * bits) })] };
    }

    /// <summary>Thirty-two nibbles in 16 bytes, the first sixteen of them the lower ones.</summary>
    /// <param name="at">Where they lie in a block.</param>
    /// <param name="fifthBitsAt">Where their fifth bits lie, if they have them.</param>
    public static CodeLayout OfNibbles(int at, int? fifthBitsAt = null) => fifthBitsAt is null
        ? new(32, [at], static step => [Nibble(step)])
        : new(32, [at], static step => [Nibble(step), new(4, (4 * (step % 2)) + (step / 2), 1)]) { FifthBitsAt = fifthBitsAt };

    /// <summary>Runs of 32 bytes that hold a row of 32 codes in their lowest bits, the next one in the bits above, and so on.</summary>
    /// <param name="at">Where they lie in a block.</param>
    /// <param name="bits">Bits of a code.</param>
    /// <param name="upperAt">Where 32 bytes lie of which bit i is the upper bit of codes 32i to 32i + 31, if there are such.</param>
    public static CodeLayout OfRuns(int at, int bits, int? upperAt = null)
    {
        const int Block = 256;
        var rows = 8 / bits;
        var runs = Enumerable.Range(0, Block / RunBytes / rows).Select(run => at + (run * RunBytes)).ToList();
        var vectors = runs.Count * RunBytes / 4;
        if (upperAt is { } upper)
            runs.Add(upper);
        int[] pieces = [.. runs.SelectMany(static run => (int[])[run, run + 16])];
        return upperAt is null ? new(rows * 32, pieces, step => [Lower(step)]) : new(Block, pieces, step => [Lower(step), new(vectors + (step % 8), step / 8, 1)]);

        BitField Lower(int step) => new((step / 8 / rows * 8) + (step % 8), step / 8 % rows * bits, bits);
    }

    /// <summary>Bit i of four bytes goes to byte i mod 4, there to the bit that <see cref="OfNibbles"/> says.</summary>
    /// <param name="bits">The four bytes of eight rows.</param>
    public static Vector256<uint> SpreadFifthBits(Vector256<uint> bits)
    {
        // Bits 4 and 1 of the position change places, then bits 3 and 0.
        var swap = (bits ^ (bits >>> 14)) & Vector256.Create(0x0000_CCCCu);
        bits ^= swap ^ (swap << 14);
        swap = (bits ^ (bits >>> 7)) & Vector256.Create(0x00AA_00AAu);
        return bits ^ swap ^ (swap << 7);
    }

    private static BitField Nibble(int step) => new(step % 4, step / 4 * 4, 4);
}
