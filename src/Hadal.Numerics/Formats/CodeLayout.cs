using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Formats;

/// <summary>Where four codes that follow each other lie: in the four bytes of one lane of a vector, from bit <see cref="Shift"/> on.</summary>
/// <param name="Vector">The vector, from the start of its round.</param>
/// <param name="Shift">The lowest bit in each byte.</param>
internal readonly record struct CodePlace(int Vector, int Shift);

/// <summary>Where four integer scales, or minima, of a block lie: in the four bytes of one lane.</summary>
/// <param name="Lower">Their lower bits.</param>
/// <param name="Bits">How many.</param>
/// <param name="Upper">The bits above.</param>
/// <param name="UpperBits">How many, if there are any.</param>
internal readonly record struct ScalePlace(CodePlace Lower, int Bits, CodePlace Upper = default, int UpperBits = 0);

/// <summary>
/// Where a format keeps its codes, in terms of vectors that hold four bytes of a block of each of eight rows: what <see cref="Kernels.Integer.InterleavedPanel"/> lays
/// out and <see cref="MachineCode.InterleavedTile"/> reads. A round is the shortest run of codes after which everything repeats.
/// </summary>
/// <param name="RoundCodes">Codes of a round.</param>
/// <param name="Pieces">Where runs of 16 bytes begin in a block, in the order of their vectors, four for each.</param>
/// <param name="Bits">Bits of a code, or its lower bits: 8, 4 or 2.</param>
/// <param name="Lower">Where they are, by step of four codes in a round.</param>
internal sealed record CodeLayout(int RoundCodes, int[] Pieces, int Bits, Func<int, CodePlace> Lower)
{
    private const int RunBytes = 32;

    /// <summary>Bits of a code above the lower ones.</summary>
    public int UpperBits { get; init; }

    /// <summary>Where they are.</summary>
    public Func<int, CodePlace> Upper { get; init; } = static _ => default;

    /// <summary>Where four bytes lie of which bit i is the fifth bit of code i, if a block has them: the last vector of its round, see <see cref="SpreadFifthBits"/>.</summary>
    public int? FifthBitsAt { get; init; }

    /// <summary>The values that codes stand for; empty where they are the values.</summary>
    public sbyte[] Table { get; init; } = [];

    /// <summary>Where 16 bytes with all integer scales and minima lie.</summary>
    public int ScalesAt { get; init; }

    /// <summary>How many of the four vectors of those bytes, the last ones, are kept as they are: of formats with minima. Signed scales are laid out a byte each.</summary>
    public int ScaleVectors { get; init; }

    /// <summary>Where scales 4i to 4i + 3 lie in them.</summary>
    public Func<int, ScalePlace> Scale { get; init; } = static _ => default;

    /// <summary>Where minima 4i to 4i + 3 lie in them.</summary>
    public Func<int, ScalePlace> Minimum { get; init; } = static _ => default;

    /// <summary>Codes that are bytes.</summary>
    /// <param name="at">Where they lie in a block.</param>
    public static CodeLayout OfBytes(int at) => new(32, [at, at + 16], 8, static step => new(step, 0));

    /// <summary>The same with codes that are bytes, four of each row after four of each row.</summary>
    /// <param name="roundCodes">Codes of a round.</param>
    public CodeLayout InSteps(int roundCodes) => new(roundCodes, [], 8, static step => new(step, 0)) { ScaleVectors = ScaleVectors, Scale = Scale, Minimum = Minimum };

    /// <summary>Thirty-two nibbles in 16 bytes, the first sixteen of them the lower ones.</summary>
    /// <param name="at">Where they lie in a block.</param>
    /// <param name="fifthBitsAt">Where their fifth bits lie, if they have them.</param>
    public static CodeLayout OfNibbles(int at, int? fifthBitsAt = null) => new(32, [at], 4, static step => new(step % 4, step / 4 * 4))
    {
        FifthBitsAt = fifthBitsAt,
        UpperBits = fifthBitsAt is null ? 0 : 1,
        Upper = static step => new(4, (4 * (step % 2)) + (step / 2)),
    };

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
        return new(upperAt is null ? rows * 32 : Block, [.. runs.SelectMany(static run => (int[])[run, run + 16])], bits, step => new((step / 8 / rows * 8) + (step % 8), step / 8 % rows * bits))
        {
            UpperBits = upperAt is null ? 0 : 1,
            Upper = step => new(vectors + (step % 8), step / 8),
        };
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
}
