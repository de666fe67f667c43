namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// How one block of 32 weight rows and one block of a tile of tokens lie in memory for the tile kernels. Everything is offsets in bytes; the codes are
/// unsigned, with the zero point taken off through the start value of each sum.
/// </summary>
/// <remarks>
/// Weight panel of a block: codes [A/4][32 rows][4], scales int32 [S][32], minima int16 pairs [S/2][32][2], d float32 [32], dmin float32 [32].
/// Token tile of a block: codes [A/4][N tokens][4], start values int32 [S][N], sums int16 pairs [S/2][N][2], scales float32 [N].
/// A is the block length, S the number of integer scales (0 where a block has none), N the tokens of the tile.
/// </remarks>
/// <param name="BlockLength">A.</param>
/// <param name="Scales">S: 8 or 16 for super-blocks; 0 for blocks of 32.</param>
/// <param name="ZeroPoint">What is taken off every code.</param>
/// <param name="HasMinimum">Whether blocks have minima.</param>
/// <param name="MaxCode">The largest unsigned code.</param>
internal readonly record struct IntegerPanel(int BlockLength, int Scales, int ZeroPoint, bool HasMinimum, int MaxCode)
{
    /// <summary>Weight rows of a panel: two vectors of sixteen.</summary>
    public const int Rows = 32;

    /// <summary>Most tokens of a tile.</summary>
    public const int MaxTokens = 6;

    /// <summary>Bytes of four codes, or of one number, for all rows.</summary>
    public const int ColumnBytes = Rows * 4;

    private const int Vector = 64;

    /// <summary>Whether pairs of unsigned codes times activations exceed 16 bits, so that codes are better left signed where products are made of such pairs.</summary>
    public bool IsSigned => MaxCode > 128;

    /// <summary>Start sums for each block: one for each integer scale, or one.</summary>
    public int Sums => Math.Max(1, Scales);

    /// <summary>Values that share a start value and an integer scale.</summary>
    public int SumLength => BlockLength / Sums;

    public int WeightScales => BlockLength * Rows;

    public int WeightMinima => WeightScales + (Scales * ColumnBytes);

    public int WeightSuperScale => WeightMinima + (HasMinimum ? Scales / 2 * ColumnBytes : 0);

    public int WeightSuperMinimum => WeightSuperScale + ColumnBytes;

    public int WeightBytes => WeightSuperMinimum + (HasMinimum ? ColumnBytes : 0);

    public int TokenStarts(int tokens) => BlockLength * tokens;

    public int TokenSums(int tokens) => TokenStarts(tokens) + (ZeroPoint != 0 ? Sums * tokens * 4 : 0);

    public int TokenScales(int tokens) => TokenSums(tokens) + (HasMinimum ? Math.Max(1, Scales / 2) * tokens * 4 : 0);

    public int TokenBytes(int tokens) => (TokenScales(tokens) + (tokens * 4) + Vector - 1) / Vector * Vector;
}
